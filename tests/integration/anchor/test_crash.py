"""The submitter's process killed by SIGKILL between any two steps: what was accepted is anchored exactly once."""

import asyncio
import signal
from pathlib import Path

import pytest

from mesh.config import DatabaseSettings
from mesh.database import connect
from mesh.errors import DependencyUnavailable
from mesh.local.anvil import AnvilServer
from tests.integration.anchor.processes import outcome, running, schema_on, settings
from tests.integration.anchor.world import Ground, World, batch
from tests.servers import PASSWORD, PostgresAddress, start_postgres

STEPS = {
    "nothing done": ("check:after", "1", []),
    "built": ("head:before", "1", ["built"]),
    "priced, not signed": ("fees:after", "1", ["built"]),
    "signed, not sent": ("send:before", "1", ["signed"]),
    "sent, not recorded": ("send:after", "1", ["signed"]),
    "mined, not recorded": ("receipt:after", "2", ["sent"]),
}


async def all_final(world: World) -> None:
    pending = (
        "SELECT count(*) FROM submissions LEFT JOIN transactions USING (tree_id) WHERE state IS DISTINCT FROM 'final'"
    )
    async with asyncio.timeout(60):
        while await world.pool.fetchval(pending):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("step", STEPS)
async def test_killed_and_started_again(world: World, database: DatabaseSettings, tmp_path: Path, step: str) -> None:
    submissions = await world.submit(20)
    env = settings(database, world.ground, tmp_path)
    hook, nth, states = STEPS[step]
    status, said = await outcome("tests.fakes.dying_submitter", hook, nth, env=env)
    assert status == -signal.SIGKILL, said
    assert await world.states() == states
    submissions += await world.submit(5)
    async with running("anchor", "submit", env=env) as process:
        await all_final(world)
        process.terminate()
        await process.wait()
    assert process.returncode == 0
    await world.assert_anchored_once(submissions)


async def test_the_chain_goes_away_and_comes_back(
    bent: World, database: DatabaseSettings, chain_server: AnvilServer, tmp_path: Path
) -> None:
    env = settings(database, bent.ground, tmp_path)
    async with running("anchor", "submit", env=env) as process:
        submissions = await bent.submit(3)
        await all_final(bent)
        await chain_server.stop()
        submissions += await bent.submit(3)
        async with asyncio.timeout(20):
            while await bent.states() != ["final", "built"]:
                await asyncio.sleep(0.05)
        await chain_server.start()
        await all_final(bent)
        assert process.returncode is None
    await bent.assert_anchored_once(submissions)


@pytest.mark.parametrize("way", ["stop", "kill"])
async def test_postgresql_goes_away_and_comes_back(ground: Ground, tmp_path: Path, way: str) -> None:
    postgres = await start_postgres(tmp_path, durable=True)
    try:
        server = PostgresAddress("127.0.0.1", postgres.port, "voketag", PASSWORD, postgres.dsn())
        database = await schema_on(server)
        env = settings(database, ground, tmp_path)
        async with await connect(database, schema="anchor") as pool, running("anchor", "submit", env=env) as process:
            world = World(pool, ground)
            submissions = await world.submit(3)
            await all_final(world)
            await getattr(postgres, way)()
            with pytest.raises(DependencyUnavailable):
                await world.hand_in(batch())
            await postgres.start()
            submissions += await world.submit(3)
            await all_final(world)
            assert process.returncode is None
            await world.assert_anchored_once(submissions)
    finally:
        await postgres.kill()


async def test_two_submitters_at_once(world: World, database: DatabaseSettings, tmp_path: Path) -> None:
    """One works and one waits; when the one is killed the other goes on."""
    submissions = await world.submit(10)
    env = settings(database, world.ground, tmp_path)
    async with running("anchor", "submit", env=env) as one, running("anchor", "submit", env=env) as other:
        await all_final(world)
        leaders = await world.pool.fetchval("SELECT max(fence) FROM lease")
        assert leaders == 1
        submissions += await world.submit(10)
        await all_final(world)
        one.kill()
        submissions += await world.submit(10)
        await all_final(world)
        other.kill()
    await world.assert_anchored_once(submissions)
    nonces = [row["nonce"] for row in await world.pool.fetch("SELECT nonce FROM transactions ORDER BY nonce")]
    assert nonces == list(range(nonces[0], nonces[0] + len(nonces)))
