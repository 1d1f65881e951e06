"""SubmitRoot's one statement: durable, idempotent, audited, conflict-free under concurrency."""

import asyncio
import json

import pytest

from anchor.submission import Progress
from mesh.clock import new_id
from mesh.errors import AnchorConflict, RequestIdReused
from tests.integration.anchor.world import World, batch, request


async def count(world: World, table: str) -> int:
    found: int = await world.pool.fetchval(f"SELECT count(*) FROM {table}")
    return found


async def test_a_root_is_a_pending_row_and_an_audit_row(world: World) -> None:
    submission = batch()
    anchor = await world.hand_in(submission, request())
    assert anchor == await world.find(submission)
    assert anchor.progress is Progress.PENDING
    [row] = await world.pool.fetch("SELECT resource, detail FROM audit")
    assert row["resource"] == f"anchor/{submission.subject_id}"
    assert json.loads(row["detail"])["root"] == submission.root.hex()


async def test_the_same_root_again_is_the_same_anchor(world: World) -> None:
    submission, key = batch(), request()
    first = await world.hand_in(submission, key)
    assert await world.hand_in(submission, key) == first
    assert await world.hand_in(submission, request()) == first
    assert [await count(world, table) for table in ("submissions", "audit", "idempotency")] == [1, 1, 2]


@pytest.mark.parametrize("change", [{"root": bytes(32)}, {"size": 7}])
async def test_another_root_for_the_subject_is_a_conflict(world: World, change: dict[str, object]) -> None:
    submission = batch()
    await world.hand_in(submission, request())
    other = batch(**{"subject_id": submission.subject_id, "root": submission.root} | change)
    with pytest.raises(AnchorConflict):
        await world.hand_in(other, request())
    assert (await world.find(submission)).submission == submission
    assert [await count(world, table) for table in ("submissions", "audit", "idempotency")] == [1, 1, 1]


async def test_a_request_id_is_for_one_body(world: World) -> None:
    submission, request_id = batch(), new_id()
    await world.hand_in(submission, request(request_id, b"one"))
    same_subject = batch(subject_id=submission.subject_id)
    for other in (batch(), same_subject):
        with pytest.raises(RequestIdReused):
            await world.hand_in(other, request(request_id, b"two"))
    assert [await count(world, table) for table in ("submissions", "audit", "idempotency")] == [1, 1, 1]


async def test_the_same_root_at_once_is_one_row(world: World) -> None:
    submission, key = batch(), request()
    keys = [key, key, *[request() for _ in range(18)]]
    anchors = await asyncio.gather(*[world.hand_in(submission, each) for each in keys])
    assert len({anchor.submission_id for anchor in anchors}) == 1
    assert [await count(world, table) for table in ("submissions", "audit")] == [1, 1]


async def test_different_roots_at_once_leave_one_winner(world: World) -> None:
    subject_id = new_id()
    attempts = [world.hand_in(batch(subject_id=subject_id), request()) for _ in range(10)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(result, AnchorConflict) for result in results) == 9
    assert await count(world, "submissions") == 1


async def test_nothing_is_found_under_another_kind_or_id(world: World) -> None:
    submission = batch()
    await world.hand_in(submission, request())
    assert await world.store.find(submission.kind, new_id()) is None


async def test_final_anchors_are_read_tree_by_tree(world: World) -> None:
    for trees, roots in enumerate((3, 2), 1):
        await world.submit(roots)
        await world.reach(*["final"] * trees)
    await world.submit(1)
    read = {position: [at for at, _ in await world.store.final_after(position, 2)] for position in range(7)}
    assert read == {0: [1, 2], 1: [2, 3], 2: [3], 3: [4, 5], 4: [5], 5: [], 6: []}


@pytest.mark.parametrize(("table", "reads"), [("audit_rows", True), ("audit", False), ("attempts", False)])
async def test_the_admin_reads_the_audit_view_and_nothing_else(world: World, table: str, reads: bool) -> None:
    granted = await world.pool.fetchval("SELECT has_table_privilege('voketag_admin', $1, 'SELECT')", f"anchor.{table}")
    assert granted is reads
