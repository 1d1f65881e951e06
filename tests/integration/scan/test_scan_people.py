"""What people see of scans: those of a factory their own alone, others all; and Verify asks nobody who they are."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
import pytest_asyncio
from voketag.scan.v1 import ruling_pb2, ruling_pb2_grpc, scan_pb2

from mesh.client import channel as opened
from mesh.clock import new_id
from mesh.local.valkey import ValkeyServer
from tests.fakes.anchor import FakeAnchor
from tests.fakes.people import JWKS, OLD_KEY, access_token
from tests.integration.scan.calls import GENUINE, Stub, reason_of, verify
from tests.integration.scan.conftest import ONCE
from tests.integration.scan.test_scan_recorded import journal
from tests.integration.scan.test_scan_watch import seen, valkey
from tests.integration.scan.world import Batch, Database, Service, anywhere, stub_of
from trust.receipt import Receipt

__all__ = ["journal", "valkey"]
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("journal")]
OWN, ALL = ("factory_manager", "factory_operator"), ("admin", "auditor", "support")
FROM_THE_FIRST = scan_pb2.WatchScansRequest(after=-1)


@pytest_asyncio.fixture(**ONCE)
async def service(
    database: Database, valkey: ValkeyServer, anchor: FakeAnchor, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    folder = tmp_path_factory.mktemp("scan")
    service = Service(folder, database, valkey.url, anchor.target, VOKETAG_USER_JWKS=JWKS)
    await service.start()
    yield service
    await service.stop()


@pytest_asyncio.fixture(**ONCE)
async def three(stub: Stub, database: Database) -> Batch:
    batch = await database.batch(3, state="COMPLETED")
    for token in batch.tokens:
        await verify(stub, token)
    return batch


@pytest_asyncio.fixture(loop_scope="module")
async def scanned(service: Service, stub: Stub, three: Batch) -> Batch:
    """Three products of the one factory, scanned, and that is on record."""
    async with as_person(service, "admin") as channel:
        await in_figures(stub_of(channel), three)
    return three


def as_person(service: Service, role: str, factory_id: UUID | None = None, **claims: Any) -> grpc.aio.Channel:
    if factory_id is not None:
        claims["factory"] = str(factory_id)
    token = access_token(role, **claims)
    return opened(service.target, header=("authorization", lambda: f"Bearer {token}"))


async def refusal(call: Any) -> str:
    """Why a call fails, be it one answer or a stream."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await (call.read() if hasattr(call, "read") else call)
    return reason_of(refused.value)


def asked(stub: Stub, factory_id: object = "") -> list[Any]:
    """The calls whose request names a factory."""
    named = str(factory_id)
    return [
        stub.WatchScans(scan_pb2.WatchScansRequest(factory_id=named), timeout=10),
        stub.GetTodayTotals(scan_pb2.GetTodayTotalsRequest(factory_id=named), timeout=10),
        stub.ListTopProducts(scan_pb2.ListTopProductsRequest(factory_id=named), timeout=10),
    ]


def proof(stub: Stub, product_id: object) -> Any:
    return stub.GetProductProof(scan_pb2.GetProductProofRequest(product_id=str(product_id)), timeout=10)


async def figures(stub: Stub, factory_id: object = "") -> tuple[int, set[str]]:
    """Scans of today, and the products that were scanned most."""
    named = str(factory_id)
    today = await stub.GetTodayTotals(scan_pb2.GetTodayTotalsRequest(factory_id=named), timeout=10)
    top = await stub.ListTopProducts(scan_pb2.ListTopProductsRequest(factory_id=named), timeout=10)
    return today.scans, {one.product_id for one in top.products}


async def in_figures(stub: Stub, batch: Batch, factory_id: object = "") -> None:
    """Returns when the figures have the batch's scans."""
    async with asyncio.timeout(20):
        scans, products = await figures(stub, factory_id)
        while scans < len(batch.tokens) or not products.issuperset(map(str, batch.product_ids)):
            await asyncio.sleep(0.05)
            scans, products = await figures(stub, factory_id)


