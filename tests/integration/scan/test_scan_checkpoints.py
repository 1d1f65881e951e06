"""`python -m scan journal` signs what is committed and hands it to Anchor, whatever dies in between."""

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from voketag.anchor.v1 import anchor_pb2

from mesh.local.http import fetch
from tests.fakes.dying_signer import STEPS
from tests.fakes.final_anchor import FinalAnchor
from tests.fakes.keys import signer
from tests.integration.anchor.processes import outcome, running
from tests.integration.scan.journals import PATIENCE_SECONDS, World
from tests.integration.scan.test_journal_ledger import ORIGIN
from tests.servers import free_port
from trust.checkpoint import Checkpoint, open_checkpoint
from trust.note import Signer

SIGNER = signer(ORIGIN)
ALL = "SELECT size, root, note, submitted_at FROM scan.ledger_checkpoints ORDER BY size"
FORKED = set(range(5, 11))
FORK = anchor_pb2.SubmitRootRequest(root=bytes(32))


@pytest.fixture
async def anchor() -> AsyncIterator[FinalAnchor]:
    anchor = FinalAnchor(at_once=False)  # type: ignore[abstract]
    await anchor.start()
    yield anchor
    await anchor.stop()


def environment(world: World, anchor: FinalAnchor, **changes: object) -> dict[str, str]:
    values: dict[str, object] = {"ledger_checkpoint_seconds": 0.1, "anchor_target": anchor.target}
    return world.environment(ledger_origin=ORIGIN, **(values | changes))


async def checkpoints(world: World) -> list[Any]:
    async with world.owner() as owner:
        return list(await owner.fetch(ALL))


async def shown_at(port: int) -> dict[str, float]:
    """The metrics without labels."""
    text = (await fetch(f"http://127.0.0.1:{port}/metrics") or b"").decode()
    lines = [line.split() for line in text.splitlines() if not line.startswith("#") and "{" not in line]
    return {name: float(value) for name, value in lines}


