"""BatchSubmitRoots, ListAnchors, WatchAnchors and VerifyProof through a real server."""

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from voketag.anchor.v1 import anchor_pb2 as pb
from voketag.anchor.v1 import anchor_pb2_grpc

from mesh.clock import new_id
from tests.integration.anchor.doors import Door, failing
from tests.integration.anchor.world import World, batch
from trust.canonical import SubjectKind
from trust.checkpoint import Checkpoint


def offer(**changes: Any) -> pb.RootOffer:
    fields: dict[str, Any] = {"batch_id": str(new_id()), "root": b"\x07" * 32, "size": 10}
    return pb.RootOffer(**(fields | changes))


def many(*roots: pb.RootOffer, **changes: Any) -> pb.BatchSubmitRootsRequest:
    return pb.BatchSubmitRootsRequest(**({"request_id": str(new_id()), "roots": roots} | changes))


async def counts(world: World) -> list[int]:
    """Roots, changes on the audit and request ids."""
    tables = ("submissions", "audit WHERE result = 'OK'", "idempotency")
    return [await world.pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables]


async def test_many_roots_are_taken_in_one_commit_and_anchored(world: World, factory: Any) -> None:
    roots = [offer() for _ in range(2_000)]
    request = many(*roots)
    answer = await factory.BatchSubmitRoots(request)
    assert {outcome.status for outcome in answer.outcomes} == {pb.ROOT_STATUS_ACCEPTED}
    assert [outcome.anchor.batch_id for outcome in answer.outcomes] == [root.batch_id for root in roots]
    assert await counts(world) == [2_000, 1, 1]
    assert await factory.BatchSubmitRoots(request) == answer
    assert await counts(world) == [2_000, 1, 1]
    world.configure(window_roots=3_000)
    await world.reach("final")
    again = await factory.BatchSubmitRoots(many(*roots[:5]))
    assert {outcome.anchor.state for outcome in again.outcomes} == {pb.ANCHOR_STATE_FINAL}


async def test_each_root_has_its_outcome(world: World, factory: Any) -> None:
    known, twice = batch(), offer()
    await world.hand_in(known)
    same = offer(batch_id=str(known.subject_id), root=known.root, size=known.size)
    conflict = offer(batch_id=str(known.subject_id))
    fresh, other = offer(), offer(batch_id=twice.batch_id, size=11)
    outcomes = (await factory.BatchSubmitRoots(many(same, conflict, fresh, twice, other, twice))).outcomes
    accepted, refused = pb.ROOT_STATUS_ACCEPTED, pb.ROOT_STATUS_CONFLICT
    assert [outcome.status for outcome in outcomes] == [accepted, refused, accepted, accepted, refused, accepted]
    assert outcomes[1].anchor.root == known.root
    assert outcomes[4].anchor == outcomes[3].anchor == outcomes[5].anchor
    assert await counts(world) == [3, 2, 2]


async def test_processes_that_take_the_same_roots_agree(world: World, factory: Any) -> None:
    roots = [offer() for _ in range(300)]
    requests = [many(*roots[:: -1 if turn % 2 else 1]) for turn in range(6)]
    answers = await asyncio.gather(*[factory.BatchSubmitRoots(request) for request in requests])
    assert all(outcome.status == pb.ROOT_STATUS_ACCEPTED for answer in answers for outcome in answer.outcomes)
    assert (await counts(world))[0] == 300


async def test_an_urgent_many_closes_the_window(world: World, factory: Any) -> None:
    world.configure(window_seconds=1000)
    [waiting] = await world.submit()
    again = offer(batch_id=str(waiting.subject_id), root=waiting.root, size=waiting.size)
    await factory.BatchSubmitRoots(many(offer()))
    await world.round()
    assert await world.states() == []
    await factory.BatchSubmitRoots(many(again, priority=pb.PRIORITY_HIGH))
    await world.reach("final")


async def test_wrong_inputs_of_many(world: World, factory: Any, door: Door) -> None:
    wrong = [
        many(),
        many(*[offer()] * 10_001),
        many(offer(), request_id="x"),
        many(offer(), offer(root=bytes(31))),
        many(offer(batch_id="x")),
        many(offer(size=0)),
        many(offer(size=1_000_001)),
        many(offer(), priority=9),
    ]
    for request in wrong:
        assert await failing(factory.BatchSubmitRoots(request)) == "VALIDATION_FAILED"
    assert await counts(world) == [0, 0, 0]
    used = many(offer())
    await factory.BatchSubmitRoots(used)
    reused = many(offer(), request_id=used.request_id)
    assert await failing(factory.BatchSubmitRoots(reused)) == "REQUEST_ID_REUSED"
    assert await counts(world) == [1, 1, 1]
    checkpoint = str(Checkpoint("tests/log", 3_000_000, bytes(32)).subject_id())
    assert await failing(factory.BatchSubmitRoots(many(offer(), offer(batch_id=checkpoint)))) == "ACCESS_DENIED"
    assert await counts(world) == [1, 1, 1]
    async with door.channel("scan") as line:
        stub: Any = anchor_pb2_grpc.AnchorServiceStub(line)
        assert await failing(stub.BatchSubmitRoots(many(offer()))) == "ACCESS_DENIED"


