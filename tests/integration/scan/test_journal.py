"""The journal's writer: what is in the stream is in the journal once and in order, and what is no scan stands aside."""

import asyncio
from typing import Any

import asyncpg
import pytest

from mesh.clock import new_id
from scan.event import read_envelope
from scan.journal import Journal
from scan.stream import START, Stream, precedes, stream_key
from scan.writer import Pace
from tests.fakes.chain_ledger import ChainLedger
from tests.integration.anchor.processes import running
from tests.integration.scan.journals import World, envelope
from trust.ledger import NOTHING_PERSONAL, Opening


async def test_scans_are_written_in_the_order_of_the_stream(world: World) -> None:
    await world.add_some(300)
    async with world.writing(pace=Pace(group=64, poll=0.01)) as metrics:
        await world.until_written()
        await world.add_some(50)
        await world.until_written()
        await world.until_trimmed()
        assert metrics.rows._value.get() == 350
    await world.assert_whole()


async def test_row_says_what_was_said_and_counted(world: World) -> None:
    blank = envelope(counts=None, batch_id=None, factory_id=None, prefix=None, device=None, country="")
    full = envelope(counts=42, prefix=b"p" * 16, device=b"d" * 16, facts={"verdict": 3, "state": 5})
    await world.add(blank, full)
    async with world.writing():
        await world.until_written()
    async with world.owner() as owner:
        first, second = await owner.fetch("SELECT * FROM scan.events ORDER BY ledger_index")
    assert (first["batch_id"], first["factory_id"], first["risk"], first["blind"]) == (None, None, None, None)
    assert (first["personal"], first["country"]) == (NOTHING_PERSONAL, "")
    assert (second["verdict"], second["risk"], second["risk_version"], second["weights_version"]) == (
        3,
        42,
        7,
        "tests-1",
    )
    assert (second["country"], second["source"], second["factors"]) == ("BR", 1, b"[42]")
    assert second["facts"] == b'[{"verdict":3,"state":5},{"scans":42}]'
    assert second["personal"] == Opening(second["blind"], (b"p" * 16, b"d" * 16)).commitment()
    assert round(second["at"].timestamp() * 1000) == int.from_bytes(full.event_id[:6], "big")


def spoilt(**changes: bytes) -> dict[bytes, bytes]:
    return {**envelope().fields(), **{name.encode(): value for name, value in changes.items()}}


BAD: dict[str, dict[Any, Any]] = {
    "not e, p, s, c": {b"hello": b"world"},
    "an id is not of 16 bytes": spoilt(e=b"short"),
    "no UUIDv7": spoilt(e=bytes(16)),
    "no month is kept": spoilt(e=bytes(6) + new_id().bytes[6:]),
    "no JSON": spoilt(s=b"{"),
    "no JSON object": spoilt(s=b"[]"),
    "cannot be judged": spoilt(s=b'{"facts": 5}'),
    "cannot be judged: ValueError": spoilt(c=b"\xff\x00"),
    "the judgement is out of range": spoilt(s=b'{"facts": {"verdict": 256}}'),
    "country": spoilt(s=b'{"facts": {"verdict": 1}, "country": "br", "source": 1}'),
    "source": spoilt(s=b'{"facts": {"verdict": 1}, "country": "BR", "source": 9}'),
    "prefix: not hexadecimal": spoilt(s=b'{"facts": {"verdict": 1}, "country": "", "source": 1, "prefix": 5}'),
    "device: not of 8 to 64": spoilt(s=b'{"facts": {"verdict": 1}, "country": "", "source": 1, "device": "ab"}'),
    "batch: not 16 bytes": spoilt(s=b'{"facts": {"verdict": 1}, "country": "", "source": 1, "batch": "abcd"}'),
    "batch: not 16 bytes in hex": spoilt(s=b'{"facts": {"verdict": 1}, "country": "", "source": 1, "batch": [5]}'),
    "factory: not 16 bytes": spoilt(s=b'{"facts": {"verdict": 1}, "country": "", "source": 1, "factory": "factory"}'),
    "a number of the event is out of range": spoilt(s=b'{"facts": {"verdict": 1.5}, "country": "", "source": 1}'),
    "invalid byte sequence": spoilt(s=rb'{"facts": {"verdict": 1, "w": "\u0000"}, "country": "", "source": 1}'),
}


