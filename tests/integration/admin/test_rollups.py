"""Figures of scans against all raw rows: whatever comes when, whoever counts, however often it is killed."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from mesh.tasks import end
from tests.databases import Databases
from tests.integration.admin import raw
from tests.integration.admin.figures import FigureGround, figure_ground, stamp
from tests.integration.admin.raw import Window

pytestmark = pytest.mark.asyncio(loop_scope="function")
WAITS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE $1
"""


@pytest_asyncio.fixture
async def place(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FigureGround]:
    async with figure_ground(databases, tmp_path_factory.mktemp("figures")) as place:
        yield place


async def wait_for(place: FigureGround, query: str) -> None:
    """Returns when a statement like this waits for a lock."""
    watcher = await asyncpg.connect(place.ground.database.dsn)
    try:
        async with asyncio.timeout(30):
            while not await watcher.fetchval(WAITS, query):
                await asyncio.sleep(0.02)
    finally:
        await watcher.close()


@pytest.mark.parametrize("seed", range(3))
async def test_every_figure_of_scans_is_that_of_the_raw_rows(place: FigureGround, seed: int) -> None:
    people, random = await place.people(seed), Random(seed)
    for _ in range(4):
        await place.raw.record(people.scans(random.randrange(1, 200)))
        await place.rollups(group=random.choice((1, 7, 37, 1_000))).run_once()
    await place.check(people)
    answer = await place.dashboard()
    assert answer.totals.as_of.ToDatetime(UTC) <= datetime.now(UTC)
    await place.rollups().run_once()
    await place.check(people)


async def test_nothing_is_told_as_counted_before_it_was(place: FigureGround) -> None:
    answer = await place.dashboard()
    for part in (answer.totals, answer.scans, answer.batches, answer.anchoring, answer.jobs, answer.accounts):
        assert not part.HasField("as_of")
    people = await place.people(1)
    early = people.scans(50)
    await place.raw.record(early)
    before = datetime.now(UTC)
    await place.rollups().run_once()
    answer = await place.dashboard()
    assert before <= answer.totals.as_of.ToDatetime(UTC) <= datetime.now(UTC)
    assert answer.totals.ever.scans == 50


async def test_who_is_behind_says_how_far_it_is(place: FigureGround) -> None:
    """Counting stops half way through: what the journal had by the time told is counted, and no more is said."""
    people, start = await place.people(2), datetime.now(UTC) - timedelta(hours=1)
    product, factory = next(iter(people.owners.items()))
    rows = [raw.raw_scan(start + timedelta(minutes=number), product, factory, people.random) for number in range(10)]
    await place.raw.record(rows)
    slow = place.rollups(group=4)
    assert await slow._scans()
    answer = await place.dashboard()
    assert (answer.totals.ever.scans, answer.totals.as_of.ToDatetime(UTC)) == (4, rows[3].at)
    assert await slow._scans()
    assert not await slow._scans()
    answer = await place.dashboard()
    assert answer.totals.ever.scans == 10
    assert answer.totals.as_of.ToDatetime(UTC) > rows[-1].at


async def test_a_scan_that_is_not_committed_yet_is_waited_for_and_not_passed(place: FigureGround) -> None:
    people = await place.people(3)
    await place.raw.record(people.scans(5))
    slow = await asyncpg.connect(place.ground.database.dsn)
    try:
        await slow.execute("SET search_path = scan, pg_catalog")
        transaction = slow.transaction()
        await transaction.start()
        await place.raw.journal.record(slow, people.scans(5))
        later = asyncio.create_task(place.raw.record(people.scans(5)))
        await wait_for(place, "%FROM ledger WHERE one FOR UPDATE%")
        await place.rollups().run_once()
        assert (await place.dashboard()).totals.ever.scans == 5
        await transaction.commit()
        await later
    finally:
        await slow.close()
    await place.rollups().run_once()
    assert (await place.dashboard()).totals.ever.scans == 15
    await place.check(people)


