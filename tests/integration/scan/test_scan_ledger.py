"""The ledger in PostgreSQL: what is committed is whole, what is not is nothing, and what is signed stays so."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mesh.database import connect
from mesh.ledger import Ledger, LedgerDamagedError, LedgerForeignError, NotLoggedError, Snapshot
from tests.databases import Databases
from tests.unit.trust.ledgers import ORIGIN, SIGNER, event
from trust import merkle
from trust.alignment import Row
from trust.audit import Report, audit
from trust.checkpoint import Checkpoint, OriginWrongError, open_checkpoint
from trust.ledger import EntryMalformedError, Event, entry_bytes, genesis
from trust.logproof import LogProof, verify
from trust.note import Signer

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LEDGER = Ledger(ORIGIN)
Pool: TypeAlias = "asyncpg.Pool[Any]"


@pytest.fixture
async def pool(databases: Databases) -> AsyncIterator[Pool]:
    async with databases.clone("scan") as database, await connect(database.settings("scan"), schema="scan") as pool:
        yield pool


def events(first: int, stop: int) -> list[Event]:
    return [event(number) for number in range(first, stop)]


async def append(pool: Pool, group: Sequence[Event]) -> int:
    async with pool.acquire() as connection, connection.transaction():
        return await LEDGER.append(connection, group)


async def sign(pool: Pool, signer: Signer = SIGNER, *, ledger: Ledger = LEDGER) -> Checkpoint | None:
    async with pool.acquire() as connection:
        return await ledger.sign(connection, signer, NOW)


async def audited(pool: Pool, logged: Sequence[Event]) -> Report:
    async def rows(first: int) -> AsyncIterator[Sequence[Row]]:
        yield [Row(number, each) for number, each in enumerate(logged)][first:]

    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
        return await audit(Snapshot(LEDGER, connection, rows), [SIGNER.verifier], origin=ORIGIN)


async def size(pool: Pool) -> int:
    found: int = await pool.fetchval("SELECT COALESCE(max(size), 0) FROM ledger")
    return found


async def stored(pool: Pool) -> list[Any]:
    return [await pool.fetch(f"SELECT * FROM {table} ORDER BY 1, 2") for table in ("ledger", "ledger_tiles")]


async def test_groups_become_one_ledger(pool: Pool) -> None:
    logged: list[Event] = []
    for count in (1, 255, 0, 1, 600, 143):
        assert await append(pool, events(len(logged), len(logged) + count)) == len(logged)
        logged += events(len(logged), len(logged) + count)
        await sign(pool)
    report = await audited(pool, logged)
    assert report.clean
    assert (report.size, report.rows, report.checkpoints) == (1000, 1000, 5)


async def test_what_is_not_committed_never_was(pool: Pool) -> None:
    await append(pool, events(0, 300))
    before = await stored(pool)
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await LEDGER.append(connection, events(300, 900))
        checkpoint = await sign(pool)
        assert checkpoint is not None
        assert checkpoint.size == 300
        await transaction.rollback()
    assert await stored(pool) == before
    assert await append(pool, events(300, 310)) == 300
    assert (await audited(pool, events(0, 310))).clean


async def test_a_writer_whose_connection_dies_leaves_nothing(pool: Pool) -> None:
    await append(pool, events(0, 10))
    connection = await pool.acquire()
    await connection.transaction().start()
    await LEDGER.append(connection, events(10, 20))
    connection.terminate()
    await pool.release(connection)
    assert await append(pool, events(10, 12)) == 10
    assert (await audited(pool, events(0, 12))).clean


async def test_writers_take_turns(pool: Pool) -> None:
    placed: dict[int, Event] = {}

    async def write(writer: int) -> None:
        for turn in range(10):
            group = events(1000 * writer + 10 * turn, 1000 * writer + 10 * turn + 7)
            first = await append(pool, group)
            placed.update({first + number: each for number, each in enumerate(group)})

    async with asyncio.TaskGroup() as tasks:
        for writer in range(5):
            tasks.create_task(write(writer))
    assert sorted(placed) == list(range(350))
    assert (await audited(pool, [placed[number] for number in range(350)])).clean


async def test_signing_follows_what_was_appended(pool: Pool) -> None:
    assert await sign(pool) is None
    assert await LEDGER.latest(pool) is None
    await append(pool, [])
    assert await sign(pool) is None
    await append(pool, events(0, 5))
    both = await asyncio.gather(sign(pool), sign(pool))
    assert {each.size for each in both if each} == {5}
    assert await sign(pool) is None
    note = await LEDGER.latest(pool)
    assert note is not None
    assert open_checkpoint(note, [SIGNER.verifier], ORIGIN).size == 5
    assert await pool.fetchval("SELECT count(*) FROM ledger_checkpoints") == 1


async def test_proofs_lead_to_what_was_signed(pool: Pool) -> None:
    logged = events(0, 700)
    await append(pool, logged[:300])
    first = await sign(pool)
    await append(pool, logged[300:])
    second, note = await sign(pool), await LEDGER.latest(pool)
    assert first is not None
    assert second is not None
    assert note is not None
    for number in (0, 1, 255, 256, 257, 299, 512, 699):
        found = await LEDGER.inclusion(pool, number, 700)
        entry = entry_bytes(found.previous, logged[number])
        assert merkle.leaf_hash(entry) == found.own
        assert verify(LogProof(entry, number, found.path, note), [SIGNER.verifier], ORIGIN) == second
    assert (await LEDGER.inclusion(pool, 0, 300)).previous == genesis(ORIGIN)
    path = await LEDGER.consistency(pool, 300, 700)
    assert merkle.verify_consistency(300, 700, first.root, second.root, path)
    assert await LEDGER.consistency(pool, 700, 700) == []
    assert len(await LEDGER.tile(pool, 0, 2)) == 188 * 32
    assert await LEDGER.tile(pool, 0, 3) == b""


@pytest.mark.parametrize(
    ("number", "whole"), [(-1, 10), (10, 10), (3, 11), (0, 0), (5, 1 << 62), (1 << 70, 1 << 71)], ids=range(6)
)
async def test_no_proof_of_what_is_not_in_the_ledger(pool: Pool, number: int, whole: int) -> None:
    await append(pool, events(0, 10))
    with pytest.raises(NotLoggedError):
        await LEDGER.inclusion(pool, number, whole)


@pytest.mark.parametrize(("old", "new"), [(-1, 5), (6, 5), (5, 11), (5, 1 << 62), (1 << 70, 1 << 71)], ids=range(5))
async def test_no_proof_between_trees_that_are_not_there(pool: Pool, old: int, new: int) -> None:
    await append(pool, events(0, 10))
    with pytest.raises(NotLoggedError):
        await LEDGER.consistency(pool, old, new)


async def test_entries_need_a_transaction_and_facts(pool: Pool) -> None:
    async with pool.acquire() as connection:
        with pytest.raises(RuntimeError, match="within a transaction"):
            await LEDGER.append(connection, events(0, 1))
    with pytest.raises(EntryMalformedError):
        await append(pool, [event(0), event(1)._replace(risk_total=101)])
    assert await size(pool) == 0
    assert await append(pool, events(0, 1)) == 0


async def test_the_ledger_of_another_origin_is_left_alone(pool: Pool) -> None:
    await append(pool, events(0, 5))
    other = Ledger("elsewhere.test/ledger")
    with pytest.raises(LedgerForeignError, match=ORIGIN):
        async with pool.acquire() as connection, connection.transaction():
            await other.append(connection, events(5, 6))
    with pytest.raises(LedgerForeignError):
        await sign(pool, ledger=other)
    with pytest.raises(OriginWrongError):
        await sign(pool, Signer("elsewhere.test/ledger", Ed25519PrivateKey.generate()))
    assert await size(pool) == 5


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE ledger_tiles SET hashes = substring(hashes FOR 64) WHERE level = 0 AND number = 1",
        "UPDATE ledger_tiles SET hashes = hashes || sha256('') WHERE number = 1; UPDATE ledger SET size = 301",
        "UPDATE ledger SET last = sha256('')",
        "UPDATE ledger SET size = size + 1",
        "UPDATE ledger SET size = size + 256",
    ],
    ids=range(5),
)
async def test_nothing_is_appended_to_or_signed_for_a_damaged_ledger(pool: Pool, damage: str) -> None:
    await append(pool, events(0, 300))
    await pool.execute(damage)
    with pytest.raises(LedgerDamagedError):
        await append(pool, events(300, 301))
    with pytest.raises(LedgerDamagedError):
        await sign(pool)


@pytest.mark.parametrize("place", ["level = 1 AND number = 0", "level = 0 AND number = 1"])
async def test_no_fork_is_signed(pool: Pool, place: str) -> None:
    await append(pool, events(0, 300))
    await sign(pool)
    await append(pool, events(300, 310))
    await pool.execute(f"UPDATE ledger_tiles SET hashes = set_byte(hashes, 3, get_byte(hashes, 3) # 1) WHERE {place}")
    with pytest.raises(LedgerDamagedError, match="signed for 300"):
        await sign(pool)
    assert not (await audited(pool, events(0, 310))).clean


async def test_a_ledger_set_back_is_not_signed_again(pool: Pool) -> None:
    await append(pool, events(0, 256))
    hashes = await LEDGER.tile(pool, 0, 0)
    await append(pool, events(256, 300))
    await sign(pool)
    await pool.execute("UPDATE ledger SET size = 256, last = $1", hashes[-32:])
    with pytest.raises(LedgerDamagedError, match="300 entries were signed for, and there are 256"):
        await sign(pool)
    report = await audited(pool, events(0, 256))
    assert [finding.kind.name for finding in report.findings] == ["CHECKPOINT_AHEAD"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_checkpoints SET size = size + 1",
        "DELETE FROM ledger_checkpoints",
        "DELETE FROM ledger_tiles",
        "DELETE FROM ledger",
        "TRUNCATE ledger",
    ],
)
async def test_the_service_itself_may_not_unsay(pool: Pool, statement: str) -> None:
    await append(pool, events(0, 5))
    await sign(pool)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute(statement)


async def test_an_audit_pages_through_the_checkpoints(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.ledger.PAGE", 2)
    for number in range(5):
        await append(pool, events(10 * number, 10 * number + 10))
        await sign(pool)
    report = await audited(pool, events(0, 50))
    assert report.clean
    assert report.checkpoints == 5
