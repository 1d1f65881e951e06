"""A ledger that is one row: how many entries there are and the last one's hash, chained as trust.ledger says."""

from collections.abc import Sequence

import asyncpg
import orjson

from mesh.database import Connection
from scan.counts import Counts
from scan.event import NO_COUNTS, Judged
from trust.ledger import Event, entry_hash, genesis

ORIGIN = "tests.voketag.com/scans"
TABLE = """
CREATE TABLE public.chain (size bigint NOT NULL, last bytea NOT NULL);
GRANT SELECT, UPDATE ON public.chain TO voketag_scan
"""


async def install(owner: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Makes the row in the database of the connection."""
    await owner.execute(TABLE)
    await owner.execute("INSERT INTO public.chain VALUES (0, $1)", genesis(ORIGIN))


class ChainLedger:
    """Appends in the caller's transaction."""

    async def append(self, connection: Connection, events: Sequence[Event], /) -> int:
        size, last = await connection.fetchrow("SELECT size, last FROM public.chain FOR UPDATE")  # type: ignore[misc]
        after = chained(last, events)
        await connection.execute("UPDATE public.chain SET size = $1, last = $2", size + len(events), after)
        return int(size)


def chained(last: bytes, events: Sequence[Event]) -> bytes:
    for event in events:
        last = entry_hash(last, event)
    return last


def judge(said: bytes, counts: bytes) -> Judged:
    """As many points of risk as scans were counted; raises on what the tests call bad."""
    facts = orjson.loads(said)["facts"]
    counted = {"scans": Counts.read(counts).scans} if counts != NO_COUNTS else {}
    total = min(100, counted["scans"]) if counted else None
    weights = facts.get("w", "tests-1")
    return Judged(facts["verdict"], total, orjson.dumps([total]), 7, weights, orjson.dumps([facts, counted]))
