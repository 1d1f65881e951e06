"""Suspicious scans as the fraud desk and factories look at them: a page costs the same whatever it is filtered by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from admin.store import Store
from admin.users import NEWEST
from mesh.errors import AccessDenied
from mesh.identity import Principal
from mesh.paging import PageTokens

PAGE_SIZE = 50
LOOKED_AT = 20_000
"""Suspicious scans that a page looks at: what is rarer than one in four hundred of them may take several pages."""
OLDEST = UUID(int=0)


@dataclass(frozen=True, slots=True)
class ScanRecord:
    """A scan without what is personal; verdict and factors as the contract numbers them, `factors` by their names."""

    event_id: UUID
    product_id: UUID
    batch_id: UUID | None
    factory_id: UUID | None
    at: datetime
    country: str
    verdict: int
    risk: int | None
    leading_factor: int | None
    factors: Mapping[str, int | None]
    scan_count: int | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which scans to list; None means any."""

    risk_min: int | None = None
    risk_max: int | None = None
    factor: int | None = None
    verdict: int | None = None
    product_id: UUID | None = None
    factory_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


class SuspiciousScans:
    """Lists them."""

    def __init__(self, store: Store, pages: PageTokens, *, looked_at: int = LOOKED_AT) -> None:
        self._store = store
        self._pages = pages
        self._looked_at = looked_at

    async def list(
        self, actor: Principal, wanted: Wanted, *, page_size: int, page_token: str
    ) -> tuple[Sequence[ScanRecord], str]:
        """A page of at most `page_size`, 0 meaning 50, newest first, and the token of the next.

        It is short when it has looked at as many as it may. Raises AccessDenied, PageTokenInvalid.
        """
        factory_id = own(actor, wanted.factory_id)
        scope = f"suspicious:{actor}:{factory_id}:{wanted}"
        before = UUID(self._pages.decode(page_token, scope=scope)) if page_token else _first_id(wanted.until, NEWEST)
        span = {"before": before, "since": _first_id(wanted.since, OLDEST)}
        size, names = page_size or PAGE_SIZE, ("risk_min", "risk_max", "factor", "verdict")
        filters = {name: getattr(wanted, name) for name in names}
        statement, subject = _statement(wanted.product_id, factory_id)
        fitting = subject | ({"factory_id": factory_id} if wanted.product_id else {})
        sql, looked = self._store.sql, self._looked_at
        async with self._store.connection() as connection:
            listed = getattr(sql, f"suspicious_scans{statement}")
            rows = listed(connection, **fitting, **span, looked=looked, **filters, page_size=size + 1)
            found = [record(row) async for row in rows]
            if len(found) > size:
                end = found[size - 1].event_id
            else:
                end = await getattr(sql, f"looked_until{statement}")(connection, **subject, **span, looked=looked - 1)
        return found[:size], self._pages.encode(str(end), scope=scope) if end else ""


def own(actor: Principal, factory_id: UUID | None) -> UUID | None:
    """Whose scans somebody sees, None for everybody's: people of a factory their own alone. Raises AccessDenied."""
    if actor.factory_id is None:
        return factory_id
    if factory_id not in (None, actor.factory_id):
        raise AccessDenied
    return actor.factory_id


def record(row: Mapping[str, Any]) -> ScanRecord:
    """A scan out of its row."""
    factors = orjson.loads(row["factors"])
    return ScanRecord(**{**dict(row), "factors": factors if isinstance(factors, dict) else {}})


def _statement(product_id: UUID | None, factory_id: UUID | None) -> tuple[str, dict[str, UUID]]:
    """The end of the statements' names, and what they are given."""
    if product_id is not None:
        return "_of_product", {"product_id": product_id}
    if factory_id is not None:
        return "_of_factory", {"factory_id": factory_id}
    return "", {}


def _first_id(at: datetime | None, otherwise: UUID) -> UUID:
    """No UUIDv7 made at or after this time is smaller."""
    return otherwise if at is None else UUID(int=max(int(at.timestamp() * 1000), 0) << 80)
