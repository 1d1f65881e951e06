"""Figures of batches, windows and queues against all raw rows, whatever order transactions end in."""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from voketag.admin.v1 import dashboard_pb2 as pb
from voketag.factory.v1 import factory_pb2

from mesh.jobs import Jobs
from tests.databases import Databases
from tests.integration.admin import raw
from tests.integration.admin.figures import FigureGround, figure_ground, windows
from tests.integration.admin.raw import Window

STATES = ("RECEIVING", "PENDING", "PROCESSING", "ANCHORING", "COMPLETED", "FAILED", "CANCELLED")
PLACE = {"chain_id": 1, "contract": "0x1", "transaction": "0x2", "block_number": 3}


@pytest_asyncio.fixture
async def place(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FigureGround]:
    async with figure_ground(databases, tmp_path_factory.mktemp("figures")) as place:
        yield place


class Batches:
    """Batches that are made and go on, as the factory service writes them."""

    def __init__(self, place: FigureGround, factories: list[UUID], random: Random) -> None:
        self.place = place
        self.factories = factories
        self.random = random
        self.known: list[tuple[UUID, UUID]] = []
        self.legal: dict[str, list[str]] = defaultdict(list)

    async def look(self) -> None:
        for row in await self.place.raw.fetch("factory", "SELECT * FROM batch_transitions"):
            self.legal[row["from_state"]].append(row["to_state"])

    async def make(self, connection: Any) -> None:
        factory, batch = self.random.choice(self.factories), uuid4()
        ago = timedelta(days=self.random.choice((0, 1, 5, 40, 90)))
        await connection.execute(
            "INSERT INTO factory.batches (factory_id, batch_id, name, state, template, kid, product_count, created_at) "
            "VALUES ($1, $2, 'b', $3, '{}', 1, 500, $4)",
            factory, batch, self.random.choice(("RECEIVING", "PENDING")), datetime.now(UTC) - ago,
        )  # fmt: skip
        self.known.append((factory, batch))

    async def step(self, connection: Any) -> None:
        """Issues some products, or goes on to another state."""
        _, batch = self.random.choice(self.known)
        row = await connection.fetchrow("SELECT * FROM factory.batches WHERE batch_id = $1", batch)
        if row["state"] in ("RECEIVING", "PROCESSING") and self.random.random() < 0.6:
            issued = min(row["issued_count"] + self.random.randrange(50), 500)
            await connection.execute("UPDATE factory.batches SET issued_count = $2 WHERE batch_id = $1", batch, issued)
        elif to := self.legal[row["state"]]:
            await connection.execute(
                "UPDATE factory.batches SET state = $2, root = decode(repeat('00', 32), 'hex'), chain_id = $3, "
                "contract = $4, transaction = $5, block_number = $6 WHERE batch_id = $1",
                batch,
                state := self.random.choice(to),
                *(PLACE.values() if state == "COMPLETED" else [None] * 4),
            )

    async def check(self) -> None:
        """Everybody's and each factory's, of all days and of a few, and the dashboard."""
        rows = await self.place.raw.fetch("factory", "SELECT * FROM batches")
        for factory_id in (None, *self.factories):
            mine = [row for row in rows if factory_id in (None, row["factory_id"])]
            board = (await self.place.dashboard(factory_id=factory_id or "")).batches
            check_states(board, mine)
            for window in windows(factory_id):
                answer = (await self.place.analytics(window, metrics=[pb.METRIC_BATCHES])).batches
                inside = [row for row in mine if touches(window, row["created_at"])]
                check_states(answer, inside)
                days = Counter(raw.day_of(row["created_at"]) for row in inside)
                products: Counter[date] = Counter()
                for row in inside:
                    products[raw.day_of(row["created_at"])] += row["issued_count"]
                for day in answer.days:
                    moment = day.start_time.ToDatetime(UTC).date()
                    assert (day.batches, day.products) == (days.pop(moment, 0), products[moment])
                assert not days


def touches(window: Window, at: datetime) -> bool:
    return window.since.date() <= raw.day_of(at) <= (window.until - timedelta(microseconds=1)).date()


def check_states(answer: pb.BatchSeries, rows: list[Any]) -> None:
    states: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        states[row["state"]].append(row["issued_count"])
    found = {
        factory_pb2.BatchState.Name(row.state).removeprefix("BATCH_STATE_"): (row.batches, row.products)
        for row in answer.states
    }
    assert found == {state: (len(issued), sum(issued)) for state, issued in states.items()}
    assert (answer.batches, answer.products) == (len(rows), sum(row["issued_count"] for row in rows))