async def test_what_is_no_scan_is_set_aside_and_blocks_nothing(world: World) -> None:
    async with world.client() as client:
        for fields in BAD.values():
            await world.add_some(3)
            await client.xadd(stream_key(0), fields)
        await world.add_some(3)
    async with world.writing() as metrics:
        await world.until_written()
        await world.until_trimmed()
        assert metrics.dead._value.get() == len(BAD)
    await world.assert_whole()
    async with world.owner() as owner:
        dead = await owner.fetch("SELECT reason, fields FROM scan.dead_entries ORDER BY stream_id")
    for row, (reason, fields) in zip(dead, BAD.items(), strict=True):
        assert reason in row["reason"]
        assert dict(zip(row["fields"][::2], row["fields"][1::2], strict=True)) == fields


async def test_event_that_comes_twice_is_written_once(world: World) -> None:
    some = await world.add_some(20)
    async with world.writing() as metrics:
        await world.until_written()
        await world.add(*some[:5], *[envelope() for _ in range(3)], some[0])
        await world.until_written(23)
        await world.until_trimmed()
        assert metrics.repeated._value.get() == 6
    await world.assert_whole([*some, *world.added[25:28]])


async def test_several_streams_share_the_ledger(world: World) -> None:
    for shard in range(3):
        await world.add(*[envelope() for _ in range(40)], shard=shard)
    async with world.writing(shards=3):
        await world.until_written()
    await world.assert_whole(ordered=False)
    order = [row["event_id"].bytes for row in await world.events()]
    for shard in range(3):
        mine = [one.event_id for one in world.added[shard * 40 : shard * 40 + 40]]
        assert [event_id for event_id in order if event_id in set(mine)] == mine


async def test_two_writers_write_everything_once(world: World) -> None:
    async with world.writing() as one, world.writing() as other:
        for _ in range(20):
            await world.add_some(30)
        await world.until_written()
        assert sorted([one.leading._value.get(), other.leading._value.get()]) == [0, 1]
    await world.assert_whole()


class Leaderless(Journal):
    """Lets every writer think that it leads."""

    async def lead(self, connection: object, lease_seconds: float) -> bool:
        return True


async def test_even_two_writers_that_both_lead_write_everything_once(world: World) -> None:
    async with world.writing(journal=Leaderless(ChainLedger())), world.writing(journal=Leaderless(ChainLedger())):
        for _ in range(20):
            await world.add_some(30)
        await world.until_written()
        await world.until_trimmed()
    await world.assert_whole()


async def test_valkey_that_forgot_what_is_written_is_passed_over(world: World) -> None:
    """Its clock went back too: new ids lie before the offset, where nobody would read them."""
    await world.add_some(10)
    async with world.writing():
        await world.until_written()
        async with world.lanes() as lanes, world.owner() as owner:
            await world.until_trimmed()
            ahead = "9999999999999-0"
            await owner.execute("UPDATE scan.stream_offset SET last_id = $1", ahead)
            await world.add_some(5)
            await world.until_written()
            async with asyncio.timeout(10):
                while precedes((await Stream(lanes).backlog(0)).last_id, ahead):
                    await asyncio.sleep(0.01)
            await world.add_some(5)
            await world.until_written()
    await world.assert_whole()


async def test_valkey_that_lost_everything_goes_on(world: World) -> None:
    await world.add_some(10)
    async with world.writing():
        await world.until_written()
        async with world.client() as client:
            await client.flushall()
        await world.add_some(10)
        await world.until_written()
    await world.assert_whole()


