"""The figures of generated scans by statements over whole days, which is faster by far than counting them as they come.

What they come to is held against what the service itself counts by tests/integration/admin/test_bench_data.py. They
rely on what is so of generated scans alone: a product is always of the same factory, or of none, and what comes later
in the ledger is later.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from admin.counting import COUNTED, EVERYBODY, RISKS, VERDICTS, midnight
from admin.rollups import COUNTED_DAYS, PRODUCTS_KEPT
from bench.admin_scans import LONG, Connect, Size, side_by_side

DAY_OF = """
at >= $1 AND at < $2 AND event_id >= scan.first_id_of(($1 AT TIME ZONE 'UTC'))
  AND event_id < scan.first_id_of(($2 AT TIME ZONE 'UTC'))
"""
FIRSTS = """
WITH firsts AS MATERIALIZED (
  SELECT product_id, any_value(factory_id) AS factory_id, min(at) AS at FROM scan.events GROUP BY product_id
), kept AS (
  INSERT INTO admin.scanned_products SELECT product_id FROM firsts
)
INSERT INTO public.first_scans
SELECT date_trunc('hour', at), factory_id, count(*) FROM firsts GROUP BY 1, 2
"""
PRODUCTS = f"""
INSERT INTO day_products
SELECT product_id, factory_id, count(*) FROM scan.events WHERE {DAY_OF} GROUP BY product_id, factory_id
"""
LISTS = """
WITH whose AS MATERIALIZED (
  SELECT who, product_id, scans, row_number() OVER (PARTITION BY who ORDER BY scans DESC, product_id) AS place
  FROM day_products, LATERAL (VALUES (factory_id), ($1::uuid)) AS owner (who) WHERE who IS NOT NULL
), counted AS (
  INSERT INTO public.products_of_days SELECT who, $2, count(*) FROM whose GROUP BY who
)
INSERT INTO admin.product_lists (factory_id, day, listed, complete)
SELECT who, $2::date,
  string_agg(uuid_send(product_id) || int8send(scans), '' ORDER BY place) FILTER (WHERE place <= $3), count(*) <= $3
FROM whose GROUP BY who
"""
COUNTS = """
INSERT INTO admin.product_counts (day, product_id, scans, known)
SELECT $1, product_id, scans, CASE WHEN factory_id IS NULL THEN 0 ELSE scans END FROM day_products
"""
_VERDICTS = ", ".join(f"count(*) FILTER (WHERE verdict = {at}) AS {name}" for at, name in enumerate(VERDICTS, 1))
_RISKS = ", ".join(
    f"count(*) FILTER (WHERE risk >= {tens * 10} AND risk < {tens * 10 + 10 if tens < 9 else 101}) AS {name}"
    for tens, name in enumerate(RISKS)
)
_SUMMED = COUNTED[:-1]
SPANS = f"""
INSERT INTO admin.scan_rollups (grain, factory_id, since, {", ".join(_SUMMED)}, products, countries)
WITH counters AS (
  SELECT date_trunc('hour', at) AS hour, factory_id, count(*) AS scans, {_VERDICTS}, {_RISKS},
    coalesce(sum(risk), 0) AS risk_total
  FROM scan.events WHERE {DAY_OF} GROUP BY 1, 2
), spans AS (
  SELECT grain, who, since, {", ".join(f"coalesce(sum({name}), 0)::bigint AS {name}" for name in _SUMMED)}
  FROM counters
  LEFT JOIN public.first_scans AS first
    ON first.hour = counters.hour AND first.factory_id IS NOT DISTINCT FROM counters.factory_id,
  LATERAL (VALUES ('hour', counters.factory_id, counters.hour), ('day', counters.factory_id, $1),
    ('hour', $3::uuid, counters.hour), ('day', $3, $1)) AS span (grain, who, since)
  WHERE who IS NOT NULL GROUP BY 1, 2, 3
), by_country AS (
  SELECT grain, who, since, jsonb_object_agg(country, scans) AS countries FROM (
    SELECT grain, who, since, country, sum(scans)::bigint AS scans
    FROM (
      SELECT date_trunc('hour', at) AS hour, factory_id, country, count(*) AS scans
      FROM scan.events WHERE {DAY_OF} GROUP BY 1, 2, 3
    ) AS cells,
    LATERAL (VALUES ('hour', factory_id, hour), ('day', factory_id, $1), ('hour', $3::uuid, hour), ('day', $3, $1))
      AS span (grain, who, since)
    WHERE who IS NOT NULL GROUP BY 1, 2, 3, 4
  ) AS summed GROUP BY 1, 2, 3
)
SELECT grain, who, since, {", ".join(_SUMMED)}, coalesce(products.products, 0), countries
FROM spans JOIN by_country USING (grain, who, since)
LEFT JOIN public.products_of_days AS products
  ON grain = 'day' AND products.factory_id = who AND products.day = ($1 AT TIME ZONE 'UTC')::date