@pytest.mark.parametrize("seed", range(2))
async def test_batches_are_counted_whatever_order_their_changes_commit_in(place: FigureGround, seed: int) -> None:
    """A transaction that began before a look and commits after it is found by the next look."""
    people, random = await place.people(seed), Random(seed)
    batches = Batches(place, people.factories, random)
    await batches.look()
    slow = await asyncpg.connect(place.ground.database.dsn)
    quick = await asyncpg.connect(place.ground.database.dsn)
    try:
        for _ in range(6):
            transaction = slow.transaction()
            await transaction.start()
            held = len(batches.known)
            for _ in range(5):
                await batches.make(slow)
            unseen, batches.known = batches.known[held:], batches.known[:held]
            for _ in range(20):
                await batches.make(quick)
                await batches.step(quick)
            await place.rollups().run_once()
            await batches.check()
            await transaction.commit()
            batches.known += unseen
            await place.rollups().run_once()
            await batches.check()
            await place.rollups().run_once()
            await batches.check()
    finally:
        await slow.close()
        await quick.close()


async def test_batches_are_counted_anew_after_a_restore(place: FigureGround) -> None:
    """A server that was restored from a dump gives out transaction ids from the beginning."""
    people = await place.people(3)
    batches = Batches(place, people.factories, Random(3))
    await batches.look()
    owner = await asyncpg.connect(place.ground.database.dsn)
    try:
        for _ in range(10):
            await batches.make(owner)
        await place.rollups().run_once()
        ahead = (1 << 40) + 99
        await owner.execute("UPDATE admin.rollups SET snapshot = $1::text::pg_snapshot", f"{ahead}:{ahead}:")
        await owner.execute("ALTER TABLE factory.batches DISABLE TRIGGER note_change")
        await owner.execute("UPDATE factory.batches SET changed_in = $1::text::xid8", str(ahead - 7))
        await owner.execute("ALTER TABLE factory.batches ENABLE TRIGGER note_change")
        for _ in range(30):
            await batches.step(owner)
        await place.rollups().run_once()
        await batches.check()
        for _ in range(30):
            await batches.step(owner)
        await place.rollups().run_once()
        await batches.check()
    finally:
        await owner.close()


class Windows:
    """Windows on their way, as the submitter writes them."""

    def __init__(self, owner: "asyncpg.Connection[asyncpg.Record]", random: Random) -> None:
        self.owner = owner
        self.random = random

    async def open(self) -> None:
        """A tree of some roots that were submitted lately."""
        roots = self.random.randrange(1, 5)
        tree = await self.owner.fetchval(
            "INSERT INTO anchor.trees (root, size) VALUES ($1, $2) RETURNING tree_id", self.random.randbytes(32), roots
        )
        for leaf in range(roots):
            await self.owner.execute(
                "INSERT INTO anchor.submissions "
                "(submission_id, subject_id, created_at, tree_id, size, leaf_index, kind, root) "
                "VALUES ($1, $2, now() - make_interval(days => 3, secs => $3), $4, 1, $5, 1, $6)",
                uuid4(), uuid4(), self.random.randrange(1_000), tree, leaf, self.random.randbytes(32),
            )  # fmt: skip
        await self.owner.execute(
            "INSERT INTO anchor.transactions (tree_id, chain_kind, chain_id, contract, sender, fence) "
            "VALUES ($1, 'evm', 1, '0x1', '0x2', 1)",
            tree,
        )

    async def step(self) -> None:
        """Takes one a step on, or puts a final one back."""
        row = await self.owner.fetchrow("SELECT * FROM anchor.transactions ORDER BY random() LIMIT 1")
        assert row is not None
        tree, gas = row["tree_id"], self.random.choice((None, 50_000 + self.random.randrange(9_999)))
        steps: dict[str, tuple[str, tuple[object, ...]]] = {
            "built": ("state = 'signed', nonce = $2", (tree,)),
            "signed": ("state = 'sent'", ()),
            "sent": (
                "state = 'mined', hash = $2, block_number = 1, mined_at = now(), gas_used = $3, gas_price = $4",
                (self.random.randbytes(32), gas, 10**9 + self.random.randrange(10**12)),
            ),
            "mined": (
                "state = 'final', final_at = $2",
                (datetime.now(UTC) - timedelta(days=self.random.randrange(3), seconds=self.random.randrange(99)),),
            ),
            "final": (
                "state = 'sent', hash = NULL, block_number = NULL, mined_at = NULL, final_at = NULL",
                (),
            ),
        }
        change, values = steps[row["state"]]
        if row["state"] != "final" or self.random.random() < 0.3:
            await self.owner.execute(f"UPDATE anchor.transactions SET {change} WHERE tree_id = $1", tree, *values)

    async def check(self, place: FigureGround) -> None:
        rows = await self.owner.fetch(
            "SELECT x.*, s.created_at FROM anchor.transactions x JOIN anchor.submissions s USING (tree_id)"
        )
        answer = (await place.dashboard()).anchoring
        days: dict[date, list[Any]] = defaultdict(list)
        for row in rows:
            if row["final_at"] is not None:
                days[raw.day_of(row["final_at"])].append(row)
        for point in answer.days:
            day = point.start_time.ToDatetime(UTC).date()
            assert shown(point.figures) == pytest.approx(expected(days.pop(day, [])))
        assert not days
        assert shown(answer.total) == pytest.approx(expected([row for row in rows if row["final_at"] is not None]))
        waiting = [row["created_at"] for row in rows if row["final_at"] is None]
        assert answer.waiting_roots == len(waiting)
        assert answer.HasField("oldest_root_time") == bool(waiting)