async def test_what_was_rolled_back_leaves_no_hole(place: FigureGround) -> None:
    people, connection = await place.people(4), place.raw.connections["scan"]
    transaction = connection.transaction()
    await transaction.start()
    await place.raw.journal.record(connection, people.scans(5))
    await place.rollups().run_once()
    await transaction.rollback()
    await place.raw.record(people.scans(7))
    await place.rollups().run_once()
    await place.check(people)


async def test_whoever_counts_at_once_counts_once(place: FigureGround) -> None:
    people = await place.people(5)
    loops = [place.rollups(group=3) for _ in range(3)]

    async def go_on(number: int) -> None:
        while True:
            await loops[number].run_once()
            await asyncio.sleep(0)

    running = [asyncio.create_task(go_on(number)) for number in range(3)]
    for _ in range(10):
        await place.raw.record(people.scans(20))
    await end(*running)
    await place.rollups().run_once()
    await place.check(people)


async def test_who_is_killed_half_way_has_counted_nothing_twice(place: FigureGround) -> None:
    """A process is held in the middle of its transaction and killed; two others go on at once."""
    people = await place.people(6)
    await place.raw.record(people.scans(60))
    owner = await asyncpg.connect(place.ground.database.dsn)
    try:
        for table in ("product_counts", "product_lists", "scan_rollups", "rollups"):
            await place.raw.record(people.scans(20))
            transaction = owner.transaction()
            await transaction.start()
            await owner.execute(f"LOCK TABLE admin.{table} IN SHARE MODE")
            child = place.process()
            await child.start()
            await wait_for(place, f"%{table}%")
            assert child.pid is not None
            await child.kill()
            await transaction.commit()
        others = [place.process(), place.process()]
        for other in others:
            await other.start()
        await place.raw.record(people.scans(20))
        now = datetime.now(UTC)
        async with asyncio.timeout(30):
            while (await place.dashboard()).totals.as_of.ToNanoseconds() < stamp(now).ToNanoseconds():
                await asyncio.sleep(0.1)
        for other in others:
            await other.stop()
    finally:
        await owner.close()
    await place.check(people)


async def test_lists_of_products_say_what_they_do_not_know(place: FigureGround) -> None:
    """With three products kept a day, one day is exact and more days are within their bounds."""
    people = await place.people(7)
    for _ in range(5):
        await place.raw.record(people.scans(150))
        await place.rollups(products_kept=3).run_once()
    await place.check(people, products=False)
    rows, vague = await place.raw.scans(), False
    tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    for factory_id in (None, *people.factories):
        for window in (
            Window(tomorrow - timedelta(days=1), tomorrow, factory_id=factory_id),
            Window(raw.earliest(), tomorrow, factory_id=factory_id),
        ):
            answer, truth = (await place.analytics(window)).products, raw.products_of(rows, window)
            listed = {UUID(row.product_id): row for row in answer.products}
            for product, row in listed.items():
                assert row.scans <= truth[product] <= row.scans_at_most
            rest = max((scans for product, scans in truth.items() if product not in listed), default=0)
            assert rest <= answer.unlisted_at_most
            if window.step == window.until - window.since:
                best = sorted(truth.items(), key=lambda item: (-item[1], item[0]))[:3]
                assert [(UUID(row.product_id), row.scans) for row in answer.products] == best
                assert all(row.scans_at_most == row.scans for row in answer.products)
            vague |= any(row.scans_at_most > row.scans for row in answer.products)
    assert vague


async def test_hours_go_and_days_stay(place: FigureGround) -> None:
    people = await place.people(8)
    await place.raw.record(people.scans(50))
    await place.rollups().run_once()
    owner = await asyncpg.connect(place.ground.database.dsn)
    try:
        await owner.execute(
            "INSERT INTO admin.scan_rollups SELECT (jsonb_populate_record(rolled, jsonb_build_object("
            "'since', since - interval '200 days'))).* FROM admin.scan_rollups AS rolled"
        )
        grains = "SELECT grain, count(*) FROM admin.scan_rollups GROUP BY grain"
        before = {row["grain"]: row["count"] for row in await owner.fetch(grains)}
        await place.rollups().run_once()
        after = {row["grain"]: row["count"] for row in await owner.fetch(grains)}
        assert after == {"day": before["day"], "hour": before["hour"] // 2}
    finally:
        await owner.close()
