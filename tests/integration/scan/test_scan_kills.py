"""Rounds of kill -9 of two servers, the writer, Valkey and PostgreSQL while callers scan.

A round is its seed: `pytest tests/integration/scan/test_scan_kills.py -k seed7`.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from scan.stream import stream_key
from tests.fakes.final_anchor import FinalAnchor
from tests.fakes.keys import signer
from tests.integration.anchor.processes import outcome
from tests.integration.scan.calls import GENUINE
from tests.integration.scan.strikes import PATIENCE_SECONDS, Callers, Stand, schedule
from tests.integration.scan.world import Batch, Database, connected
from tests.servers import start_postgres, start_valkey

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("scan kills")]

SHORT, LONG = 0, 10
SEEDS = range(1, 31)
SHORT_SEEDS = (5, 23)
ROUNDS = [
    *[pytest.param(seed, SHORT, id=f"short-seed{seed}") for seed in SHORT_SEEDS],
    *[pytest.param(seed, LONG, id=f"seed{seed}", marks=pytest.mark.long) for seed in SEEDS],
]
PRODUCTS = 400
KEY = signer("voketag.com/scans").verifier.to_text()
OF_PRODUCTS = "SELECT event_id, verdict FROM scan.events WHERE product_id = ANY($1)"
SIGNED = """SELECT count(*) > 0 AND bool_and(submitted_at IS NOT NULL)
AND max(size) = (SELECT count(*) FROM scan.events) FROM scan.ledger_checkpoints"""
EXACT = "SELECT (SELECT sum(scans) FROM scan.day_totals) = (SELECT count(*) FROM scan.events)"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stand]:
    folder = tmp_path_factory.mktemp("scan-kills")
    folder.chmod(0o755)
    postgres = await start_postgres(folder, durable=True)
    valkey = await start_valkey(folder, durable=True)
    anchor = FinalAnchor()  # type: ignore[abstract]
    await anchor.start()
    database = Database(postgres.dsn())
    await database.create()
    stand = Stand(folder, postgres, valkey, anchor, database)
    async with stand.running():
        yield stand
    for stoppable in (anchor, valkey, postgres):
        await stoppable.stop()


@pytest.mark.parametrize(("seed", "more"), ROUNDS)
async def test_no_scan_on_record_is_lost_or_doubled_whoever_dies(stand: Stand, seed: int, more: int) -> None:
    batch = await stand.database.batch(PRODUCTS, state="COMPLETED")
    callers = Callers(stand.stubs, batch)
    await callers.until_normal()
    async with callers.calling():
        await stand.strike_all(schedule(seed, more), callers.recorded)
        await callers.until_normal()
    await until_journalled_and_signed(stand)
    print(f"{len(callers.recorded)} scans on record, {callers.open} open, {callers.degraded} degraded")
    await assert_on_record(stand, callers, batch)
    status, said = await outcome("scan", "audit", "--key", KEY, env=stand.services[0].environment)
    assert status == 0, said


async def until_journalled_and_signed(stand: Stand) -> None:
    """Nothing waits in the stream, and Anchor has a checkpoint of all there is."""
    async with asyncio.timeout(PATIENCE_SECONDS), connected(stand.database.owner_dsn) as owner:
        async with Redis.from_url(stand.valkey.url) as client:
            while await client.xlen(stream_key(0)):
                await asyncio.sleep(0.05)
        while not await owner.fetchval(SIGNED):
            await asyncio.sleep(0.05)


async def assert_on_record(stand: Stand, callers: Callers, batch: Batch) -> None:
    """What was answered as recorded is there once, as it was told; what else is there is of calls without an answer."""
    async with connected(stand.database.owner_dsn) as owner:
        rows = await owner.fetch(OF_PRODUCTS, batch.product_ids)
        assert await owner.fetchval(EXACT)
    found = {row["event_id"]: row["verdict"] for row in rows}
    assert len(found) == len(rows)
    assert callers.recorded.items() <= found.items(), f"{len(callers.recorded.keys() - found.keys())} scans are lost"
    assert set(found.values()) == {GENUINE}
    assert len(found) - len(callers.recorded) <= callers.open
    assert callers.degraded, "nobody noticed anything"