def shown(figures: pb.AnchoringFigures) -> list[float]:
    lags = figures.average_lag_seconds, figures.longest_lag_seconds
    return [figures.windows, figures.roots, figures.gas_used, int(figures.fee_wei), *lags]


def expected(rows: list[Any]) -> list[float]:
    trees = {row["tree_id"]: row for row in rows}.values()
    lags = [max((row["final_at"] - row["created_at"]).total_seconds(), 0) for row in rows]
    known = [row for row in trees if row["gas_used"] is not None]
    gas, fee = (sum(row["gas_used"] * price(row) for row in known) for price in (one, cost))
    return [len(trees), len(rows), gas, fee, sum(lags) / len(lags) if lags else 0, max(lags, default=0)]


def one(_: Any) -> int:
    return 1


def cost(row: Any) -> int:
    return int(row["gas_price"])


async def test_windows_are_counted_with_their_cost_through_reorganisations(place: FigureGround) -> None:
    owner = await asyncpg.connect(place.ground.database.dsn)
    try:
        made = Windows(owner, Random(1))
        for _ in range(8):
            for _ in range(3):
                await made.open()
            for _ in range(25):
                await made.step()
            await place.rollups().run_once()
            await made.check(place)
            await place.rollups().run_once()
            await made.check(place)
    finally:
        await owner.close()


async def test_queues_tell_what_waits_runs_and_was_given_up(place: FigureGround) -> None:
    owner = await asyncpg.connect(place.ground.database.dsn)
    try:
        jobs = Jobs("factory")
        for name, delay in (("build", 0.0), ("build", 0.0), ("build", 3_600.0), ("send", 0.0)):
            await jobs.enqueue(owner, name, b"", delay=delay)
        await owner.execute("UPDATE factory.pgqueuer SET execute_after = now() - interval '1 hour' WHERE id = 1")
        await owner.execute("UPDATE factory.pgqueuer SET status = 'failed' WHERE entrypoint = 'send'")
        await Jobs("admin").enqueue(owner, "export", b"")
        await place.rollups().run_once()
        answer = (await place.dashboard()).jobs
        assert [(row.queue, row.job, row.waiting, row.running, row.held) for row in answer.jobs] == [
            ("admin", "export", 1, 0, 0),
            ("factory", "build", 2, 0, 0),
            ("factory", "send", 0, 0, 1),
        ]
        age = datetime.now(UTC) - answer.jobs[1].oldest_due_time.ToDatetime(UTC)
        assert timedelta(minutes=59) < age < timedelta(minutes=61)
        assert not answer.jobs[2].HasField("oldest_due_time")
        await owner.execute("DELETE FROM factory.pgqueuer")
        await owner.execute("DELETE FROM admin.pgqueuer")
        await place.rollups().run_once()
        assert not (await place.dashboard()).jobs.jobs
    finally:
        await owner.close()


async def test_accounts_are_people_who_may_log_in_and_factories(place: FigureGround) -> None:
    await place.people(2, factories=3)
    before = (await place.dashboard()).accounts
    person = await place.admin.create()
    await place.rollups().run_once()
    after = (await place.dashboard()).accounts
    assert (after.users, after.factories) == (before.users + 1, before.factories + 3)
    await place.admin.call("DisableUser", user_id=person.user_id)
    assert (await place.dashboard()).accounts.users == before.users
