"""Data for admin of any size, in the tables of all four services: factories, products, scans, and what comes of them.

Everything but the times follows from the numbers of its rows, so that two runs have the same. Batches have 1,000
products each, one in 16 of them is still open; factory F·h² of F owns a batch, h being its number hashed to between 0
and 1, so that the first of 200 has a fourteenth of all. bench/admin_scans.py says what the scans are like. Every
suspicious product was told to its factory once a day and verdict; one in five likely copies was reported; every minute
a window was anchored with one root; the factories' queue has 10,000 jobs; and the audit log, with its chain and tiles,
has an entry for 25 scans, of 15 methods and 500 people.

Scans are counted by bench/admin_rollups.py, all else by the service's own code.
"""

import json
from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

import asyncpg

from admin.collector import COLUMNS
from admin.rollups import Rollups
from admin.store import Store
from bench.admin_rollups import count_scans
from bench.admin_scans import (
    HASHED_ID,
    LONG,
    Connect,
    Month,
    Size,
    drop,
    fill_events,
    milliseconds,
    months,
    side_by_side,
)
from mesh.clock import SystemClock
from mesh.jobs import Jobs
from mesh.ledger import Ledger
from trust.auditlog import AuditEntry
from trust.ledger import extend

AUDIT_ORIGIN = "voketag.com/audit"
SCANS_AN_ENTRY = 25
PEOPLE = 500
JOBS = {"build": 9_000, "send": 1_000}
APPENDED_AT_ONCE = 20_000

FACTORIES = """
INSERT INTO factory.factories (factory_id, name)
SELECT md5('factory' || number)::uuid, 'Factory ' || number FROM generate_series(0, $1::integer - 1) AS number
"""
BATCHES = """
INSERT INTO factory.batches (
  factory_id, batch_id, name, state, template, kid, product_count, issued_count, created_at, root, chain_id)
SELECT md5('factory' || floor($2::integer * ((hashint8extended(number, 6) & 65535) / 65536.0) ^ 2))::uuid,
  public.hashed_id(ms, number, 5), 'Batch ' || number, CASE WHEN open THEN 'RECEIVING' ELSE 'COMPLETED' END,
  '{"name":"Product"}', 1, 1000, 1000, to_timestamp(ms / 1000.0),
  CASE WHEN NOT open THEN sha256(number::text::bytea) END, CASE WHEN NOT open THEN 1 END
FROM (
  SELECT number, number % 16 = 3 AS open, $3::bigint + floor(number * 1000 * $4::float8)::bigint AS ms
  FROM generate_series(0, $1::bigint / 1000 - 1) AS number
) AS batch
"""
OWNED = "SELECT batch_id, factory_id FROM factory.batches ORDER BY batch_id"
PRODUCT_TABLE = """
CREATE TABLE factory.{name} (LIKE factory.products INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)
"""
PRODUCTS = """
INSERT INTO factory.{name} (product_id, batch_id, index, kid, state)
SELECT public.hashed_id($3::bigint + floor(number * $4::float8)::bigint, number, 1), ($5::uuid[])[1 + number / 1000],
  number % 1000, 1, number % 4
FROM generate_series($1::bigint, $2::bigint - 1) AS number
"""
PRODUCT_BOUND = """
ALTER TABLE factory.{name} ADD PRIMARY KEY (product_id);
ALTER TABLE factory.products ATTACH PARTITION factory.{name}
FOR VALUES FROM (factory.first_id_of('{since}')) TO (factory.first_id_of('{until}'))
"""
TREES = """
INSERT INTO anchor.trees (root, size)
SELECT sha256(number::text::bytea), 1 FROM generate_series(1, $1::bigint) AS number
"""
ROOTS = """
INSERT INTO anchor.submissions (submission_id, subject_id, created_at, tree_id, size, leaf_index, kind, root)
SELECT md5('root' || tree_id)::uuid, md5('root' || tree_id)::uuid, $1::timestamptz - tree_id * interval '1 minute',
  tree_id, 1, 0, 1, root
FROM anchor.trees
"""
WINDOWS = """
INSERT INTO anchor.transactions (
  tree_id, state, chain_kind, chain_id, contract, sender, nonce, hash, block_number, fence, mined_at, final_at,
  gas_used, gas_price)
SELECT tree_id, 'final', 'evm', 1, '0x1', '0x2', tree_id, root, tree_id, 1,
  $1::timestamptz - tree_id * interval '1 minute',
  $1::timestamptz - tree_id * interval '1 minute' + interval '30 seconds', 60000 + tree_id % 5000, 1000000000
FROM anchor.trees
"""
SUSPICIONS = """
INSERT INTO scan.suspicions (product_id, verdict, day, event_id, risk, tries, settled_at)
SELECT product_id, verdict, (at AT TIME ZONE 'UTC')::date, event_id, risk, 1, at FROM scan.events
WHERE verdict > 1 OR risk >= 20
ON CONFLICT DO NOTHING
"""
REPORTS = """
INSERT INTO scan.fraud_reports (
  report_id, case_id, reported_at, state, kind, text, product_id, code, caller, country_code, changed_at)
SELECT event_id, event_id, at, (ARRAY['OPEN', 'INVESTIGATING', 'CONFIRMED', 'DISMISSED'])[1 + (points & 3)],
  'LOOKS_FAKE', 'The seal was broken and the print is blurred.', product_id, '', decode(repeat('00', 32), 'hex'),
  country, CASE WHEN (points & 3) > 0 THEN at END
FROM (SELECT *, hashint8extended(ledger_index, 9) & 1023 AS points FROM scan.events WHERE verdict > 1) AS scan
WHERE verdict = 3 AND points % 5 = 0
"""
UNCHECKED = "SET session_replication_role = replica"
"""No triggers: those of foreign keys look all through a table that was empty when their plans were made, a row."""
METHODS: dict[str, tuple[tuple[str, str], tuple[str, ...]]] = {
    "factory": (
        ("factory", ""),
        ("BatchService/CreateBatch", "BatchService/CompleteBatch", "AccountService/CreateApiKey",
         "LifecycleService/ChangeProducts", "WebhookService/CreateEndpoint", "WebhookService/UpdateEndpoint"),
    ),
    "scan": (("service", "admin"), ("FraudReportService/UpdateCase", "RulingService/Rule", "RulingService/Lift")),
    "anchor": (("service", "factory"), ("AnchorService/SubmitRoot", "AnchorService/BatchSubmitRoots")),
    "admin": (
        ("user", "admin"),
        ("UserService/CreateUser", "UserService/UpdateUser", "AuthService/Login", "FraudService/BlockProduct"),
    ),
}  # fmt: skip
"""Of each service by whom its entries are, a kind and a role or name, and of which methods."""


