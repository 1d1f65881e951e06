"""GetProductProof through the door: a factory gets the receipts of its own products, and of no others."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from voketag.anchor.v1 import anchor_pb2
from voketag.scan.v1 import scan_pb2

from mesh.client import peer, with_api_key
from mesh.clock import SystemClock, new_id
from mesh.identity import ServiceTokens
from mesh.local.secrets import Secrets
from tests.fakes.anchor import FakeAnchor
from tests.integration.scan.calls import Stub, reason_of
from tests.integration.scan.conftest import ONCE
from tests.integration.scan.test_scan_watch import Tenant, open_account
from tests.integration.scan.world import ATTRIBUTES, Batch, Database, Service, stub_of
from tests.servers import ValkeyAddress
from trust.calls import to_json
from trust.receipt import Receipt, ReceiptState, verify

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(**ONCE)
async def secrets(tmp_path_factory: pytest.TempPathFactory) -> Secrets:
    secrets = Secrets(tmp_path_factory.mktemp("secrets"), os.urandom)
    secrets.make()
    return secrets


@pytest_asyncio.fixture(**ONCE)
async def service(
    database: Database,
    valkey: ValkeyAddress,
    anchor: FakeAnchor,
    secrets: Secrets,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Service]:
    folder: Path = tmp_path_factory.mktemp("scan")
    service = Service(folder, database, valkey.url, anchor.target, VOKETAG_JWKS=secrets.jwks.read_text())
    await service.start()
    yield service
    await service.stop()


@pytest_asyncio.fixture(**ONCE)
async def tenant(database: Database) -> Tenant:
    return await open_account(database, database.factory_id)


async def proof(stub: Stub, product_id: object) -> Receipt:
    body = await stub.GetProductProof(scan_pb2.GetProductProofRequest(product_id=str(product_id)), timeout=10)
    assert body.content_type == "application/json"
    return Receipt.from_json(body.data)


async def refused(stub: Stub, product_id: object) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await proof(stub, product_id)
    return reason_of(caught.value)


def put(anchor: FakeAnchor, batch: Batch, state: int) -> None:
    assert batch.root is not None
    anchor.put(batch.batch_id.bytes, str(batch.batch_id), batch.root, len(batch.product_ids), state=state)


async def test_a_factory_gets_it_as_calls_of_the_contract(
    service: Service, database: Database, anchor: FakeAnchor, tenant: Tenant
) -> None:
    batch = await database.batch(3, state="COMPLETED")
    put(anchor, batch, anchor_pb2.ANCHOR_STATE_FINAL)
    product_id, encoding = str(batch.product_ids[1]), scan_pb2.RECEIPT_ENCODING_CALLS
    async with with_api_key(service.target, tenant.key) as mine:
        stub = stub_of(mine)
        request = scan_pb2.GetProductProofRequest(product_id=product_id, encoding=encoding)
        body = await stub.GetProductProof(request, timeout=10)
        assert body.data == to_json(await proof(stub, product_id))


async def test_a_factory_gets_the_proof_of_its_product(
    service: Service, database: Database, anchor: FakeAnchor, tenant: Tenant, secrets: Secrets
) -> None:
    batch = await database.batch(300, state="COMPLETED")
    put(anchor, batch, anchor_pb2.ANCHOR_STATE_FINAL)
    tokens = ServiceTokens("admin", secrets.identity("admin").read_text(), SystemClock())
    async with (
        with_api_key(service.target, tenant.key) as mine,
        peer(service.target, tokens=tokens, service="scan") as staff,
    ):
        for index in (0, 255, 256, 299):
            found = await proof(stub_of(mine), batch.product_ids[index])
            assert (verify(found).valid, found.state) == (True, ReceiptState.FINAL)
            assert (found.product.id, found.batch.index) == (batch.product_ids[index].bytes, index)
            assert found.product.attributes == ATTRIBUTES
            assert await proof(stub_of(staff), batch.product_ids[index]) == found
            assert len(found.to_json()) <= 2048


async def test_it_is_pending_before_and_there_is_none_without_a_tree(
    service: Service, database: Database, anchor: FakeAnchor, tenant: Tenant
) -> None:
    anchoring, building = await database.batch(3, state="ANCHORING"), await database.batch()
    put(anchor, anchoring, anchor_pb2.ANCHOR_STATE_MINED)
    async with with_api_key(service.target, tenant.key) as mine:
        assert verify(await proof(stub_of(mine), anchoring.product_ids[1])).pending
        assert await refused(stub_of(mine), building.product_ids[0]) == "RECEIPT_NOT_READY"


async def test_wrong_questions(service: Service, database: Database, stub: Stub, tenant: Tenant) -> None:
    batch = await database.batch(3, state="COMPLETED")
    stranger = await open_account(database, new_id())
    async with (
        with_api_key(service.target, tenant.key) as mine,
        with_api_key(service.target, stranger.key) as theirs,
        with_api_key(service.target, f"{tenant.key}x") as nobody,
    ):
        assert await refused(stub_of(theirs), batch.product_ids[0]) == "PRODUCT_NOT_FOUND"
        assert await refused(stub_of(mine), new_id()) == "PRODUCT_NOT_FOUND"
        assert await refused(stub_of(nobody), batch.product_ids[0]) == "CREDENTIALS_INVALID"
        for wrong in ("", "x", batch.tokens[0]):
            assert await refused(stub_of(mine), wrong) == "VALIDATION_FAILED"
    assert await refused(stub, batch.product_ids[0]) == "CREDENTIALS_MISSING"
