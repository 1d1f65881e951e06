"""What a factory may issue a day and import at once, and what of it is used.

An order is charged in its own transaction. Imports of one factory must not wait for each other at its row of usage, so
they charge blocks ahead, in transactions of their own, and give the rest of the last one back. An import that dies
leaves its block charged, at most BLOCK products, until the day is over.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

import structlog

from factory.accounts import SUSPENDED
from factory.store import Connection, Store
from mesh import audit, idempotency
from mesh.clock import Clock
from mesh.errors import DependencyUnavailable, FactoryNotFound, FactorySuspended, QuotaExceeded
from mesh.idempotency import RequestKey

log = structlog.get_logger()

BLOCK = 10_000
"""Products that an import charges ahead at most."""


@dataclass(frozen=True, slots=True)
class Quota:
    """Products a day (UTC), and imports at the same time."""

    products_a_day: int
    concurrent_imports: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Products charged on a day, and what is allowed."""

    day: date
    charged: int
    quota: Quota
    suspended: bool = False

    @property
    def resets_at(self) -> datetime:
        """The midnight (UTC) that ends the day."""
        return datetime.combine(self.day + timedelta(days=1), time(), UTC)


class Quotas:
    """The quotas of factories; `usual` is that of every factory that has none of its own."""

    def __init__(self, store: Store, clock: Clock, usual: Quota) -> None:
        self._store = store
        self._clock = clock
        self._usual = usual

    def today(self) -> date:
        """The day in UTC."""
        return self._clock.now().date()

    async def usage(self, factory_id: UUID) -> Usage:
        """Raises FactoryNotFound."""
        async with self._store.connection(factory_id) as connection:
            return await self._usage(connection, factory_id)

    async def set(
        self, request: RequestKey, factory_id: UUID, *, products_a_day: int | None, concurrent_imports: int | None
    ) -> Quota:
        """The quota that counts from now on; None is the usual. Raises FactoryNotFound, RequestIdReused."""
        own = {"products_a_day": products_a_day, "concurrent_imports": concurrent_imports}
        async with self._store.transaction(factory_id) as connection:
            await self._usage(connection, factory_id)
            if await idempotency.claim(connection, request, factory_id) is None:
                before = await self._store.sql.lock_quota(connection, factory_id=factory_id)
                await self._store.sql.set_quota(connection, factory_id=factory_id, **own)
                resource, detail = (
                    f"factory/{factory_id}",
                    {name: audit.change(before[name], own[name]) for name in own},
                )
                await audit.record(connection, resource=resource, request_id=request.request_id, detail=detail)
            return (await self._usage(connection, factory_id)).quota

    async def charge(self, connection: Connection, factory_id: UUID, count: int) -> None:
        """Charges an order in the transaction under way, as its last statement.

        Raises QuotaExceeded, FactorySuspended.
        """
        await self._charge(connection, factory_id, self.today(), needed=count, wanted=count)

    async def charge_ahead(self, factory_id: UUID, day: date, *, needed: int, wanted: int) -> int:
        """Charges from `needed` to `wanted` products: how many. Raises QuotaExceeded, FactorySuspended."""
        async with self._store.connection(factory_id) as connection:
            return await self._charge(connection, factory_id, day, needed=needed, wanted=wanted)

    async def give_back(self, factory_id: UUID, day: date, unused: int) -> None:
        """What was charged and not used."""
        async with self._store.connection(factory_id) as connection:
            await self._store.sql.give_back(connection, factory_id=factory_id, day=day, unused=unused)

    async def _charge(self, connection: Connection, factory_id: UUID, day: date, *, needed: int, wanted: int) -> int:
        granted: int | None = await self._store.sql.charge(
            connection,
            factory_id=factory_id,
            day=day,
            usual=self._usual.products_a_day,
            needed=needed,
            wanted=wanted,
        )
        if granted is None:
            usage = await self._usage(connection, factory_id)
            if usage.suspended:
                raise FactorySuspended(factory_id=factory_id)
            raise QuotaExceeded(
                quota="products_a_day",
                limit=usage.quota.products_a_day,
                used=usage.charged,
                retry_after=max((usage.resets_at - self._clock.now()).total_seconds(), 0.0),
            )
        return granted

    async def _usage(self, connection: Connection, factory_id: UUID) -> Usage:
        day, usual = self.today(), self._usual
        row = await self._store.sql.select_usage(
            connection,
            factory_id=factory_id,
            day=day,
            products_a_day=usual.products_a_day,
            concurrent_imports=usual.concurrent_imports,
        )
        if row is None:
            raise FactoryNotFound(factory_id=factory_id)
        quota = Quota(row["products_a_day"], row["concurrent_imports"])
        return Usage(day, row["charged"], quota, suspended=row["state"] == SUSPENDED)


class Allowance:
    """What one import may issue: blocks charged ahead, the first as large as its first chunk, then twice the last."""

    def __init__(self, quotas: Quotas, factory_id: UUID) -> None:
        self._quotas = quotas
        self._factory_id = factory_id
        self._day = quotas.today()
        self._block = 0
        self._left = 0

    async def take(self, count: int) -> None:
        """Takes so many products, which count today. Raises QuotaExceeded."""
        day = self._quotas.today()
        if day != self._day:
            await self.give_back()
            self._day = day
        if (needed := count - self._left) > 0:
            self._block = max(needed, min(2 * self._block, BLOCK))
            self._left += await self._quotas.charge_ahead(self._factory_id, day, needed=needed, wanted=self._block)
        self._left -= count

    def put_back(self, count: int) -> None:
        """Says that products taken were surely not issued."""
        self._left += count

    async def give_back(self) -> None:
        """Gives the rest back, or lets it be while PostgreSQL is away."""
        unused, self._left = self._left, 0
        if not unused:
            return
        try:
            await self._quotas.give_back(self._factory_id, self._day, unused)
        except DependencyUnavailable as away:
            log.warning("quota was not given back", factory_id=str(self._factory_id), unused=unused, reason=str(away))
