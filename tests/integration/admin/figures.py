"""An admin service with all the schemas that it counts from, and its answers held against raw rows."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import SecretStr
from voketag.admin.v1 import dashboard_pb2 as pb
from voketag.admin.v1 import dashboard_pb2_grpc

from admin.rollups import Rollups
from admin.store import Store
from mesh import database
from mesh.clock import SystemClock
from mesh.local.process import Child
from mesh.local.secrets import Secrets
from tests.databases import Databases
from tests.integration.admin import raw
from tests.integration.admin.raw import ROLES, People, Raw, Window
from tests.integration.admin.world import Door, Ground, Person

SCHEMAS = ("factory", "scan", "anchor", "admin")


@dataclass(frozen=True)
class FigureGround:
    """One database of all schemas, an admin server without loops, and an admin who is logged in."""

    ground: Ground
    door: Door
    admin: Person
    raw: Raw
    pool: "asyncpg.Pool[Any]"

    def rollups(self, **more: Any) -> Rollups:
        """Someone else who counts; everything is kept and groups are small unless said."""
        return Rollups(Store(self.pool), SystemClock(), **({"group": 37, "products_kept": 1_000} | more))

    async def people(self, seed: int, **more: int) -> People:
        """Factories that the factory service knows, with products."""
        people = People(seed, **more)
        for number, factory_id in enumerate(people.factories):
            await self.raw.execute(
                "factory", "INSERT INTO factories (factory_id, name) VALUES ($1, $2)", factory_id, f"Factory {number}"
            )
        return people

    async def dashboard(self, person: Person | None = None, factory_id: UUID | str = "") -> pb.GetDashboardResponse:
        stub = dashboard_pb2_grpc.DashboardServiceStub(self.door.channel)
        request = pb.GetDashboardRequest(factory_id=str(factory_id))
        answer: pb.GetDashboardResponse = await stub.GetDashboard(request, metadata=(person or self.admin).metadata)
        return answer

    async def analytics(self, window: Window, person: Person | None = None, **more: Any) -> pb.GetAnalyticsResponse:
        fields: dict[str, Any] = {
            "from_time": stamp(window.since),
            "to_time": stamp(window.until),
            "granularity": pb.GRANULARITY_HOUR if window.hours else pb.GRANULARITY_DAY,
            "factory_id": str(window.factory_id or ""),
        }
        stub = dashboard_pb2_grpc.DashboardServiceStub(self.door.channel)
        request = pb.GetAnalyticsRequest(**(fields | more))
        answer: pb.GetAnalyticsResponse = await stub.GetAnalytics(request, metadata=(person or self.admin).metadata)
        return answer

    async def check(self, people: People, *, products: bool = True) -> None:
        """Every figure of scans, of everybody and each factory, by hour and day, against all rows of the journal."""
        rows = await self.raw.scans()
        for factory_id in (None, *people.factories):
            for window in windows(factory_id):
                answer = await self.analytics(window)
                raw.check_scans(answer, rows, window)
                if products:
                    raw.check_products(answer, rows, window)
                if factory_id is None:
                    raw.check_factories(answer, rows, window)
            board = await self.dashboard(factory_id=factory_id or "")
            mine = [row for row in rows if factory_id in (None, row["factory_id"])]
            first, today = raw.first_events(rows), datetime.now(UTC).date()
            assert raw.told(board.totals.ever) == raw.figures(mine, first)
            now = [row for row in mine if row["at"].date() == today]
            assert raw.told(board.totals.today) == raw.figures(now, first)

    def process(self, **more: object) -> Child:
        """`python -m admin`, not started; its loops are as in service."""
        return admin_process(self.ground, **more)


def admin_process(on: Ground, **more: object) -> Child:
    """`python -m admin` on this ground, not started."""
    environment = {
        f"VOKETAG_{name.upper()}": str(value.get_secret_value() if isinstance(value, SecretStr) else value)
        for name, value in on.settings(**more).model_dump(exclude_unset=True).items()
    }
    return Child("admin", [sys.executable, "-m", "admin"], log=on.folder / "admin.log", env=environment)


def stamp(moment: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def windows(factory_id: UUID | None) -> list[Window]:
    """All there is by day, a stretch of it, one day, and the last two days by hour."""
    tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return [
        Window(raw.earliest(), tomorrow, factory_id=factory_id),
        Window(tomorrow - timedelta(days=9), tomorrow - timedelta(days=1), factory_id=factory_id),
        Window(tomorrow - timedelta(days=1), tomorrow, factory_id=factory_id),
        Window(tomorrow - timedelta(hours=43), tomorrow - timedelta(hours=1), hours=True, factory_id=factory_id),
    ]


@asynccontextmanager
async def figure_ground(databases: Databases, folder: Path) -> AsyncIterator[FigureGround]:
    """A database of its own for whoever counts."""
    secrets = Secrets(folder / "secrets", os.urandom)
    secrets.make()
    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(databases.clone(*SCHEMAS))
        ground = Ground(base, secrets, folder)
        door = await stack.enter_async_context(ground.server())
        pool = await stack.enter_async_context(await database.connect(ground.settings(), schema="admin"))
        connections = {}
        for role in ROLES:
            connections[role] = connection = await asyncpg.connect(base.url(role), password=base.server.password)
            stack.push_async_callback(connection.close)
            await connection.execute(f"SET search_path = {role}, pg_catalog")
        await connections["factory"].execute("SET voketag.tenant = '*'")
        yield FigureGround(ground, door, await door.admin(), Raw(connections), pool)
