"""The methods through a real server with its access rules, and watchers that nothing hangs."""

import asyncio
from contextlib import aclosing, suppress
from typing import Any

import grpc
from voketag.anchor.v1 import anchor_pb2 as pb
from voketag.anchor.v1 import anchor_pb2_grpc

from anchor.changes import Changes
from anchor.watch import Watch
from anchor.window import leaf
from mesh.clock import new_id
from tests.integration.anchor.doors import WATCHERS, Door, failing
from tests.integration.anchor.world import World, batch, request
from trust.canonical import SubjectKind, anchor_leaf
from trust.checkpoint import Checkpoint
from trust.merkle import leaf_hash, verify_inclusion


def submit_request(**changes: Any) -> pb.SubmitRootRequest:
    fields: dict[str, Any] = {"request_id": str(new_id()), "batch_id": str(new_id()), "root": b"\x07" * 32, "size": 10}
    return pb.SubmitRootRequest(**(fields | changes))


async def test_a_root_from_submission_to_proof(world: World, factory: Any, public: Any) -> None:
    request = submit_request()
    anchor = (await factory.SubmitRoot(request)).anchor
    assert (anchor.batch_id, anchor.root, anchor.size) == (request.batch_id, request.root, request.size)
    assert anchor.state == pb.ANCHOR_STATE_PENDING
    early = await public.GetProof(pb.GetProofRequest(batch_id=request.batch_id))
    assert early.anchor == anchor
    assert not early.HasField("proof")
    await world.submit(4)
    await world.reach("final")
    found = (await public.GetAnchor(pb.GetAnchorRequest(batch_id=request.batch_id))).anchor
    assert found.state == pb.ANCHOR_STATE_FINAL
    assert found.final_time.seconds > 0
    assert (found.location.kind, found.location.chain_id) == ("evm", 31_337)
    assert found.location.contract == world.chain.contract
    response = await public.GetProof(pb.GetProofRequest(batch_id=request.batch_id))
    proof = response.proof
    assert response.anchor == found
    submission = (await world.store.final_after(0, 1))[0][1].submission
    assert str(submission.subject_id) == request.batch_id
    assert verify_inclusion(leaf(submission), proof.index, proof.size, list(proof.path), proof.anchor_root)
    receipt = await world.ground.chain().registered(proof.anchor_root)
    assert receipt is not None
    assert found.location.transaction == "0x" + receipt.hash.hex()


async def test_errors_carry_their_reasons(factory: Any, public: Any) -> None:
    request = submit_request()
    first = await factory.SubmitRoot(request)
    assert await factory.SubmitRoot(request) == first
    other = submit_request(batch_id=request.batch_id, root=bytes(32))
    assert await failing(factory.SubmitRoot(other)) == "ANCHOR_CONFLICT"
    assert await failing(factory.SubmitRoot(submit_request(request_id=request.request_id))) == "REQUEST_ID_REUSED"
    for wrong in ({"root": bytes(31)}, {"size": 0}, {"size": 1_000_001}, {"batch_id": "x"}, {"request_id": ""}):
        assert await failing(factory.SubmitRoot(submit_request(**wrong))) == "VALIDATION_FAILED"
    unknown = str(new_id())
    assert await failing(public.GetAnchor(pb.GetAnchorRequest(batch_id=unknown))) == "ANCHOR_NOT_FOUND"
    assert await failing(public.GetProof(pb.GetProofRequest(batch_id=unknown))) == "ANCHOR_NOT_FOUND"
    assert await failing(public.WatchAnchor(pb.WatchAnchorRequest(batch_id=unknown)).read()) == "ANCHOR_NOT_FOUND"


async def test_services_submit_roots_of_their_kind_alone(door: Door, factory: Any, public: Any) -> None:
    checkpoint = str(Checkpoint("tests/log", 3_000_000, bytes(32)).subject_id())
    assert await failing(public.SubmitRoot(submit_request())) == "CREDENTIALS_MISSING"
    assert await failing(factory.SubmitRoot(submit_request(batch_id=checkpoint))) == "ACCESS_DENIED"
    async with door.channel("scan") as line:
        stub: Any = anchor_pb2_grpc.AnchorServiceStub(line)
        assert await failing(stub.SubmitRoot(submit_request())) == "ACCESS_DENIED"
        assert await failing(public.GetAnchor(pb.GetAnchorRequest(batch_id=checkpoint))) == "ANCHOR_NOT_FOUND"
        assert await failing(stub.WatchFinality(pb.WatchFinalityRequest()).read()) == "ACCESS_DENIED"


