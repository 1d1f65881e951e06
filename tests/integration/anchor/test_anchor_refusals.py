"""Refused calls of services that would have changed anchoring are in the audit, a flood of them as ten."""

from typing import Any
from uuid import UUID, uuid4

from voketag.anchor.v1 import anchor_pb2 as pb
from voketag.anchor.v1 import anchor_pb2_grpc

from tests.integration.anchor.doors import Door, failing
from tests.integration.anchor.world import World
from tests.refusals import AT_ONCE, Refusal, refusals


async def logged(world: World, service: str) -> list[Refusal]:
    return await refusals(world.pool, "anchor", service)


async def test_what_a_service_may_not_change_is_logged(door: Door, factory: Any, public: Any, world: World) -> None:
    freeze = pb.FreezeAnchoringRequest(request_id=str(uuid4()), why="not mine to stop")
    assert await failing(public.FreezeAnchoring(freeze)) == "CREDENTIALS_MISSING"
    assert await failing(factory.FreezeAnchoring(freeze)) == "ACCESS_DENIED"
    retry = pb.RetryAnchorRequest(request_id=str(uuid4()), batch_id=str(uuid4()))
    assert await failing(factory.RetryAnchor(retry)) == "ANCHOR_NOT_FOUND"
    assert await failing(factory.GetAnchor(pb.GetAnchorRequest(batch_id=retry.batch_id))) == "ANCHOR_NOT_FOUND"
    denied, missing = await logged(world, "factory")
    assert (denied.actor, denied.method, denied.result) == ("service:factory", "FreezeAnchoring", "ACCESS_DENIED")
    assert (denied.request_id, denied.prefix) == (UUID(freeze.request_id), "127.0.0.0/24")
    assert (missing.method, missing.resource, missing.result) == (
        "RetryAnchor",
        f"batch/{retry.batch_id}",
        "ANCHOR_NOT_FOUND",
    )
    async with door.channel("admin") as line:
        admin: Any = anchor_pb2_grpc.AnchorServiceStub(line)
        await admin.FreezeAnchoring(freeze)
        await admin.FreezeAnchoring(freeze)
        freeze.why = "x" * 501
        assert await failing(admin.FreezeAnchoring(freeze)) == "VALIDATION_FAILED"
    (row,) = await logged(world, "admin")
    assert (row.method, row.result) == ("FreezeAnchoring", "VALIDATION_FAILED")
    assert await world.pool.fetchval("SELECT count(*) FROM audit WHERE actor_id = ''") == 0


async def test_a_flood_of_refusals_has_ten_rows(factory: Any, world: World) -> None:
    for _ in range(3 * AT_ONCE):
        offer = pb.SubmitRootRequest(request_id=str(uuid4()), batch_id=str(uuid4()), root=b"short", size=1)
        assert await failing(factory.SubmitRoot(offer)) == "VALIDATION_FAILED"
    assert len(await logged(world, "factory")) == AT_ONCE
