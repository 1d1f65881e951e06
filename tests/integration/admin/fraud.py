"""What the fraud desk stands on: one database with the schemas of factory, scan and admin, a scan service, an admin."""

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc
import orjson
import pytest
import pytest_asyncio
from voketag.admin.v1 import fraud_pb2 as pb
from voketag.admin.v1 import fraud_pb2_grpc
from voketag.mesh.v1 import access_pb2
from voketag.scan.v1 import scan_pb2

from mesh.local.secrets import Secrets
from mesh.local.valkey import ValkeyServer
from mesh.migrate import ensure_roles
from tests import databases as copies
from tests.fakes.anchor import FakeAnchor
from tests.integration.admin.conftest import ONCE
from tests.integration.admin.world import Door, Ground, Person
from tests.integration.scan.calls import reason_of
from tests.integration.scan.test_scan_recorded import start_journal
from tests.integration.scan.world import Database, Service, connected, stub_of
from tests.servers import PASSWORD, PostgresAddress, start_valkey

ODD = "=cmd|' /C calc'!A0\n'; DROP TABLE admin.case_notes; --\t<script>ç</script> %s {0}"
OPEN, INVESTIGATING = scan_pb2.REPORT_STATE_OPEN, scan_pb2.REPORT_STATE_INVESTIGATING
CONFIRMED, DISMISSED = scan_pb2.REPORT_STATE_CONFIRMED, scan_pb2.REPORT_STATE_DISMISSED
FACTORS = ("copies", "devices", "travel", "market", "velocity", "lifecycle", "reports")
COLUMNS = (
    *("product_id", "event_id", "at", "batch_id", "factory_id", "verdict", "risk", "factors", "risk_version"),
    *("weights_version", "personal", "country", "source", "facts", "ledger_index", "leading_factor", "scan_count"),
)


@dataclass(frozen=True)
class Desk:
    """Where it all is."""

    database: Database
    scan: Service
    door: Door
    admin: Person

    async def write_scans(self, scans: Sequence["Scan"]) -> None:
        """As the journal writes them."""
        async with connected(self.database.owner_dsn) as owner:
            first = await owner.fetchval("SELECT coalesce(max(ledger_index), -1) + 1 FROM scan.events")
            rows = [scan.row(first + place) for place, scan in enumerate(scans)]
            await owner.copy_records_to_table("events", schema_name="scan", records=rows, columns=COLUMNS)


@dataclass(frozen=True)
class Scan:
    """A scan; `minute` orders them."""

    minute: int
    product_id: UUID
    factory_id: UUID | None
    verdict: int
    risk: int | None
    leading: int | None

    @property
    def at(self) -> datetime:
        # Within the months that there are, and all on different milliseconds.
        return datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(
            minutes=self.minute
        )

    @property
    def event_id(self) -> UUID:
        ms = int(self.at.timestamp() * 1000)
        return UUID(int=(ms << 80) | (7 << 76) | (2 << 62) | (self.product_id.int & ((1 << 62) - 1)))

    def row(self, index: int) -> tuple[Any, ...]:
        factors = dict.fromkeys(FACTORS)
        if self.leading:
            factors[FACTORS[self.leading - 1]] = self.risk
        return (
            *(self.product_id, self.event_id, self.at, None, self.factory_id, self.verdict, self.risk),
            *(orjson.dumps(factors), 1, "default-1", bytes(32), "BR", 1, b"{}", index, self.leading, 7),
        )


async def ask(person: Person, method: str, **fields: Any) -> Any:
    """A method of FraudService under this person's token; mutations get a request id unless they have one."""
    message = getattr(pb, f"{method}Request")
    if "request_id" in message.DESCRIPTOR.fields_by_name:
        fields.setdefault("request_id", str(uuid4()))
    stub = fraud_pb2_grpc.FraudServiceStub(person.door.channel)
    return await getattr(stub, method)(message(**fields), metadata=person.metadata, timeout=20)


async def refused(person: Person, method: str, **fields: Any) -> str:
    """The reason why a call fails."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await ask(person, method, **fields)
    return reason_of(error.value)


async def pages(person: Person, method: str, field: str, **fields: Any) -> list[list[Any]]:
    """All pages of a list."""
    found, token = [], ""
    while True:
        answer = await ask(person, method, page_token=token, **fields)
        found.append(list(getattr(answer, field)))
        token = answer.next_page_token
        if not token:
            return found


@pytest_asyncio.fixture(**ONCE)
async def database(postgres: PostgresAddress) -> AsyncIterator[Database]:
    database = Database(postgres.dsn)
    await database.create()
    async with connected(database.owner_dsn) as owner:
        await ensure_roles(owner, {"admin": PASSWORD})
        await copies.bring_up(owner, "admin")
    yield database
    await database.drop()


@pytest_asyncio.fixture(**ONCE)
async def desk(
    database: Database, postgres: PostgresAddress, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    secrets = Secrets(folder / "secrets", random.Random().randbytes)
    secrets.make()
    valkey: ValkeyServer = await start_valkey(folder)
    anchor = FakeAnchor()  # type: ignore[abstract]
    await anchor.start()
    service = Service(folder, database, valkey.url, anchor.target, VOKETAG_JWKS=secrets.jwks.read_text())
    await service.start()
    journal = await start_journal(service, folder)
    ground = Ground(copies.Database(database.name, postgres), secrets, folder)
    async with ground.server(scan_target=service.target) as door:
        yield Desk(database, service, door, await door.admin())
    await journal.kill()
    await service.stop()
    await anchor.stop()
    await valkey.stop()


@pytest_asyncio.fixture(**ONCE)
async def support(desk: Desk) -> Person:
    return await desk.door.add(desk.admin, access_pb2.ROLE_SUPPORT)


@pytest_asyncio.fixture(**ONCE)
async def auditor(desk: Desk) -> Person:
    return await desk.door.add(desk.admin, access_pb2.ROLE_AUDITOR)


@pytest_asyncio.fixture(**ONCE)
async def stub(desk: Desk) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(desk.scan.target) as channel:
        yield stub_of(channel)
