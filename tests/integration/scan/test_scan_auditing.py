"""`voketag audit-ledger` over a real database: what was done to it is named, and what may be done is not."""

import asyncio
import os
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.fakes.keys import signer
from tests.integration.anchor.processes import running
from tests.integration.scan.journals import World
from tests.integration.scan.test_scan_checkpoints import until_signed
from tests.meshes import ROOT
from trust.checkpoint import Checkpoint

ORIGIN = "tests.voketag.com/audited"
KEY = signer(ORIGIN).verifier.to_text()
ROWS = 700


async def audit(world: World, *options: str, **changes: object) -> tuple[int, str]:
    """The exit status, and everything that was said."""
    command = [sys.executable, "-m", "mesh.cli", "audit-ledger", *options]
    env = {"PATH": os.environ["PATH"], "COLUMNS": "200", **world.environment(ledger_origin=ORIGIN, **changes)}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def write(world: World, count: int) -> None:
    env = world.environment(ledger_origin=ORIGIN, ledger_checkpoint_seconds=0.1)
    async with running("scan", "journal", env=env):
        await world.add_some(count)
        await until_signed(world, len(world.added))


@pytest.fixture
async def ledger(world: World) -> World:
    await write(world, ROWS)
    return world


COPY = "CREATE TEMP TABLE one AS SELECT * FROM scan.events WHERE ledger_index = 20"
BACK = "INSERT INTO scan.events SELECT * FROM one"
DAMAGES = {
    "edited": (
        "UPDATE scan.events SET verdict = verdict % 4 + 1 WHERE ledger_index = 300",
        ["ENTRY_EDITED 300 (event "],
    ),
    "redated": ("UPDATE scan.events SET at = at + interval '1 ms' WHERE ledger_index = 5", ["ENTRY_EDITED 5 (event "]),
    "deleted": ("DELETE FROM scan.events WHERE ledger_index BETWEEN 100 AND 149", ["ENTRY_MISSING 100-149: "]),
    "reordered": (
        "UPDATE scan.events SET ledger_index = 410 - ledger_index WHERE ledger_index IN (10, 400)",
        ["ENTRY_MOVED 10 (event ", "ENTRY_MOVED 400 (event "],
    ),
    "inserted": (
        f"{COPY}; UPDATE one SET product_id = gen_random_uuid(); {BACK}",
        ["ENTRY_INSERTED 20 (event "],
    ),
    "appended": (
        f"{COPY}; UPDATE one SET product_id = gen_random_uuid(), ledger_index = 9999; {BACK}",
        ["ENTRY_INSERTED 9999 (event "],
    ),
    "personal": (
        "UPDATE scan.events SET prefix_hmac = sha256('') WHERE ledger_index = 7",
        ["PERSONAL_EDITED 7 (event "],
    ),
    "tile": (
        "UPDATE scan.ledger_tiles SET hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1) WHERE level = 1",
        ["TILE_WRONG level 1 tile 0: "],
    ),
    "checkpoint": (
        "UPDATE scan.ledger_checkpoints SET note = set_byte(note, 2, get_byte(note, 2) # 1)",
        ["CHECKPOINT_REFUSED 0"],
    ),
    "cut": (
        """DELETE FROM scan.events WHERE ledger_index >= 512;
           DELETE FROM scan.ledger_tiles WHERE level = 0 AND number = 2; UPDATE scan.ledger SET size = 512""",
        [f"CHECKPOINT_AHEAD {ROWS}: there are only 512 entries"],
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_what_was_done_is_named(ledger: World, damage: str) -> None:
    statement, findings = DAMAGES[damage]
    status, said = await audit(ledger, "--key", KEY)
    assert status == 0, said
    assert f"{ROWS} entries, {ROWS} rows in their places from 0 on" in said
    async with ledger.owner() as owner:
        await owner.execute(statement)
    status, said = await audit(ledger, "--key", KEY)
    assert status == 1, said
    for finding in findings:
        assert finding in said


async def test_erasing_what_is_personal_is_no_damage(ledger: World) -> None:
    async with ledger.pool() as pool:
        for row in await pool.fetch("SELECT product_id, event_id FROM events LIMIT 30"):
            await pool.execute("SELECT forget($1, $2)", row["product_id"], [row["event_id"]])
        await pool.execute("DELETE FROM salts")
    status, said = await audit(ledger)
    assert status == 0, said
    assert "No --key" in said


async def test_rows_that_retention_dropped_are_passed_over_when_told(ledger: World) -> None:
    async with ledger.owner() as owner:
        await owner.execute("DELETE FROM scan.events WHERE ledger_index < 300")
    assert (await audit(ledger, "--key", KEY))[0] == 1
    status, said = await audit(ledger, "--key", KEY, "--pruned", "300")
    assert status == 0, said
    assert f"{ROWS - 300} rows in their places from 300 on" in said


async def test_the_next_audit_goes_on_where_the_last_one_ended(ledger: World, tmp_path: Path) -> None:
    since = tmp_path / "kept"
    assert (await audit(ledger, "--key", KEY, "--since", str(since)))[0] == 0
    assert Checkpoint.parse(since.read_text()).size == ROWS
    await write(ledger, 50)
    status, said = await audit(ledger, "--key", KEY, "--since", str(since))
    assert status == 0, said
    assert f"50 rows in their places from {ROWS} on" in said
    assert Checkpoint.parse(since.read_text()).size == ROWS + 50
    async with ledger.owner() as owner:
        await owner.execute("UPDATE scan.events SET risk = 1 WHERE ledger_index = 720")
    kept = Checkpoint(ORIGIN, ROWS, bytes(32))
    since.write_text(kept.text())
    status, said = await audit(ledger, "--key", KEY, "--since", str(since))
    assert status == 1
    assert f"FORKED {ROWS}: " in said
    assert since.read_text() == kept.text()


async def test_what_cannot_be_audited_says_so(ledger: World) -> None:
    assert (await audit(ledger, "--key", "nonsense"))[0] == 2
    assert (await audit(ledger, "--nonsense"))[0] == 2
    assert (await audit(ledger, database_password=str(uuid4())))[0] == 2
    other = signer("another/log").verifier.to_text()
    assert (await audit(ledger, "--key", KEY, "--key", other))[0] == 2