@pytest.mark.parametrize("role", OWN)
async def test_people_of_a_factory_see_what_is_its_own(
    service: Service, database: Database, scanned: Batch, role: str
) -> None:
    async with as_person(service, role, database.factory_id) as channel:
        stub = stub_of(channel)
        for named in ("", str(database.factory_id)):
            await in_figures(stub, scanned, named)
            call = stub.WatchScans(scan_pb2.WatchScansRequest(factory_id=named, after=-1))
            assert set(map(str, scanned.product_ids)) <= {scan.product_id for scan in await seen(call, 3)}
            call.cancel()
        receipt = Receipt.from_json((await proof(stub, scanned.product_ids[1])).data)
        assert receipt.product.id == scanned.product_ids[1].bytes


@pytest.mark.parametrize("role", OWN)
async def test_and_nothing_of_another_whatever_they_name(
    service: Service, database: Database, scanned: Batch, role: str
) -> None:
    async with as_person(service, role, new_id()) as channel:
        stub = stub_of(channel)
        assert await figures(stub) == (0, set())
        call = stub.WatchScans(FROM_THE_FIRST)
        answer = await call.read()
        assert isinstance(answer, scan_pb2.WatchScansResponse)
        assert (len(answer.scans), answer.position >= 2) == (0, True), "all were looked through, and none was theirs"
        call.cancel()
        for named in (database.factory_id, uuid4()):  # one that there is answers as one that there is not
            assert [await refusal(call) for call in asked(stub, named)] == ["ACCESS_DENIED"] * 3
        assert await refusal(proof(stub, scanned.product_ids[0])) == "PRODUCT_NOT_FOUND"
        assert await refusal(proof(stub, new_id())) == "PRODUCT_NOT_FOUND"


@pytest.mark.parametrize("role", ALL)
async def test_everybody_else_sees_all_and_one(service: Service, database: Database, scanned: Batch, role: str) -> None:
    async with as_person(service, role) as channel:
        stub = stub_of(channel)
        for named in ("", str(database.factory_id)):
            await in_figures(stub, scanned, named)
            call = stub.WatchScans(scan_pb2.WatchScansRequest(factory_id=named, after=-1))
            assert len(await seen(call, 3)) >= 3
            call.cancel()
        assert await figures(stub, new_id()) == (0, set())
        assert (await proof(stub, scanned.product_ids[2])).content_type == "application/json"
        assert await refusal(proof(stub, new_id())) == "PRODUCT_NOT_FOUND"


async def test_no_other_token_is_a_person_s(service: Service, database: Database) -> None:
    ended = datetime.now(UTC) - timedelta(hours=1)
    for role, claims in (
        ("admin", {"key": OLD_KEY}),
        ("admin", {"at": ended}),
        ("admin", {"aud": "scan"}),
        ("admin", {"factory": str(database.factory_id)}),
        ("factory_manager", {"factory": None}),
        ("nobody", {}),
    ):
        async with as_person(service, role, **claims) as channel:
            stub = stub_of(channel)
            calls = [*asked(stub, database.factory_id), proof(stub, new_id())]
            assert {await refusal(call) for call in calls} == {"CREDENTIALS_INVALID"}, (role, claims)


async def test_cases_and_rulings_are_for_the_fraud_desk(service: Service) -> None:
    case_id, request_id = str(new_id()), str(uuid4())
    decision = scan_pb2.SetReportStateRequest(
        request_id=request_id, case_id=case_id, state=scan_pb2.REPORT_STATE_CONFIRMED
    )
    for role in (*OWN, *ALL):
        async with as_person(service, role) as channel:
            rulings: ruling_pb2_grpc.RulingServiceAsyncStub = ruling_pb2_grpc.RulingServiceStub(channel)
            for call in (
                stub_of(channel).ListReports(scan_pb2.ListReportsRequest(), timeout=10),
                stub_of(channel).SetReportState(decision, timeout=10),
                rulings.Rule(ruling_pb2.RuleRequest(request_id=request_id), timeout=10),
            ):
                assert await refusal(call) == "ACCESS_DENIED"


async def test_a_scan_is_nobody_s_whatever_credentials_come_with_it(stub: Stub, database: Database) -> None:
    """They are not looked at, so bad ones do no harm and cost nothing."""
    (token,) = (await database.batch()).tokens
    for value in ("Bearer abc", f"Bearer {access_token(key=OLD_KEY)}", f"Bearer {access_token()}"):
        answer = await verify(stub, token, metadata=(*anywhere(), ("authorization", value)))
        assert answer.verdict == GENUINE
