"""Factories, batches, scans and windows of some months, made by PostgreSQL itself, for whoever reads them by millions.

All of it follows from the numbers of its rows, so that two runs have the same. A product belongs to factory F·h² of F,
h being its number hashed to between 0 and 1, so that the first of 200 has a fourteenth of all. Scans come at the same
pace all the time; a third of them are of a hundredth of the products, the others of any. One in 40 is suspicious, one
in 200 a likely copy; half have a risk below 10, and one in 20 none; they come from 40 countries, more from the first.
Batches have 1,000 products each, and no row of factory.products is made, since no figure reads it. A window has one
root.
"""

from dataclasses import dataclass
from typing import Any

import asyncpg

HASHED = """
CREATE FUNCTION pg_temp.hashed(number bigint) RETURNS float8 LANGUAGE sql IMMUTABLE AS $$
  SELECT ('x' || substr(md5(number::text), 1, 8))::bit(32)::bigint / 4294967296.0
$$
"""
OWNED = """
CREATE FUNCTION pg_temp.owner(product bigint, factories integer) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
  SELECT md5('factory' || floor(factories * pg_temp.hashed(product) ^ 2)::integer)::uuid
$$
"""
FACTORIES = """
INSERT INTO factory.factories (factory_id, name)
SELECT md5('factory' || number)::uuid, 'Factory ' || number FROM generate_series(0, $1::integer - 1) AS number
"""
BATCHES = """
INSERT INTO factory.batches (
  factory_id, batch_id, name, state, template, kid, product_count, issued_count, created_at)
SELECT pg_temp.owner(number, $2::integer), md5('batch' || number)::uuid, 'Batch ' || number, 'RECEIVING', '{}', 1, 1000,
  1000, now() - (number % ($3::integer * 1440)) * interval '1 minute'
FROM generate_series(1, $1::bigint / 1000) AS number
"""
FINISHED = """
UPDATE factory.batches SET state = 'COMPLETED', root = sha256(batch_id::text::bytea), chain_id = 1
WHERE right(batch_id::text, 1) <> 'f'
"""
MONTHS = """
SELECT to_char(since, 'YYYY_MM') AS name, since, since + interval '1 month' AS until
FROM generate_series(
  date_trunc('month', now() AT TIME ZONE 'UTC' - $1 * interval '1 day'), now() AT TIME ZONE 'UTC', '1 month') AS since
"""
MONTH = """
CREATE TABLE IF NOT EXISTS scan.events_{name} PARTITION OF scan.events
FOR VALUES FROM (scan.first_id_of('{since}')) TO (scan.first_id_of('{until}'))
"""
SCANS = """
INSERT INTO scan.events (
  product_id, event_id, at, batch_id, factory_id, verdict, risk, factors, risk_version, weights_version, personal,
  country, source, facts, ledger_index)
SELECT md5('product' || product)::uuid,
  (lpad(to_hex(ms), 12, '0') || '7' || left(name, 3) || '8' || substr(name, 4, 15))::uuid,
  to_timestamp(ms / 1000.0), md5('batch' || product / 1000)::uuid, pg_temp.owner(product, $4::integer),
  CASE WHEN number % 200 = 0 THEN 3 WHEN number % 40 = 0 THEN 2 ELSE 1 END,
  CASE WHEN number % 20 <> 7 THEN floor(100 * pg_temp.hashed(number) ^ 3.3)::smallint END,
  '{}', 1, '1', decode(repeat('00', 32), 'hex'),
  substr('BRUSPTESARMXDEFRITGBCLCOPEUYPYBOECVEJPCNKRINZAAOMZNGEGMATRPLNLBESENOFIDKCHATIECA',
    1 + 2 * floor(40 * pg_temp.hashed(number * 7 + 1) ^ 3)::integer, 2),
  1, '{}', number
FROM (
  SELECT number, md5('scan' || number) AS name,
    (extract(epoch FROM now()) * 1000
      - ($5::bigint - number) * ($6::integer * 86400000.0 / $5::bigint))::bigint AS ms,
    floor($3::bigint * pg_temp.hashed(number * 3 + 2) / CASE WHEN number % 3 = 0 THEN 100 ELSE 1 END)::bigint AS product
  FROM generate_series($1::bigint, $2::bigint - 1) AS number
) AS scan
"""
LEDGER = "INSERT INTO scan.ledger (origin, size, last) VALUES ('bench', $1, decode(repeat('00', 32), 'hex'))"
TREES = """
INSERT INTO anchor.trees (root, size)
SELECT sha256(number::text::bytea), 1 FROM generate_series(1, $1::bigint) AS number
"""
ROOTS = """
INSERT INTO anchor.submissions (submission_id, subject_id, created_at, tree_id, size, leaf_index, kind, root)
SELECT md5('root' || tree_id)::uuid, md5('root' || tree_id)::uuid, now() - tree_id * interval '1 minute', tree_id, 1, 0,
  1, root
FROM anchor.trees
"""
WINDOWS = """
INSERT INTO anchor.transactions (
  tree_id, state, chain_kind, chain_id, contract, sender, nonce, hash, block_number, fence, mined_at, final_at,
  gas_used, gas_price)
SELECT tree_id, 'final', 'evm', 1, '0x1', '0x2', tree_id, root, tree_id, 1, now() - tree_id * interval '1 minute',
  now() - tree_id * interval '1 minute' + interval '30 seconds', 60000 + tree_id % 5000, 1000000000
FROM anchor.trees
"""
STEP = 200_000


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is: scans, products that there are, factories, and days that it is spread over, up to now."""

    scans: int
    products: int
    factories: int = 200
    days: int = 120


async def fill(owner: "asyncpg.Connection[Any]", size: Size) -> None:
    """Makes all of it in the schemas of the services, as their owner."""
    await owner.execute(HASHED)
    await owner.execute(OWNED)
    await owner.execute(FACTORIES, size.factories)
    await owner.execute(BATCHES, size.products, size.factories, size.days)
    await owner.execute("ALTER TABLE factory.batches DISABLE TRIGGER enforce_transition")
    await owner.execute(FINISHED)
    await owner.execute("ALTER TABLE factory.batches ENABLE TRIGGER enforce_transition")
    await owner.execute(TREES, size.days * 1440)
    await owner.execute(ROOTS)
    await owner.execute(WINDOWS)
    for month in await owner.fetch(MONTHS, size.days):
        await owner.execute(MONTH.format(**dict(month)))
    for first in range(0, size.scans, STEP):
        past = min(first + STEP, size.scans)
        await owner.execute(SCANS, first, past, size.products, size.factories, size.scans, size.days)
    await owner.execute(LEDGER, size.scans)
    await owner.execute("ANALYZE")
