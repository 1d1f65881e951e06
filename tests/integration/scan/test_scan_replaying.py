"""`voketag replay` over a real database, under a role that may only read."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mesh.clock import new_id
from scan.sessions import Place
from tests.integration.anchor.processes import running
from tests.integration.scan.journals import UNEVENTFUL, World, envelope
from tests.meshes import ROOT
from tests.servers import PASSWORD

FROM, TO = "2020-01-01", "2100-01-01T00:00:00+02:00"
ABROAD = {"verdict": 1} | UNEVENTFUL._replace(place=Place("US", 0)).to_dict(blocked=False)
BLOCKED = {"verdict": 1} | UNEVENTFUL.to_dict(blocked=True)


async def replay(world: World, *options: str, user: str | None = None) -> tuple[int, str]:
    """The exit status, and what was said."""
    env = {"PATH": os.environ["PATH"], "COLUMNS": "200", **world.environment()}
    if user:
        env["VOKETAG_DATABASE_URL"] = env["VOKETAG_DATABASE_URL"].replace("voketag_scan@", f"{user}@")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mesh.cli", "replay", *options),
        cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.fixture
async def factory_id(world: World) -> UUID:
    """30 ordinary scans, 20 abroad of one factory, 5 of a blocked code, and 3 that were not counted; written."""
    found = new_id()
    await world.add(*(envelope() for _ in range(30)))
    await world.add(*(envelope(facts=ABROAD, factory_id=found.bytes) for _ in range(20)))
    await world.add(*(envelope(facts=BLOCKED) for _ in range(5)))
    await world.add(*(envelope(counts=None) for _ in range(3)))
    async with running("scan", "journal", env=world.environment()):
        await world.until_written()
    return found


def weights(folder: Path, **changed: object) -> str:
    path = folder / "weights.json"
    path.write_text(json.dumps({"version": "tried"} | changed))
    return str(path)


async def told(world: World, *options: str, user: str | None = None) -> Any:
    status, said = await replay(world, "--from", FROM, "--to", TO, "--json", *options, user=user)
    assert status == 0, said
    return json.loads(said)


async def test_the_weights_in_use_move_nothing(world: World, factory_id: UUID, tmp_path: Path) -> None:
    found = await told(world, "--weights", weights(tmp_path))
    assert (found["scans"], found["unscored"], found["unreadable"], found["verdictsMoved"]) == (58, 3, 0, 0)
    assert (found["totals"]["raised"], found["totals"]["lowered"]) == (0, 0)
    assert found["totals"]["before"] == found["totals"]["after"]


async def test_other_weights_move_what_they_should(world: World, factory_id: UUID, tmp_path: Path) -> None:
    before = await world.events()
    light = await told(world, "--weights", weights(tmp_path, market=0))
    assert light["totals"]["lowered"] == 20
    heavy = await told(world, "--weights", weights(tmp_path, market=100, suspicious=1))
    moves = {(move["before"], move["after"]): move["scans"] for move in heavy["moves"]}
    assert moves[("BLOCKED", "BLOCKED")] == 5
    assert sum(moves.values()) == 55
    assert sum(count for (_, after), count in moves.items() if after == "SUSPICIOUS") >= 20
    assert heavy["weightsVersion"] == "tried"
    assert await world.events() == before


async def test_a_factory_s_scans_alone(world: World, factory_id: UUID, tmp_path: Path) -> None:
    options = ("--weights", weights(tmp_path), "--factory")
    assert (await told(world, *options, str(factory_id)))["scans"] == 20
    assert (await told(world, *options, str(new_id())))["scans"] == 0


async def test_a_span_ends_before_its_end(world: World, factory_id: UUID, tmp_path: Path) -> None:
    rows = await world.events()
    at = [row["at"] for row in rows]
    span = ("--from", min(at).isoformat(), "--to", max(at).isoformat(), "--weights", weights(tmp_path), "--json")
    status, said = await replay(world, *span)
    assert status == 0, said
    assert json.loads(said)["scans"] == sum(each < max(at) for each in at)


async def test_people_get_tables(world: World, factory_id: UUID, tmp_path: Path) -> None:
    status, said = await replay(world, "--from", FROM, "--to", TO, "--weights", weights(tmp_path, market=0))
    assert status == 0, said
    assert "58 scans, of which 3 have no risk and 0 cannot be read" in said
    assert "GENUINE_CODE" in said
    assert "0 totals rise, 20 fall." in said


async def test_a_role_that_may_only_read_is_enough(world: World, factory_id: UUID, tmp_path: Path) -> None:
    user = f"reader_{world.database.name}"
    async with world.owner() as owner:
        await owner.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'")
        try:
            await owner.execute(f"GRANT USAGE ON SCHEMA scan TO {user}; GRANT SELECT ON scan.events TO {user}")
            assert (await told(world, "--weights", weights(tmp_path), user=user))["scans"] == 58
        finally:
            await owner.execute(f"DROP OWNED BY {user}; DROP ROLE {user}")


async def test_what_cannot_be_replayed_says_so(world: World, tmp_path: Path) -> None:
    good = weights(tmp_path)
    for options in (
        ("--from", TO, "--to", FROM, "--weights", good),
        ("--from", "yesterday", "--to", TO, "--weights", good),
        ("--from", FROM, "--to", TO, "--weights", str(tmp_path / "none")),
        ("--from", FROM, "--to", TO, "--weights", good, "--factory", "x"),
        ("--from", FROM, "--to", TO, "--weights", good, "--nonsense"),
        ("--from", FROM, "--to", TO),
    ):
        status, said = await replay(world, *options)
        assert status == 2, said
        assert "Traceback" not in said
    for wrong in ({"market": 101}, {"nope": 1}, {"suspicious": 0}):
        bad = weights(tmp_path, **wrong)
        assert (await replay(world, "--from", FROM, "--to", TO, "--weights", bad))[0] == 2