async def until_submitted(world: World, size: int) -> None:
    """The ledger's `size` entries are signed for, and Anchor has every checkpoint."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            rows = await checkpoints(world)
            if rows and rows[-1]["size"] == size and all(row["submitted_at"] for row in rows):
                return
            await asyncio.sleep(0.05)


async def until_signed(world: World, size: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (rows := await checkpoints(world)) or rows[-1]["size"] < size:
            await asyncio.sleep(0.05)


async def assert_anchored(world: World, anchor: FinalAnchor) -> None:
    """Every checkpoint is signed by the key, and Anchor has its root under its own id, and no other."""
    wanted = {}
    for row in await checkpoints(world):
        checkpoint = open_checkpoint(row["note"], [SIGNER.verifier], ORIGIN)
        assert checkpoint == Checkpoint(ORIGIN, row["size"], row["root"])
        wanted[str(checkpoint.subject_id())] = (checkpoint.root, checkpoint.size)
    assert {key: (one.root, one.size) for key, one in anchor.submitted.items()} == wanted


async def test_what_is_written_is_signed_and_anchored(world: World, anchor: FinalAnchor) -> None:
    async with running("scan", "journal", env=environment(world, anchor)):
        await world.add_some(300)
        await until_submitted(world, 300)
        await world.add_some(5)
        await until_submitted(world, 305)
    await assert_anchored(world, anchor)
    assert all(one.startswith("Bearer ") for one in anchor.credentials)
    async with world.owner() as owner:
        assert await owner.fetchval("SELECT array_agg(verifier) FROM scan.ledger_keys") == [SIGNER.verifier.to_text()]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("nth", [1, 2])
async def test_a_signer_killed_at_any_step_is_followed_by_another(
    world: World, anchor: FinalAnchor, step: str, nth: int
) -> None:
    env = environment(world, anchor)
    async with asyncio.TaskGroup() as group:
        dying = group.create_task(outcome("tests.fakes.dying_signer", step, str(nth), env=env))
        await world.add_some(10)
        if nth == 2:
            await until_submitted(world, 10)
            await world.add_some(10)
    status, said = dying.result()
    assert status == -signal.SIGKILL, said
    before = await checkpoints(world)
    assert len(before) == nth - (step == "signed")
    await world.add_some(10)
    async with running("scan", "journal", env=env):
        await until_submitted(world, len(world.added))
    assert [row["note"] for row in await checkpoints(world)][: len(before)] == [row["note"] for row in before]
    await assert_anchored(world, anchor)


async def test_anchor_away_loses_nothing(world: World, anchor: FinalAnchor) -> None:
    await anchor.stop()
    metrics_port = free_port()
    env = environment(world, anchor, metrics_host="127.0.0.1", metrics_port=metrics_port)
    async with running("scan", "journal", env=env):
        for size in (10, 20, 30):
            await world.add_some(10)
            await until_signed(world, size)
        assert not any(row["submitted_at"] for row in await checkpoints(world))
        shown = await shown_at(metrics_port)
        assert shown["voketag_ledger_checkpoint_size"] >= 20
        assert shown["voketag_ledger_unsubmitted"] >= 2
        assert shown["voketag_ledger_checkpoint_age_seconds"] >= 0
        await anchor.start()
        await until_submitted(world, 30)
    await assert_anchored(world, anchor)


async def test_one_signs_and_another_takes_over(world: World, anchor: FinalAnchor) -> None:
    env = environment(world, anchor)
    async with running("scan", "journal", env=env) as first:
        await world.add_some(10)
        await until_submitted(world, 10)
        async with running("scan", "journal", env=env):
            first.kill()
            await world.add_some(10)
            await until_submitted(world, 20)
    await assert_anchored(world, anchor)


async def test_a_ledger_that_was_changed_is_not_signed_and_shows(world: World, anchor: FinalAnchor) -> None:
    metrics_port = free_port()
    env = environment(world, anchor, metrics_host="127.0.0.1", metrics_port=metrics_port)
    async with running("scan", "journal", env=env):
        await world.add_some(10)
        await until_submitted(world, 10)
    async with world.owner() as owner:
        await owner.execute("UPDATE scan.ledger_tiles SET hashes = set_byte(hashes, 3, get_byte(hashes, 3) # 1)")
    async with running("scan", "journal", env=env):
        await world.add_some(10)
        await world.until_written()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await shown_at(metrics_port)).get("voketag_ledger_damaged") != 1:
                await asyncio.sleep(0.05)
        assert [row["size"] for row in await checkpoints(world)] == [10]


async def test_another_anchored_tree_of_one_size_does_not_hold_up_the_rest(world: World, anchor: FinalAnchor) -> None:
    metrics_port = free_port()
    env = environment(world, anchor, metrics_host="127.0.0.1", metrics_port=metrics_port)
    async with running("scan", "journal", env=env):
        await world.add_some(4)
        await until_submitted(world, 4)
        anchor.submitted |= {str(Checkpoint(ORIGIN, size, bytes(32)).subject_id()): FORK for size in FORKED}
        await world.add_some(6)
        await until_signed(world, 10)
        await world.add_some(5)
        await until_signed(world, 15)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (await checkpoints(world))[-1]["submitted_at"]:
                await asyncio.sleep(0.05)
        rows = await checkpoints(world)
        assert {row["size"] for row in rows if not row["submitted_at"]} == {row["size"] for row in rows[1:]} & FORKED
        assert 10 in {row["size"] for row in rows}
        assert (await shown_at(metrics_port))["voketag_ledger_faults_total"] >= 1


async def test_a_new_key_is_for_the_ledger_and_its_public_half_can_be_told() -> None:
    status, key = await outcome("scan", "new-ledger-key", env={"VOKETAG_LEDGER_ORIGIN": ORIGIN})
    assert status == 0
    made = Signer.from_text(key.strip())
    assert made.verifier.name == ORIGIN
    env = {"VOKETAG_LEDGER_ORIGIN": ORIGIN, "VOKETAG_LEDGER_KEY": key}
    assert await outcome("scan", "ledger-key", env=env) == (0, made.verifier.to_text() + "\n")


@pytest.mark.parametrize("wrong", ["", "nonsense", SIGNER.verifier.to_text(), signer("another/log").to_text()])
async def test_a_wrong_key_is_refused_at_start_and_not_told(world: World, wrong: str) -> None:
    status, said = await outcome("scan", "journal", env=world.environment(ledger_origin=ORIGIN, ledger_key=wrong))
    assert status == 2
    assert "Settings are missing or wrong" in said
    assert not wrong or wrong not in said
