"""A page of suspicious scans by each filter, out of two sizes of journal: what it takes from the statement to the page.

Run: python -m bench.fraud [--scans 2000000] [--share 0.03] [--pages 100]. It makes a tenth of the scans and then all,
each journal on a PostgreSQL of its own. The scans lie evenly in 300 days and on 200 factories, of which the first has a
sixth; `share` of them are suspicious: 60 % SUSPICIOUS, 5 % LIKELY_COPY, 10 % BLOCKED, 25 % genuine with a risk from 20
to 39. The indexes hold those alone: a million with a share of a half stand for 17 million with 3 in 100.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from uuid import UUID

import asyncpg

from admin.store import Store
from admin.suspicious import SuspiciousScans, Wanted
from mesh.identity import Principal
from mesh.migrate import SERVICES, ensure_roles
from mesh.paging import PageTokens
from tests.databases import bring_up
from tests.servers import PASSWORD, start_postgres

DAYS, AT_ONCE = 300, 500_000
MONTHS = """
DO $$
DECLARE
  this_month timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
  month timestamp;
BEGIN
  FOR back IN 2 .. 11 LOOP
    month := this_month - back * interval '1 month';
    EXECUTE format('CREATE TABLE scan.%I PARTITION OF scan.events FOR VALUES FROM (%L) TO (%L)',
      'events_' || to_char(month, 'YYYY_MM'), scan.first_id_of(month), scan.first_id_of(month + interval '1 month'));
  END LOOP;
END $$
"""
FILL = """
INSERT INTO scan.events (product_id, event_id, at, factory_id, verdict, risk, factors, risk_version, weights_version,
  personal, country, source, facts, ledger_index, leading_factor, scan_count)
SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(hashint8(i) & 4194303), 12, '0'))::uuid,
  (lpad(to_hex(ms), 12, '0') || '7' || lpad(to_hex(i & 4095), 3, '0') || '8' || lpad(to_hex(i), 15, '0'))::uuid,
  to_timestamp(ms / 1000.0),
  ('01900000-0000-7000-9000-' || lpad(to_hex((power(whose, 3) * 200)::int), 12, '0'))::uuid,
  verdict,
  CASE WHEN NOT suspicious THEN 0 WHEN verdict = 1 THEN 20 + (points * 19)::int
    ELSE 40 + (points * points * 60)::int END,
  '{"copies":0,"devices":0,"travel":null,"market":30,"velocity":0,"lifecycle":0,"reports":0}'::bytea, 1, 'default-1',
  repeat('a', 32)::bytea, 'BR', 1, repeat('x', 200)::bytea, i, CASE WHEN suspicious THEN 1 + (factor * 6)::int END, 1
FROM (
  SELECT i, (extract(epoch FROM now()) * 1000)::bigint - ($2::bigint - i) * ($5::bigint / $2::bigint) AS ms,
    random() < $4::float8 AS suspicious, random() AS kind, random() AS points, random() AS whose, random() AS factor
  FROM generate_series($1::bigint, $1::bigint + $3::bigint - 1) AS i
) made,
LATERAL (SELECT CASE WHEN NOT suspicious OR kind > 0.75 THEN 1 WHEN kind < 0.6 THEN 2 WHEN kind < 0.65 THEN 3 ELSE 4 END
  AS verdict) judged
"""


async def fill(owner: "asyncpg.Connection[asyncpg.Record]", scans: int, share: float) -> int:
    """Makes the scans: how many are suspicious."""
    await ensure_roles(owner, dict.fromkeys(SERVICES, PASSWORD))
    for service in ("factory", "scan", "anchor", "admin"):
        await bring_up(owner, service)
    await owner.execute(MONTHS)
    span = DAYS * 86_400_000
    for first in range(0, scans, AT_ONCE):
        await owner.execute(FILL, first, scans, min(AT_ONCE, scans - first), share, span, timeout=600)
    await owner.execute("VACUUM ANALYZE scan.events", timeout=600)
    return int(await owner.fetchval("SELECT count(*) FROM scan.events WHERE verdict > 1 OR risk >= 20"))


async def filters(owner: "asyncpg.Connection[asyncpg.Record]", rng: Random) -> dict[str, Callable[[], Wanted]]:
    """What is asked for, by name; each call another of its kind."""
    query = "SELECT factory_id FROM scan.events WHERE verdict > 1 GROUP BY 1 ORDER BY count(*) DESC"
    factories: list[UUID] = [row[0] for row in await owner.fetch(query)]
    query = "SELECT DISTINCT product_id FROM scan.events WHERE verdict > 1 LIMIT 500"
    products: list[UUID] = [row[0] for row in await owner.fetch(query)]
    now = datetime.now(UTC)
    return {
        "newest": Wanted,
        "risk from 70": lambda: Wanted(risk_min=70),
        "risk from 99": lambda: Wanted(risk_min=99),
        "factor": lambda: Wanted(factor=rng.randrange(1, 8)),
        "LIKELY_COPY": lambda: Wanted(verdict=3),
        "nothing fits": lambda: Wanted(verdict=5),
        "largest factory": lambda: Wanted(factory_id=factories[0]),
        "any factory": lambda: Wanted(factory_id=rng.choice(factories), risk_min=60),
        "product": lambda: Wanted(product_id=rng.choice(products)),
        "some day": lambda: Wanted(until=now - timedelta(days=rng.randrange(DAYS))),
    }


def told(took: list[float]) -> str:
    """Milliseconds at P50 and P95."""
    ordered = sorted(took)
    return f"P50 {ordered[len(took) // 2]:6.1f} ms, P95 {ordered[len(took) * 95 // 100]:6.1f} ms"


async def measure(scans: int, share: float, pages: int) -> None:
    """Prints what pages out of so many scans take."""
    with tempfile.TemporaryDirectory(prefix="bench-fraud-") as folder:
        server = await start_postgres(Path(folder))
        owner = await asyncpg.connect(server.dsn())
        suspicious = await fill(owner, scans, share)
        print(f"{scans:,} scans, {suspicious:,} of them suspicious", flush=True)
        dsn = f"postgresql://voketag_admin@{server.dsn().rpartition('@')[2]}"
        options = {"search_path": "admin,pg_catalog"}
        async with asyncpg.create_pool(dsn, password=PASSWORD, server_settings=options, min_size=1) as pool:
            listed = SuspiciousScans(Store(pool), PageTokens(bytes(32)))
            everything: list[float] = []
            for name, make in (await filters(owner, Random(3))).items():
                took = []
                for _ in range(pages):
                    began = time.perf_counter()
                    await listed.list(Principal("user", str(UUID(int=0))), make(), page_size=50, page_token="")
                    took.append((time.perf_counter() - began) * 1_000)
                everything += took
                print(f"  {name:16} {told(took)}", flush=True)
            print(f"  {'all':16} {told(everything)}")
        await owner.close()
        await server.stop()


async def main(scans: int, share: float, pages: int) -> None:
    for size in (scans // 10, scans):
        await measure(size, share, pages)
    print("target: P95 at most 80 ms, and at most 1.2 times as much out of ten times the scans")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=2_000_000)
    parser.add_argument("--share", type=float, default=0.03)
    parser.add_argument("--pages", type=int, default=100)
    asked = parser.parse_args()
    asyncio.run(main(asked.scans, asked.share, asked.pages))
