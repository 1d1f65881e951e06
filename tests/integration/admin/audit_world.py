"""Services that write audit rows into one database, and whoever takes them into the log."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from prometheus_client import CollectorRegistry

from admin.collector import Collector, CollectorMetrics, Pace
from mesh.audit import INSERT
from mesh.clock import SystemClock, new_id
from mesh.database import Connection
from mesh.ledger import Ledger
from mesh.local.secrets import AUDIT_ORIGIN
from tests.databases import Database
from tests.meshes import ROOT
from trust.note import Signer

SERVICES = ("admin", "factory", "scan", "anchor")
COUNT = "SELECT count(*) FROM admin.audit_chain"
IDS = "SELECT audit_id FROM admin.audit_chain ORDER BY number"


@asynccontextmanager
async def as_service(database: Database, service: str) -> AsyncIterator[Connection]:
    """A connection of the service's role that sees its schema first."""
    password = database.server.password
    connection = await asyncpg.connect(
        database.url(service), password=password, server_settings={"search_path": f"{service},pg_catalog"}
    )
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def as_owner(database: Database) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database.dsn)
    try:
        yield connection
    finally:
        await connection.close()


def values(number: int = 0, **fields: Any) -> tuple[Any, ...]:
    """The values of an audit row, in the order of INSERT."""
    row = {
        "audit_id": new_id(),
        "actor_kind": "user",
        "actor_id": str(UUID(int=number % 3)),
        "actor_role": "admin",
        "method": "/voketag.admin.v1.UserService/UpdateUser",
        "resource": f"user/{UUID(int=number % 5)}",
        "request_id": new_id(),
        "address_prefix": "10.0.0.0/24",
        "detail": json.dumps({"name": {"before": "ä", "after": f"N{number}"}}),
    } | fields
    return tuple(row.values())


async def write(connection: Connection, *rows: tuple[Any, ...]) -> list[UUID]:
    """Writes rows as stores do: their ids."""
    for row in rows:
        await connection.execute(INSERT, *row)
    return [row[0] for row in rows]


@dataclass(frozen=True)
class Kept:
    """A log in a database, with the key that signs it."""

    database: Database
    signer: Signer
    ledger: Ledger

    def collector(self, pool: Any) -> Collector:
        metrics = CollectorMetrics(CollectorRegistry())
        return Collector(pool, self.ledger, SystemClock(), metrics=metrics, pace=Pace(every=0.02, again=0.02))

    async def fill(self, count: int, *, turns: int = 1) -> None:
        """Has the services make so many changes, taken and signed for in so many turns."""
        async with as_service(self.database, "admin") as own:
            for _ in range(turns):
                for service in SERVICES:
                    async with as_service(self.database, service) as connection:
                        each = range(count // turns // len(SERVICES))
                        await connection.executemany(INSERT, [values(i) for i in each])
                await self.collect(own)
                await self.ledger.signs(own, self.signer, datetime.now(UTC))
                await self.ledger.sign(own, self.signer, datetime.now(UTC))

    async def collect(self, connection: Connection) -> int:
        """Takes what may be taken now, once whoever else works on this server lets it."""
        async with asyncio.timeout(30):
            while await self._waits():
                await self.collector(None).collect(connection)
        return int(await connection.fetchval(COUNT))

    async def _waits(self) -> bool:
        async with as_owner(self.database) as owner:
            rows = "UNION ALL ".join(f"SELECT audit_id FROM {service}.audit " for service in SERVICES)
            return bool(await owner.fetchval(f"SELECT count(*) <> ({COUNT}) FROM ({rows}) AS written"))

    def environment(self) -> dict[str, str]:
        values = {
            "DATABASE_URL": self.database.url("admin"),
            "DATABASE_PASSWORD": self.database.server.password,
            "AUDIT_ORIGIN": AUDIT_ORIGIN,
        }
        return {f"VOKETAG_{name}": value for name, value in values.items()}

    async def verify(self, *options: str, key: bool = True) -> tuple[int, str]:
        """`voketag audit-log verify`: its exit status, and everything that it said."""
        given = ("--key", self.signer.verifier.to_text()) if key else ()
        return await voketag("audit-log", "verify", *options, *given, env=self.environment())


async def voketag(*command: str, env: dict[str, str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mesh.cli", *command),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "COLUMNS": "200", **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def put(path: Path, objects: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(each) + "\n" for each in objects))