async def test_a_checkpoint_is_proved_by_its_own_id(world: World, door: Door, factory: Any, public: Any) -> None:
    checkpoint = Checkpoint("tests/log", 3_000_000, bytes(31) + b"!")
    batch_id = str(checkpoint.subject_id())
    request = submit_request(batch_id=batch_id, root=checkpoint.root, size=checkpoint.size)
    async with door.channel("scan") as line:
        stub: Any = anchor_pb2_grpc.AnchorServiceStub(line)
        first = await stub.SubmitRoot(request)
        assert await stub.SubmitRoot(request) == first
        other = submit_request(batch_id=batch_id, root=bytes(32), size=checkpoint.size)
        assert await failing(stub.SubmitRoot(other)) == "ANCHOR_CONFLICT"
        for size in (0, 1 << 63):
            assert await failing(stub.SubmitRoot(submit_request(batch_id=batch_id, size=size))) == "VALIDATION_FAILED"
    await factory.SubmitRoot(submit_request())
    await world.reach("final")
    call = public.WatchAnchor(pb.WatchAnchorRequest(batch_id=batch_id))
    assert (await call.read()).anchor.state == pb.ANCHOR_STATE_FINAL
    answer = await public.GetProof(pb.GetProofRequest(batch_id=batch_id))
    assert (answer.anchor.batch_id, answer.anchor.size) == (batch_id, 3_000_000)
    data = anchor_leaf(SubjectKind.SCAN_LEDGER, checkpoint.subject_id().bytes, checkpoint.size, checkpoint.root)
    proof = answer.proof
    assert verify_inclusion(leaf_hash(data), proof.index, proof.size, list(proof.path), proof.anchor_root)
    assert await world.ground.chain().registered(proof.anchor_root) is not None


async def test_an_anchor_is_watched_to_its_end(world: World, public: Any) -> None:
    [submission] = await world.submit()
    call = public.WatchAnchor(pb.WatchAnchorRequest(batch_id=str(submission.subject_id)))
    states = [(await call.read()).anchor.state]
    assert states == [pb.ANCHOR_STATE_PENDING]
    await world.reach("final")
    async with asyncio.timeout(10):
        while (response := await call.read()) is not grpc.aio.EOF:
            states.append(response.anchor.state)
    assert states == sorted(states)
    assert states[-1] == pb.ANCHOR_STATE_FINAL


async def test_finality_comes_in_order_and_goes_on_from_a_position(world: World, factory: Any) -> None:
    submissions = await world.submit(3)
    await world.reach("final")
    async with asyncio.timeout(20):
        call = factory.WatchFinality(pb.WatchFinalityRequest(after_position=1))
        first = await call.read()
        assert (len(first.anchors), first.position) == (2, 3)
        submissions += await world.submit(2)
        await world.reach("final", "final")
        second = await call.read()
        assert (len(second.anchors), second.position) == (2, 5)
        call.cancel()
        everything = factory.WatchFinality(pb.WatchFinalityRequest())
        seen = [anchor.batch_id for _ in range(2) for anchor in (await everything.read()).anchors]
        everything.cancel()
    assert seen == [str(submission.subject_id) for submission in submissions]


async def test_a_position_beyond_all_waits(world: World, factory: Any) -> None:
    await world.submit()
    await world.reach("final")
    call = factory.WatchFinality(pb.WatchFinalityRequest(after_position=2**64 - 1))
    waiting = asyncio.ensure_future(call.read())
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done
    call.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_a_lost_listener_listens_again(world: World) -> None:
    changes = Changes(world.pool, poll_seconds=0.05, watchers=1)
    async with changes.listening(), aclosing(Watch(world.store, changes).finality(0)) as stream:
        for position in (1, 2):
            [killed] = await world.pool.fetch(
                "SELECT count(pg_terminate_backend(pid)) AS backends FROM pg_stat_activity"
                " WHERE query LIKE 'LISTEN%' AND datname = current_database()"
            )
            assert killed["backends"] <= 1
            await world.submit()
            await world.reach(*["final"] * position)
            async with asyncio.timeout(10):
                assert (await anext(stream))[0] == position


async def test_watchers_are_bounded(world: World, public: Any) -> None:
    [submission] = await world.submit()
    request = pb.WatchAnchorRequest(batch_id=str(submission.subject_id))
    calls = [public.WatchAnchor(request) for _ in range(WATCHERS)]
    for call in calls:
        await call.read()
    assert await failing(public.WatchAnchor(request).read()) == "RATE_LIMITED"
    calls[0].cancel()
    async with asyncio.timeout(10):
        while True:  # the place is free when the server has seen the cancellation
            call = public.WatchAnchor(request)
            with suppress(grpc.aio.AioRpcError):
                await call.read()
                break
    for each in (*calls, call):
        each.cancel()


async def test_watchers_end_when_the_server_drains(world: World) -> None:
    door = Door(world)
    server = door.server()
    await server.start()
    [submission] = await world.submit()
    async with door.channel(None) as line:
        stub: Any = anchor_pb2_grpc.AnchorServiceStub(line)
        call = stub.WatchAnchor(pb.WatchAnchorRequest(batch_id=str(submission.subject_id)))
        await call.read()
        async with asyncio.timeout(4):  # well before the grace period is over
            _, ended = await asyncio.gather(server.stop(), failing(call.read()))
    assert ended == "SHUTTING_DOWN"


async def test_kinds_other_than_batches_pass_silently(world: World, factory: Any) -> None:

    await world.hand_in(batch(kind=SubjectKind.SCAN_LEDGER), request())
    await world.submit()
    await world.reach("final")
    async with asyncio.timeout(10):
        call = factory.WatchFinality(pb.WatchFinalityRequest())
        answer = await call.read()
        call.cancel()
    assert (len(answer.anchors), answer.position) == (1, 2)
