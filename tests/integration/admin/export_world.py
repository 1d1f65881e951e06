"""Rows of every kind to be exported, who exports them, and the worker that makes files."""

import asyncio
import csv
import io
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import grpc
import openpyxl
from voketag.admin.v1 import export_pb2 as pb
from voketag.admin.v1 import export_pb2_grpc
from voketag.mesh.v1 import access_pb2

from mesh.local.process import Child
from tests.integration.admin.world import Door, Ground, Person

ROOT = Path(__file__).parents[3]
FORMATS = {"csv": pb.EXPORT_FORMAT_CSV, "jsonl": pb.EXPORT_FORMAT_JSON_LINES, "xlsx": pb.EXPORT_FORMAT_XLSX}
KINDS = {kind.removeprefix("EXPORT_KIND_").lower(): value for kind, value in pb.ExportKind.items() if value}

SCANS = """
INSERT INTO scan.events (product_id, event_id, at, batch_id, factory_id, verdict, risk, factors, risk_version,
  weights_version, personal, country, source, facts, ledger_index, leading_factor)
SELECT $1::uuid, id, uuid_extract_timestamp(id), $2::uuid, $3::uuid, 1 + n % 5, nullif(n % 100, 7), '[]', 1, '1',
  decode(repeat('00', 32), 'hex'), 'BR', 1, '{}', n, nullif(n % 8, 0)
FROM (SELECT n, uuidv7(-make_interval(secs => $5::float)) AS id FROM generate_series(1, $4::integer) n) made
"""
PRODUCTS = """
INSERT INTO factory.products (product_id, batch_id, index, kid, state, attributes)
SELECT uuidv7(), $1::uuid, n, 1, n % 9, CASE WHEN n % 2 = 0 THEN $3::bytea END
FROM generate_series(0, $2::integer - 1) n
RETURNING product_id
"""
REPORT = """
INSERT INTO scan.fraud_reports (report_id, case_id, state, kind, text, product_id, code, caller, country_code, note)
VALUES ($1, $1, 'OPEN', 'LOOKS_FAKE', $2, $3, $4, decode(repeat('00', 32), 'hex'), 'BR', $2)
"""


@dataclass(frozen=True)
class Factory:
    """A factory with a batch; `text` is what people wrote everywhere."""

    factory_id: UUID
    batch_id: UUID
    products: list[UUID]
    text: str


async def new_factory(ground: Ground, *, text: str = "Fábrica", products: int = 3) -> Factory:
    factory_id, batch_id = uuid4(), uuid4()
    attributes = json.dumps({"name": text}).encode()
    async with ground.owner() as owner:
        await owner.execute("INSERT INTO factory.factories (factory_id, name) VALUES ($1, $2)", factory_id, text)
        await owner.execute(
            "INSERT INTO factory.batches (factory_id, batch_id, name, state, template, kid, product_count)"
            " VALUES ($1, $2, $3, 'PENDING', '{}', 1, $4)",
            factory_id, batch_id, text, products,
        )  # fmt: skip
        found = await owner.fetch(PRODUCTS, batch_id, products, attributes)
    return Factory(factory_id, batch_id, [row["product_id"] for row in found], text)


async def scan(ground: Ground, factory: Factory, count: int, *, ago: float = 0.0) -> None:
    """So many scans of its first product, so many seconds ago."""
    async with ground.owner() as owner:
        await owner.execute(SCANS, factory.products[0], factory.batch_id, factory.factory_id, count, ago)


async def report(ground: Ground, factory: Factory, *, contact: str) -> str:
    async with ground.owner() as owner:
        report_id = await owner.fetchval("SELECT uuidv7()")
        await owner.execute(REPORT, report_id, factory.text, factory.products[0], "")
        await owner.execute("INSERT INTO scan.report_contacts VALUES ($1, $2)", report_id, contact)
    return str(report_id)


