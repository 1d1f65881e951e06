"""API keys by people: listed, replaced with overlap, revoked; by managers their own factory's alone."""

import asyncio
from typing import Any
from uuid import uuid4

import grpc
import pytest
from voketag.factory.v1 import factory_pb2, factory_pb2_grpc

from mesh import audit
from mesh.client import with_api_key
from tests.integration.factory.test_factories import audits
from tests.integration.factory.world import Customer, Door, Ground, Somebody, eventually, reason_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def accepted(door: Door, key: str) -> bool:
    async with with_api_key(door.target, key) as channel:
        stub: Any = factory_pb2_grpc.FactoryServiceStub(channel)
        call = stub.ListBatches(factory_pb2.ListBatchesRequest(), timeout=10)
        code = await call.code()
    assert code in (grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED)
    return bool(code is grpc.StatusCode.OK)


async def ended(door: Door, key: str) -> None:
    async def probe() -> bool:
        return not await accepted(door, key)

    await eventually(probe, within=2, every=0.1)


async def first_key(person: Somebody, customer: Customer) -> str:
    keys = (await person.call("ListApiKeys", factory_id=str(customer.factory_id))).api_keys
    key_id: str = keys[-1].key_id
    return key_id


async def test_a_manager_replaces_a_key_without_a_gap(ground: Ground, door: Door) -> None:
    async with door.customer() as customer, door.person("factory_manager", customer.factory_id) as manager:
        old = await first_key(manager, customer)
        rotation = {"request_id": str(uuid4()), "key_id": old, "overlap": {"seconds": 3600}}
        answer = await manager.call("RotateApiKey", **rotation)
        assert (answer.replaced.key_id, answer.replaced.successor_id) == (old, answer.api_key.key_id)
        assert answer.replaced.expire_time.seconds - answer.api_key.create_time.seconds == 3600
        assert await manager.call("RotateApiKey", **rotation) == answer, "the same request has the same answer"
        assert await accepted(door, customer.key)
        assert await accepted(door, answer.secret)
        again = await manager.refused("RotateApiKey", key_id=old)
        assert again == "API_KEY_ENDED", "one successor is enough"
        at_once = await manager.call("RotateApiKey", key_id=answer.api_key.key_id, overlap={})
        await ended(door, answer.secret)
        assert await accepted(door, at_once.secret)
        await manager.call("RevokeApiKey", key_id=old)
        await ended(door, customer.key)
        mine = {"factory_id": str(customer.factory_id)}
        left = (await manager.call("ListApiKeys", **mine)).api_keys
        assert [key.key_id for key in left] == [at_once.api_key.key_id]
        every = (await manager.call("ListApiKeys", ended=True, **mine)).api_keys
        assert [key.key_id for key in every] == [at_once.api_key.key_id, answer.api_key.key_id, old]
        text = str(every)
        assert not [secret for secret in (customer.key, answer.secret, at_once.secret) if secret[12:] in text]
    said = await audits(ground, f"api_key/{old}")
    assert [method for method, _ in said] == ["CreateApiKey", "RotateApiKey", "RevokeApiKey"]
    assert said[1][1]["successor_id"] == audit.change(None, answer.api_key.key_id)
    (made, *_) = await audits(ground, f"api_key/{answer.api_key.key_id}")
    assert made[1]["replaces"] == old


async def test_ended_keys_have_no_successor(door: Door, customer: Customer) -> None:
    async with door.person("admin") as admin:
        key_id = await first_key(admin, customer)
        revoked = await admin.call("RevokeApiKey", key_id=key_id)
        assert await admin.refused("RotateApiKey", key_id=key_id) == "API_KEY_ENDED"
        assert await admin.call("RevokeApiKey", key_id=key_id) == revoked
        for method in ("RotateApiKey", "RevokeApiKey"):
            assert await admin.refused(method, key_id=str(uuid4())) == "API_KEY_NOT_FOUND"
            assert await admin.refused(method, key_id="mine") == "VALIDATION_FAILED"
        for overlap in ({"seconds": -1}, {"seconds": 31 * 86_400}):
            assert await admin.refused("RotateApiKey", key_id=key_id, overlap=overlap) == "VALIDATION_FAILED"


async def test_of_two_who_replace_a_key_at_once_one_does(door: Door, customer: Customer) -> None:
    async with door.person("admin") as one, door.person("factory_manager", customer.factory_id) as two:
        key_id = await first_key(one, customer)
        results = await asyncio.gather(
            *(who.call("RotateApiKey", key_id=key_id) for who in (one, two)), return_exceptions=True
        )
        (failed,) = (result for result in results if isinstance(result, grpc.aio.AioRpcError))
        assert reason_of(failed) == "API_KEY_ENDED"
        keys = (await one.call("ListApiKeys", factory_id=str(customer.factory_id))).api_keys
        assert len(keys) == 2


async def test_a_request_of_another_person_is_another_request(door: Door, customer: Customer) -> None:
    """Who knows a request's id and body must not get the secret that it was answered with."""
    order = {"request_id": str(uuid4()), "factory_id": str(customer.factory_id)}
    async with door.person("admin") as one, door.person("factory_manager", customer.factory_id) as two:
        mine, theirs = await one.call("CreateApiKey", **order), await two.call("CreateApiKey", **order)
        assert mine.secret != theirs.secret


async def test_pages_of_keys_are_bound_to_caller_and_factory(door: Door, customer: Customer) -> None:
    mine = {"factory_id": str(customer.factory_id), "page_size": 1}
    async with door.person("admin") as one, door.person("admin") as two, door.customer() as other:
        made = (await one.call("CreateApiKey", factory_id=mine["factory_id"])).api_key.key_id
        page = await one.call("ListApiKeys", **mine)
        assert [key.key_id for key in page.api_keys] == [made]
        rest = await one.call("ListApiKeys", page_token=page.next_page_token, **mine)
        assert (len(rest.api_keys), rest.next_page_token) == (1, "")
        token = {"page_token": page.next_page_token}
        assert await two.refused("ListApiKeys", **mine, **token) == "PAGE_TOKEN_INVALID"
        assert await one.refused("ListApiKeys", **mine, ended=True, **token) == "PAGE_TOKEN_INVALID"
        theirs = {"factory_id": str(other.factory_id), "page_size": 1}
        assert await one.refused("ListApiKeys", **theirs, **token) == "PAGE_TOKEN_INVALID"


async def test_those_who_only_read_issue_and_end_no_key(door: Door, customer: Customer) -> None:
    own = str(customer.factory_id)
    for role in ("auditor", "support", "factory_operator"):
        async with door.person(role, customer.factory_id if role.startswith("factory") else None) as person:
            key_id = await first_key(person, customer)
            assert await person.refused("CreateApiKey", factory_id=own) == "ACCESS_DENIED"
            for method in ("RotateApiKey", "RevokeApiKey"):
                assert await person.refused(method, key_id=key_id) == "ACCESS_DENIED"
    assert await accepted(door, customer.key)