async def test_a_cancelled_call_takes_all_or_nothing(world: World, factory: Any) -> None:
    request = many(*[offer() for _ in range(3_000)])
    call = factory.BatchSubmitRoots(request)
    await asyncio.sleep(0.02)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert (await counts(world))[0] in {0, 3_000}
    answer = await factory.BatchSubmitRoots(request)
    assert {outcome.status for outcome in answer.outcomes} == {pb.ROOT_STATUS_ACCEPTED}
    assert (await counts(world))[0] == 3_000


async def listed(stub: Any, **wanted: Any) -> list[str]:
    ids: list[str] = []
    token = ""
    while True:
        page = await stub.ListAnchors(pb.ListAnchorsRequest(page_token=token, **wanted))
        ids += [anchor.batch_id for anchor in page.anchors]
        if not (token := page.next_page_token):
            return ids


async def test_lists_are_paged_newest_first_and_filtered(world: World, factory: Any) -> None:
    final = await world.submit(3)
    await world.reach("final")
    await world.hand_in(batch(kind=SubjectKind.SCAN_LEDGER))
    pending = await world.submit(4)
    everything = [str(each.subject_id) for each in reversed([*final, *pending])]
    for size in (0, 1, 3, 7, 1000):
        assert await listed(factory, page_size=size) == everything
    assert await listed(factory, page_size=3, state=pb.ANCHOR_STATE_PENDING) == everything[:4]
    assert await listed(factory, page_size=2, state=pb.ANCHOR_STATE_FINAL) == everything[4:]
    assert await listed(factory, state=pb.ANCHOR_STATE_MINED) == []
    some = [everything[1], everything[5], str(new_id())]
    assert await listed(factory, page_size=1, batch_ids=some) == some[:2]
    moment = (await world.find(pending[0])).create_time
    edge = Timestamp()
    edge.FromDatetime(moment)
    assert await listed(factory, from_time=edge) == everything[:4]
    assert await listed(factory, to_time=edge, page_size=2) == everything[4:]
    edge.FromDatetime(moment + timedelta(hours=1))
    assert await listed(factory, from_time=edge) == []


async def test_wrong_inputs_of_lists(world: World, factory: Any, door: Door, public: Any) -> None:
    await world.submit(3)
    token = (await factory.ListAnchors(pb.ListAnchorsRequest(page_size=1))).next_page_token
    other = pb.ListAnchorsRequest(page_size=1, page_token=token, state=pb.ANCHOR_STATE_PENDING)
    assert await failing(factory.ListAnchors(other)) == "PAGE_TOKEN_INVALID"
    assert await failing(factory.ListAnchors(pb.ListAnchorsRequest(page_token="x"))) == "PAGE_TOKEN_INVALID"
    async with door.channel("admin") as line:
        admin: Any = anchor_pb2_grpc.AnchorServiceStub(line)
        assert len(await listed(admin)) == 3
        stolen = pb.ListAnchorsRequest(page_size=1, page_token=token)
        assert await failing(admin.ListAnchors(stolen)) == "PAGE_TOKEN_INVALID"
    for wrong in (
        pb.ListAnchorsRequest(page_size=1001),
        pb.ListAnchorsRequest(state=9),  # type: ignore[arg-type]
        pb.ListAnchorsRequest(batch_ids=["x"]),
        pb.ListAnchorsRequest(page_token="x" * 513),
        pb.ListAnchorsRequest(from_time=Timestamp(seconds=2**40)),
        pb.ListAnchorsRequest(to_time=Timestamp(seconds=1, nanos=-1)),
        pb.ListAnchorsRequest(to_time=Timestamp(seconds=1, nanos=2_000_000_000)),
    ):
        assert await failing(factory.ListAnchors(wrong)) == "VALIDATION_FAILED"
    assert await failing(public.ListAnchors(pb.ListAnchorsRequest())) == "CREDENTIALS_MISSING"


async def test_several_anchors_are_watched_to_their_end(world: World, public: Any) -> None:
    early = await world.submit(2)
    await world.reach("final")
    late = await world.submit(2)
    ids = [str(each.subject_id) for each in [*late, *early]]
    call = public.WatchAnchors(pb.WatchAnchorsRequest(batch_ids=ids))
    first = await call.read()
    assert [anchor.batch_id for anchor in first.anchors] == ids
    await world.reach("final", "final")
    last: dict[str, int] = {}
    async with asyncio.timeout(10):
        while (response := await call.read()) is not grpc.aio.EOF:
            for anchor in response.anchors:
                assert anchor.state > last.get(anchor.batch_id, 0)
                last[anchor.batch_id] = anchor.state
    assert last == dict.fromkeys(ids[:2], pb.ANCHOR_STATE_FINAL)