async def test_backlog_is_told(world: World) -> None:
    await world.add_some(7)
    async with world.client() as client, world.lanes() as lanes:
        stream = Stream(lanes)
        assert (await stream.backlog(5)).last_id == START
        async with asyncio.timeout(10):
            while (backlog := await stream.backlog(0)).seconds <= 0:
                await asyncio.sleep(0.01)
        assert backlog.depth == 7
        assert (await stream.memory()).used > 0
        assert not (await stream.memory()).evicts
        await client.config_set("maxmemory-policy", "allkeys-lru")
        assert (await stream.memory()).evicts


OLD_MONTH = """
DO $$ DECLARE old timestamp := date_trunc('month', now() AT TIME ZONE 'UTC') - {past} * interval '1 month';
BEGIN
  EXECUTE format('CREATE TABLE scan.%I PARTITION OF scan.events FOR VALUES FROM (%L) TO (%L)',
    'events_' || to_char(old, 'YYYY_MM'), scan.first_id_of(old), scan.first_id_of(old + interval '1 month'));
END $$"""


async def test_months_are_made_ahead_and_dropped(world: World) -> None:
    journal = Journal(ChainLedger())
    months = "SELECT to_char(month, 'YYYY_MM') FROM scan.event_months() AS month ORDER BY 1"
    async with world.owner() as owner, world.pool() as pool, pool.acquire() as connection:
        assert await journal.keep_months(connection, ahead=3, kept=13) == (0, 0)
        assert await journal.keep_months(connection, ahead=5, kept=13) == (2, 0)
        for past in range(2, 16):
            await owner.execute(OLD_MONTH.format(past=past))
        before = [row[0] for row in await owner.fetch(months)]
        position = await journal.position(connection, 0)
        assert await journal.keep_months(connection, ahead=5, kept=13) == (0, 2)
        assert [row[0] for row in await owner.fetch(months)] == before[2:]
        assert (await journal.position(connection, 0)).since_ms > position.since_ms
        await journal.keep_months(connection, ahead=5, kept=0)
        assert len(await owner.fetch(months)) == 8, "this month, two before and five ahead stay, whatever is asked for"


async def test_role_of_the_service_can_change_no_event(world: World) -> None:
    (one,) = await world.add_some(1)
    async with world.writing():
        await world.until_written()
    async with world.pool() as pool:
        for statement in (
            "UPDATE events SET verdict = 1",
            "UPDATE events SET prefix_hmac = NULL",
            "DELETE FROM events",
            "TRUNCATE events",
            "DELETE FROM dead_entries",
            "DELETE FROM stream_offset",
            "DROP TABLE events",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await pool.execute(statement)
        (row,) = await pool.fetch("SELECT event_id, product_id FROM events")
        assert await pool.fetchval("SELECT forget($1, $2)", row["product_id"], [row["event_id"], new_id()]) == 1
        (left,) = await pool.fetch("SELECT prefix_hmac, device_hmac, blind FROM events")
        assert tuple(left) == (None, None, None)
    assert row["event_id"].bytes == one.event_id
    await world.assert_whole()


async def test_process_writes_and_stops_when_told(world: World) -> None:
    async with running("tests.fakes.dying_writer", env=world.environment()) as process:
        await world.add_some(100)
        await world.until_written()
        process.terminate()
        async with asyncio.timeout(20):
            assert await process.wait() == 0
    await world.assert_whole()


def test_what_goes_into_the_stream_comes_out() -> None:
    one = envelope(counts=2)
    assert read_envelope(one.fields()) == one


async def test_streams_of_shards_that_are_no_more_are_written_too(world: World) -> None:
    for shard in range(3):
        await world.add(*[envelope() for _ in range(20)], shard=shard)
    async with world.writing(shards=3):
        await world.until_written()
    await world.add(*[envelope() for _ in range(20)], shard=2)
    async with world.writing(shards=1):
        await world.until_written()
        await world.until_trimmed(2)
    await world.assert_whole(ordered=False)