@dataclass(frozen=True)
class Exporter:
    """Somebody who exports, at their own door unless another is named."""

    person: Person
    channel: grpc.aio.Channel | None = None

    @property
    def stub(self) -> Any:
        return export_pb2_grpc.ExportServiceStub(self.channel or self.person.door.channel)

    def stream(self, kind: str, form: str = "csv", **fields: Any) -> Any:
        """The call of an export."""
        request = pb.ExportRequest(kind=KINDS[kind], format=FORMATS[form], **fields)
        return self.stub.Export(request, metadata=self.person.metadata, timeout=60)

    async def export(self, kind: str, form: str = "csv", **fields: Any) -> bytes:
        return b"".join([piece.data async for piece in self.stream(kind, form, **fields)])

    async def rows(self, kind: str, form: str = "csv", **fields: Any) -> list[dict[str, Any]]:
        return read(await self.export(kind, form, **fields), form)

    async def download(self, kind: str, form: str = "csv", **fields: Any) -> Any:
        request = pb.DownloadExportRequest(kind=kind, format=FORMATS[form], **fields)
        return await self.stub.DownloadExport(request, metadata=self.person.metadata, timeout=60)

    async def start(self, kind: str, form: str = "csv", **fields: Any) -> pb.ExportJob:
        fields.setdefault("request_id", str(uuid4()))
        request = pb.StartExportRequest(kind=KINDS[kind], format=FORMATS[form], **fields)
        answer = await self.stub.StartExport(request, metadata=self.person.metadata, timeout=20)
        made: pb.ExportJob = answer.export
        return made

    async def get(self, export_id: str) -> pb.ExportJob:
        request = pb.GetExportRequest(export_id=export_id)
        answer = await self.stub.GetExport(request, metadata=self.person.metadata, timeout=20)
        made: pb.ExportJob = answer.export
        return made

    async def list(self, **fields: Any) -> pb.ListExportsResponse:
        request = pb.ListExportsRequest(**fields)
        answer: pb.ListExportsResponse = await self.stub.ListExports(request, metadata=self.person.metadata, timeout=20)
        return answer

    async def cancel(self, export_id: str, **fields: Any) -> pb.ExportJob:
        fields.setdefault("request_id", str(uuid4()))
        request = pb.CancelExportRequest(export_id=export_id, **fields)
        answer = await self.stub.CancelExport(request, metadata=self.person.metadata, timeout=20)
        made: pb.ExportJob = answer.export
        return made

    async def made(self, export_id: str, within: float = 60) -> pb.ExportJob:
        """The export when it has come to its end."""
        async with asyncio.timeout(within):
            while (made := await self.get(export_id)).state in (pb.EXPORT_STATE_WAITING, pb.EXPORT_STATE_RUNNING):
                await asyncio.sleep(0.05)
        return made

    async def fetch(self, link: str) -> bytes:
        """What a link leads to."""
        path, _, query = link.partition("?")
        asked = dict(pair.split("=") for pair in query.split("&"))
        request = pb.DownloadFileRequest(
            file_id=path.rpartition("/")[2], expires=int(asked["expires"]), signature=asked["signature"]
        )
        call = self.stub.DownloadFile(request, metadata=self.person.metadata, timeout=60)
        return b"".join([piece.data async for piece in call])


async def exporter(door: Door, admin: Person, role: str = "admin", factory: Factory | None = None) -> Exporter:
    """Somebody of a role."""
    if role == "admin":
        return Exporter(await door.admin())
    more = {"factory_id": str(factory.factory_id)} if factory else {}
    return Exporter(await door.add(admin, access_pb2.Role.Value(f"ROLE_{role.upper()}"), **more))


def read(file: bytes, form: str) -> list[dict[str, Any]]:
    """The rows of a file by column, read by what is not ours; the sheets of a workbook as one."""
    if form == "jsonl":
        return [json.loads(line) for line in file.splitlines()]
    if form == "csv":
        return list(csv.DictReader(io.StringIO(file.decode(), newline="")))
    rows: list[dict[str, Any]] = []
    for sheet in openpyxl.load_workbook(io.BytesIO(file), read_only=True).worksheets:
        names, *values = sheet.iter_rows(values_only=True)
        rows += [dict(zip(map(str, names), row, strict=True)) for row in values]
    return rows


def worker(ground: Ground, **more: object) -> Child:
    """A worker process, not started; a dead one's jobs are taken over after a second."""
    values: dict[str, object] = {
        "DATABASE_URL": ground.database.url("admin"),
        "DATABASE_PASSWORD": ground.database.server.password,
        "LEASE_SECONDS": 1.0,
    }
    own = {f"VOKETAG_{name}": str(value) for name, value in (values | more).items()}
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"} | own
    log = ground.folder / "worker.log"
    return Child("admin work", [sys.executable, "-m", "admin", "work"], log=log, env=environment)


@asynccontextmanager
async def working(ground: Ground, **more: object) -> AsyncIterator[Child]:
    """A worker process, killed in the end."""
    child = worker(ground, **more)
    await child.start()
    try:
        yield child
    finally:
        await child.kill()


@asynccontextmanager
async def locked(ground: Ground, table: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Nobody else writes the table until the block ends."""
    async with ground.owner() as owner, owner.transaction():
        await owner.execute(f"LOCK TABLE {table} IN SHARE MODE")
        yield owner
