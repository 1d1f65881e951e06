"""Who is let in: keys by hash, revoked within two seconds, and nothing of another factory is there."""

import asyncio
from typing import Any
from uuid import uuid4

import grpc
import pytest
from voketag.factory.v1 import account_pb2, account_pb2_grpc, factory_pb2, factory_pb2_grpc

from mesh.client import with_api_key
from tests.integration.factory.world import Customer, Door, Ground, Import, audit_detail, eventually, reason_of, rows

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _listed(door: Door, key: str | None) -> factory_pb2.ListBatchesResponse:
    channel = grpc.aio.insecure_channel(door.target) if key is None else with_api_key(door.target, key)
    async with channel:
        stub: Any = factory_pb2_grpc.FactoryServiceStub(channel)
        answer: factory_pb2.ListBatchesResponse = await stub.ListBatches(factory_pb2.ListBatchesRequest(), timeout=10)
        return answer


async def test_call_without_a_key_is_refused(door: Door) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await _listed(door, None)
    assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert reason_of(error.value) == "CREDENTIALS_MISSING"


async def test_any_other_key_is_refused_alike(door: Door, customer: Customer) -> None:
    scheme, prefix, secret = customer.key.split("_", 2)
    wrong = "A" if secret[0] != "A" else "B"
    messages = set()
    for key in (
        f"{scheme}_{prefix}_{wrong}{secret[1:]}",
        f"{scheme}_{'a' * 8}_{secret}",
        f"vt_{prefix}_{secret}",
        f"{prefix}_{secret}",
        customer.key[:-1],
        customer.key + "x",
        customer.key.upper(),
        "",
        "vk__",
        "x" * 5000,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await _listed(door, key)
        assert reason_of(error.value) == "CREDENTIALS_INVALID", key
        messages.add(error.value.details())
    assert len(messages) == 1


async def test_revoked_key_ends_within_two_seconds_and_others_go_on(door: Door, customer: Customer) -> None:
    async with door.channel() as channel:
        accounts: Any = account_pb2_grpc.AccountServiceStub(channel)
        order = account_pb2.CreateApiKeyRequest(request_id=str(uuid4()), factory_id=str(customer.factory_id))
        issued = await accounts.CreateApiKey(order)
        await _listed(door, issued.secret)
        end = account_pb2.RevokeApiKeyRequest(request_id=str(uuid4()), key_id=issued.api_key.key_id)
        revoked = await accounts.RevokeApiKey(end)
        assert revoked.api_key.HasField("revoke_time")

        async def refused() -> bool:
            try:
                await _listed(door, issued.secret)
            except grpc.aio.AioRpcError as error:
                return reason_of(error) == "CREDENTIALS_INVALID"
            return False

        await eventually(refused, within=2, every=0.1)
        assert await accounts.RevokeApiKey(end) == revoked
        end.request_id = str(uuid4())
        assert await accounts.RevokeApiKey(end) == revoked
    await _listed(door, customer.key)


async def test_a_stream_lasts_no_longer_than_its_key_and_nothing_committed_is_lost(ground: Ground) -> None:
    async with ground.server(credentials_seconds=0.1) as door, door.customer() as customer:
        async with door.channel() as channel:
            accounts: Any = account_pb2_grpc.AccountServiceStub(channel)
            order = account_pb2.CreateApiKeyRequest(request_id=str(uuid4()), factory_id=str(customer.factory_id))
            issued = await accounts.CreateApiKey(order)
            async with door.returning(customer.factory_id, issued.secret) as ended:
                stream = await Import(ended).open()
                await stream.chunk(0, rows(1000))
                watch = ended.plain.WatchBatch(
                    factory_pb2.WatchBatchRequest(batch_id=stream.batch_id), metadata=(("x-api-key", issued.secret),)
                )
                assert (await watch.read()).batch.issued_count == 1000
                await accounts.RevokeApiKey(
                    account_pb2.RevokeApiKeyRequest(request_id=str(uuid4()), key_id=issued.api_key.key_id)
                )
                for read in (stream.read, watch.read):
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await asyncio.wait_for(read(), 5)
                    assert reason_of(caught.value) == "CREDENTIALS_INVALID"
        again = await Import(customer, stream.request_id).open()
        assert (again.batch_id, again.next_row) == (stream.batch_id, 1000)
        await again.chunk(1000, rows(500, 1000))
        assert (await again.end(1500)).issued_count == 1500


async def test_same_request_gives_the_same_account_and_key(ground: Ground, door: Door) -> None:
    async with door.channel() as channel:
        accounts: Any = account_pb2_grpc.AccountServiceStub(channel)
        opening = account_pb2.CreateFactoryRequest(request_id=str(uuid4()), name="Fábrica")
        factory = await accounts.CreateFactory(opening)
        assert await accounts.CreateFactory(opening) == factory
        order = account_pb2.CreateApiKeyRequest(request_id=str(uuid4()), factory_id=factory.factory.factory_id)
        issued = await accounts.CreateApiKey(order)
        assert await accounts.CreateApiKey(order) == issued
        assert issued.secret.startswith(f"vk_{issued.api_key.prefix}_")
        other = account_pb2.CreateFactoryRequest(request_id=opening.request_id, name="Other")
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await accounts.CreateFactory(other)
        assert reason_of(error.value) == "REQUEST_ID_REUSED"
    async with ground.owner() as owner:
        secret = issued.secret.split("_", 2)[2]
        dump = await owner.fetch("SELECT to_jsonb(k)::text AS row FROM api_keys k UNION SELECT detail::text FROM audit")
        assert not [row for row in dump if secret in row["row"]]
        resource = f"api_key/{issued.api_key.key_id}"
        audits = await owner.fetch("SELECT * FROM audit WHERE result = 'OK' AND resource = $1", resource)
        assert len(audits) == 1
        assert audits[0]["actor_kind"] == "service"
        assert audits[0]["actor_id"] == "admin"
        assert audit_detail(audits[0])["prefix"] == issued.api_key.prefix


async def test_unknown_accounts_and_keys_are_not_found(door: Door) -> None:
    async with door.channel() as channel:
        accounts: Any = account_pb2_grpc.AccountServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await accounts.CreateApiKey(
                account_pb2.CreateApiKeyRequest(request_id=str(uuid4()), factory_id=str(uuid4()))
            )
        assert reason_of(error.value) == "FACTORY_NOT_FOUND"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await accounts.RevokeApiKey(account_pb2.RevokeApiKeyRequest(request_id=str(uuid4()), key_id=str(uuid4())))
        assert reason_of(error.value) == "API_KEY_NOT_FOUND"


async def test_accounts_are_for_admin_and_batches_for_factories(door: Door, customer: Customer) -> None:
    opening = account_pb2.CreateFactoryRequest(request_id=str(uuid4()), name="Fábrica")
    async with with_api_key(door.target, customer.key) as channel, door.channel("scan") as scan:
        for caller in (channel, scan):
            accounts: Any = account_pb2_grpc.AccountServiceStub(caller)
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await accounts.CreateFactory(opening)
            assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
    async with door.channel() as channel:
        stub: Any = factory_pb2_grpc.FactoryServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.ListBatches(factory_pb2.ListBatchesRequest())
        assert reason_of(error.value) == "ACCESS_DENIED"


async def _answer(customer: Customer, method: str, request: Any) -> tuple[Any, str, str]:
    """Code, reason and message, with the id asked for taken out."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        answer = getattr(customer.stub, method)(request, timeout=10)
        if method == "WatchBatch":
            await answer.read()
        await answer
    asked = getattr(request, "batch_id", "") or getattr(request, "product_id", "")
    return error.value.code(), reason_of(error.value), (error.value.details() or "").replace(asked, "")


async def test_another_factorys_ids_answer_like_unknown_ones(door: Door, customer: Customer) -> None:
    order = await customer.order(3, return_products=True)
    async with door.customer() as stranger:
        for theirs, nobodys in ((order.batch.batch_id, str(uuid4())),):
            for method, make in (
                ("GetBatch", lambda i: factory_pb2.GetBatchRequest(batch_id=i)),
                ("WatchBatch", lambda i: factory_pb2.WatchBatchRequest(batch_id=i)),
                ("ListProducts", lambda i: factory_pb2.ListProductsRequest(batch_id=i)),
                ("CancelBatch", lambda i: factory_pb2.CancelBatchRequest(batch_id=i, request_id=str(uuid4()))),
            ):
                answer = await _answer(stranger, method, make(theirs))
                assert answer == await _answer(stranger, method, make(nobodys))
                assert answer[1] == "BATCH_NOT_FOUND"
        mine = factory_pb2.GetProductRequest(product_id=order.products[0].product_id)
        nobodys_product = factory_pb2.GetProductRequest(product_id=str(uuid4()))
        answer = await _answer(stranger, "GetProduct", mine)
        assert answer == await _answer(stranger, "GetProduct", nobodys_product)
        assert answer[1] == "PRODUCT_NOT_FOUND"
        assert not (await stranger.stub.ListBatches(factory_pb2.ListBatchesRequest())).batches
    assert (await customer.batch(order.batch.batch_id)).state != factory_pb2.BATCH_STATE_CANCELLED


async def test_request_ids_of_two_factories_do_not_meet(door: Door, customer: Customer) -> None:
    request_id = str(uuid4())
    mine = await Import(customer, request_id).open()
    await mine.chunk(0, rows(3))
    async with door.customer() as stranger:
        theirs = await Import(stranger, request_id).open()
        assert theirs.batch_id != mine.batch_id
        assert theirs.next_row == 0


async def test_streams_are_refused_without_a_key_too(door: Door, customer: Customer) -> None:
    for keyless in (
        customer.plain.ImportProducts(),
        customer.plain.WatchBatch(factory_pb2.WatchBatchRequest(batch_id=str(uuid4()))),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await anext(aiter(keyless))
        assert reason_of(error.value) == "CREDENTIALS_MISSING"