async def fill(connect: Connect, size: Size) -> None:
    """Makes all of it in the schemas of the services, as their owner, and counts the scans."""
    owner = await connect()
    await owner.execute(HASHED_ID)
    await owner.execute(FACTORIES, size.factories)
    await owner.execute("ALTER TABLE factory.batches DISABLE TRIGGER enforce_transition")
    since = milliseconds(size.issued_since)
    await owner.execute(BATCHES, size.products, size.factories, since, size.product_ms, timeout=LONG)
    await owner.execute("ALTER TABLE factory.batches ENABLE TRIGGER enforce_transition")
    batches, owners = zip(*await owner.fetch(OWNED), strict=True)
    issued = months("products", size.issued_since, size.end)
    await drop(owner, "factory", issued)
    await side_by_side(connect, [_products(month, size, batches) for month in issued])
    await fill_events(connect, size, batches, owners)
    await owner.execute("ANALYZE", timeout=LONG)
    await side_by_side(connect, [_windows(size), _fraud, _audit(size)])
    await count_scans(connect, size)
    await owner.close()


async def count_others(pool: "asyncpg.Pool[Any]") -> None:
    """Has the service count what is no scan."""
    await Rollups(Store(pool), SystemClock()).run_once()


def _products(month: Month, size: Size, batches: Sequence[UUID]) -> Any:
    names = {"name": month.name, "since": month.since.replace(tzinfo=None), "until": month.until.replace(tzinfo=None)}

    async def make(connection: "asyncpg.Connection[Any]") -> None:
        async with connection.transaction():
            await connection.execute(PRODUCT_TABLE.format(**names))
            await connection.execute(
                PRODUCTS.format(**names), size.first_product(month.since), size.first_product(month.until),
                milliseconds(size.issued_since), size.product_ms, batches, timeout=LONG,
            )  # fmt: skip
            await connection.execute(PRODUCT_BOUND.format(**names), timeout=LONG)

    return make