"""
FACTORIES = """
INSERT INTO admin.factory_rollups (day, factory_id, scans, suspected)
SELECT (since AT TIME ZONE 'UTC')::date, factory_id, scans, suspicious + likely_copy FROM admin.scan_rollups
WHERE grain = 'day' AND factory_id <> $1
"""
COUNTED_TO = "UPDATE admin.rollups SET position = $1, counted_since = $2, as_of = now() WHERE source = 'scans'"
BEFORE = """
CREATE UNLOGGED TABLE public.first_scans (hour timestamptz, factory_id uuid, first_scans bigint);
CREATE UNLOGGED TABLE public.products_of_days (factory_id uuid, day date, products bigint);
ALTER TABLE admin.scanned_products DROP CONSTRAINT scanned_products_pkey
"""
AFTER = """
DROP TABLE public.first_scans, public.products_of_days;
ALTER TABLE admin.scanned_products ADD PRIMARY KEY (product_id)
"""


async def count_scans(connect: Connect, size: Size) -> None:
    """Counts all scans there are into tables that are empty."""
    owner = await connect()
    await owner.execute(BEFORE)
    today = size.end.astimezone(UTC).date()
    first = size.start.astimezone(UTC).date()
    days = [midnight(first) + timedelta(days=number) for number in range((today - first).days + 1)]
    await side_by_side(connect, [_firsts, *(_products(day, today - COUNTED_DAYS) for day in days)])
    await owner.execute("ANALYZE public.first_scans, public.products_of_days")
    await side_by_side(connect, [_spans(day) for day in days])
    await owner.execute(FACTORIES, EVERYBODY)
    await owner.execute(COUNTED_TO, size.scans, today - COUNTED_DAYS)
    await owner.execute(AFTER, timeout=LONG)
    await owner.close()


async def _firsts(connection: "asyncpg.Connection[Any]") -> None:
    await connection.execute("SET work_mem = '3GB'")
    await connection.execute(FIRSTS, timeout=LONG)
    await connection.execute("RESET work_mem")


def _products(day: datetime, remembered: Any) -> Callable[["asyncpg.Connection[Any]"], Awaitable[None]]:
    async def count(connection: "asyncpg.Connection[Any]") -> None:
        await connection.execute(
            "CREATE TEMP TABLE IF NOT EXISTS day_products (product_id uuid, factory_id uuid, scans bigint);"
            "TRUNCATE day_products"
        )
        await connection.execute(PRODUCTS, day, day + timedelta(days=1), timeout=LONG)
        await connection.execute(LISTS, EVERYBODY, day.date(), PRODUCTS_KEPT, timeout=LONG)
        if day.date() >= remembered:
            await connection.execute(COUNTS, day.date(), timeout=LONG)

    return count


def _spans(day: datetime) -> Callable[["asyncpg.Connection[Any]"], Awaitable[None]]:
    async def count(connection: "asyncpg.Connection[Any]") -> None:
        await connection.execute(SPANS, day, day + timedelta(days=1), EVERYBODY, timeout=LONG)

    return count