@pytest.mark.parametrize("ids", [[], ["x"], [str(new_id())] * 2, [str(new_id()) for _ in range(1001)]])
async def test_wrong_inputs_of_watching(public: Any, ids: list[str]) -> None:
    assert await failing(public.WatchAnchors(pb.WatchAnchorsRequest(batch_ids=ids)).read()) == "VALIDATION_FAILED"


async def test_watching_what_is_not_there(world: World, public: Any) -> None:
    [submission] = await world.submit()
    ids = [str(submission.subject_id), str(new_id())]
    assert await failing(public.WatchAnchors(pb.WatchAnchorsRequest(batch_ids=ids)).read()) == "ANCHOR_NOT_FOUND"


async def test_proofs_are_checked(world: World, public: Any) -> None:
    submissions = await world.submit(5)
    await world.reach("final")
    for submission in submissions:
        batch_id = str(submission.subject_id)
        proof = (await public.GetProof(pb.GetProofRequest(batch_id=batch_id))).proof
        request = pb.VerifyProofRequest(batch_id=batch_id, root=submission.root, size=submission.size, proof=proof)
        assert (await public.VerifyProof(request)).valid
        for field, value in {"size": 7, "root": bytes(32), "batch_id": str(new_id())}.items():
            other = pb.VerifyProofRequest.FromString(request.SerializeToString())
            setattr(other, field, value)
            assert not (await public.VerifyProof(other)).valid
        request.proof.index = 2**64 - 1
        assert not (await public.VerifyProof(request)).valid


async def test_wrong_inputs_of_proofs(public: Any) -> None:
    good: dict[str, Any] = {"batch_id": str(new_id()), "root": bytes(32), "size": 1}
    proof: dict[str, Any] = {"size": 1, "anchor_root": bytes(32)}
    wrong = [
        good,
        good | {"proof": proof, "root": b""},
        good | {"proof": proof, "batch_id": ""},
        good | {"proof": proof | {"anchor_root": b""}},
        good | {"proof": proof | {"path": [bytes(31)]}},
        good | {"proof": proof | {"path": [bytes(32)] * 65}},
    ]
    for fields in wrong:
        assert await failing(public.VerifyProof(pb.VerifyProofRequest(**fields))) == "VALIDATION_FAILED"
    assert not (await public.VerifyProof(pb.VerifyProofRequest(**good, proof=pb.AnchorProof(**proof)))).valid


async def test_operators_freeze_and_resume_and_nobody_else(world: World, door: Door, factory: Any, public: Any) -> None:
    request = pb.FreezeAnchoringRequest(request_id=str(new_id()), why="the key may be lost")
    for stub, reason in ((factory, "ACCESS_DENIED"), (public, "CREDENTIALS_MISSING")):
        assert await failing(stub.FreezeAnchoring(request)) == reason
        resume = pb.ResumeAnchoringRequest(request_id=str(new_id()))
        assert await failing(stub.ResumeAnchoring(resume)) == reason
    async with door.channel("admin") as line:
        admin: Any = anchor_pb2_grpc.AnchorServiceStub(line)
        for why in ("", "x" * 501):
            wrong = pb.FreezeAnchoringRequest(request_id=str(new_id()), why=why)
            assert await failing(admin.FreezeAnchoring(wrong)) == "VALIDATION_FAILED"
        frozen = (await admin.FreezeAnchoring(request)).freeze
        assert (frozen.frozen, frozen.why) == (True, request.why)
        submitted = await factory.BatchSubmitRoots(many(offer()))  # roots are taken, and wait
        assert submitted.outcomes[0].status == pb.ROOT_STATUS_ACCEPTED
        await world.round()
        assert await world.states() == []
        assert not (await admin.ResumeAnchoring(pb.ResumeAnchoringRequest(request_id=str(new_id())))).freeze.frozen
    await world.reach("final")


async def test_retries_through_the_door(world: World, factory: Any, public: Any) -> None:
    [submission] = await world.submit()
    request = pb.RetryAnchorRequest(request_id=str(new_id()), batch_id=str(submission.subject_id))
    assert (await factory.RetryAnchor(request)).anchor.state == pb.ANCHOR_STATE_PENDING
    assert await failing(public.RetryAnchor(request)) == "CREDENTIALS_MISSING"
    await world.reach("final")
    assert (await factory.RetryAnchor(request)).anchor.state == pb.ANCHOR_STATE_FINAL  # the same request again
    request.request_id = str(new_id())
    assert await failing(factory.RetryAnchor(request)) == "ANCHOR_STATE_CONFLICT"
    for wrong, reason in (({"batch_id": str(new_id())}, "ANCHOR_NOT_FOUND"), ({"batch_id": "x"}, "VALIDATION_FAILED")):
        assert await failing(factory.RetryAnchor(pb.RetryAnchorRequest(request_id=str(new_id()), **wrong))) == reason