def _windows(size: Size) -> Any:
    async def make(connection: "asyncpg.Connection[Any]") -> None:
        await connection.execute(UNCHECKED)
        await connection.execute(TREES, size.days * 1440, timeout=LONG)
        await connection.execute(ROOTS, size.end, timeout=LONG)
        await connection.execute(WINDOWS, size.end, timeout=LONG)
        await connection.execute("RESET session_replication_role")

    return make


async def _fraud(connection: "asyncpg.Connection[Any]") -> None:
    await connection.execute(UNCHECKED)
    await connection.execute(SUSPICIONS, timeout=LONG)
    await connection.execute(REPORTS, timeout=LONG)
    await connection.execute("RESET session_replication_role")
    jobs = Jobs("factory")
    for name, count in JOBS.items():
        await jobs.enqueue_all(connection, name, [b"{}"] * count)
    await connection.execute("UPDATE factory.pgqueuer SET status = 'failed' WHERE id % 50 = 0")


def _audit(size: Size) -> Any:
    async def make(connection: "asyncpg.Connection[Any]") -> None:
        """As admin/collector.py appends what it has collected."""
        await connection.execute("SET search_path = admin, pg_catalog")
        rows = await connection.fetch(
            "SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS made FROM pg_index "
            "WHERE indrelid = 'audit_chain'::regclass AND NOT indisunique"
        )
        for row in rows:
            await connection.execute(f"DROP INDEX {row['name']}")
        factories = [row[0] for row in await connection.fetch("SELECT factory_id::text FROM factory.factories")]
        entries, ledger = Entries(size, factories), Ledger(AUDIT_ORIGIN)
        for first in range(0, size.scans // SCANS_AN_ENTRY, APPENDED_AT_ONCE):
            past = min(first + APPENDED_AT_ONCE, size.scans // SCANS_AN_ENTRY)
            made = [entries.at(number) for number in range(first, past)]
            records = [
                (number, entry.time, *(getattr(entry, name) for name in COLUMNS[2:]))
                for number, entry in enumerate(made, first)
            ]
            async with connection.transaction():
                state = await ledger.hold(connection)
                await connection.copy_records_to_table("audit_chain", records=records, columns=COLUMNS)
                await ledger.put(connection, extend(state, made))
        for row in rows:
            await connection.execute(row["made"], timeout=LONG)
        await connection.execute("RESET search_path")

    return make


class Entries:
    """What the audit log has: most of factories, one in 50 refused."""

    def __init__(self, size: Size, factories: Sequence[str]) -> None:
        self._size = size
        self._factories = factories
        self._random = Random(1)
        self._step = timedelta(days=size.days) / max(size.scans // SCANS_AN_ENTRY, 1)
        self._sources = ("factory",) * 12 + ("anchor",) * 4 + ("admin",) * 3 + ("scan",)

    def at(self, number: int) -> AuditEntry:
        bits = self._random.getrandbits(64)
        source = self._sources[bits % 20]
        (kind, role), methods = METHODS[source]
        factory = self._factories[(bits >> 8) % len(self._factories)]
        actor = {"factory": factory, "user": str(person(bits >> 8)), "service": role}[kind]
        moment = self._size.start + self._step * number
        return AuditEntry(
            source=source,
            audit_id=UUID(int=milliseconds(moment) << 80 | 7 << 76 | 2 << 62 | number),
            time=moment,
            actor_kind=kind,
            actor_id=actor,
            actor_role=role if kind == "user" else "",
            method=f"/voketag.{source}.v1.{methods[(bits >> 20) % len(methods)]}",
            resource=f"{source}/{UUID(int=(bits >> 24) % 1_000_000)}",
            request_id=UUID(int=bits << 64 | number),
            address_prefix=f"10.{bits >> 40 & 255}.{bits >> 48 & 255}.0/24",
            result="OK" if (bits >> 30) % 50 else "PRECONDITION_FAILED",
            detail=json.dumps({"after": {"name": f"Name {number}", "state": "active"}, "before": {"name": "Name"}}),
        )


def person(number: int) -> UUID:
    """One of PEOPLE."""
    return UUID(int=number % PEOPLE)
