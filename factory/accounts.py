"""Factory accounts: opened, found, changed, suspended. Each change is one transaction, with its audit row."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from factory.attributes import MARKETS, check_name
from factory.store import Connection, Store
from factory.tenants import EVERY, reach
from mesh import audit, idempotency
from mesh.clock import IdSource
from mesh.error import FieldViolation
from mesh.errors import FactoryNotFound, ValidationFailed
from mesh.idempotency import RequestKey
from mesh.identity import Principal
from mesh.paging import PageTokens

ACTIVE, SUSPENDED = "active", "suspended"
PAGE_SIZE = 100
NEWEST = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class Factory:
    """An account; `name` is what consumers see, `markets` what `market` of its products may be, empty anything."""

    factory_id: UUID
    name: str
    state: str
    priority: int
    markets: tuple[str, ...]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which factories to list: in this state if any, and with this in their name."""

    state: str | None = None
    name: str = ""


def to_factory(row: Any) -> Factory:
    """An account out of its row."""
    columns = dict(row)
    return Factory(**{**columns, "markets": tuple(columns["markets"])})


def check_factory(name: str, markets: tuple[str, ...]) -> None:
    """Raises ValidationFailed: what a field mask puts together is only known here."""
    check_name(name)
    unknown = sorted(set(markets) - MARKETS)
    rules = (
        ("name", bool(name.strip()), "has to be there"),
        ("markets", not unknown, f"are ISO 3166-1 alpha-2 codes, and not {', '.join(unknown)[:100]!r}"),
    )
    wrong = tuple(FieldViolation(field, f"factory.{field}", text) for field, fits, text in rules if not fits)
    if wrong:
        raise ValidationFailed(violations=wrong, summary="; ".join(f"{v.field}: {v.description}" for v in wrong))


class Accounts:
    """Opens, finds and changes accounts. Whoever has a factory of their own reaches that one alone."""

    def __init__(self, store: Store, pages: PageTokens, *, new_id: IdSource) -> None:
        self._store = store
        self._pages = pages
        self._new_id = new_id

    async def create(self, request: RequestKey, name: str) -> Factory:
        """Raises ValidationFailed, RequestIdReused."""
        check_factory(name, ())
        async with self._store.transaction(EVERY) as connection:
            new = self._new_id()
            first = await idempotency.claim(connection, request, new)
            if first is not None:
                return to_factory(await self._store.sql.select_factory(connection, factory_id=first))
            factory = to_factory(await self._store.sql.insert_factory(connection, factory_id=new, name=name))
            await _record(connection, request, new, {"name": name})
            return factory

    async def get(self, actor: Principal, factory_id: UUID) -> Factory:
        """Raises FactoryNotFound."""
        async with self._store.connection(reach(actor)) as connection:
            row = await self._store.sql.select_factory(connection, factory_id=factory_id)
        return _found(row, actor, factory_id)

    async def list(
        self, actor: Principal, wanted: Wanted, *, page_size: int, page_token: str
    ) -> tuple[list[Factory], str]:
        """A page of at most `page_size`, 0 meaning 100, and the token of the next. Raises PageTokenInvalid."""
        scope = f"factories:{actor}:{wanted}"
        before = UUID(self._pages.decode(page_token, scope=scope)) if page_token else NEWEST
        size = page_size or PAGE_SIZE
        async with self._store.connection(reach(actor)) as connection:
            rows = self._store.sql.select_factories(connection, before=before, page_size=size + 1, **asdict(wanted))
            found = [to_factory(row) async for row in rows]
        more = self._pages.encode(str(found[size - 1].factory_id), scope=scope) if len(found) > size else ""
        return found[:size], more

    async def update(
        self, actor: Principal, request: RequestKey, factory_id: UUID, changes: Mapping[str, Any], note: str = ""
    ) -> Factory:
        """Changes some of name, state, priority and markets. Raises FactoryNotFound, ValidationFailed."""
        check_name(note, "reason")
        async with self._store.transaction(reach(actor)) as connection:
            row = await self._store.sql.lock_factory(connection, factory_id=factory_id)
            old = _found(row, actor, factory_id)
            if await idempotency.claim(connection, request, factory_id) is not None:
                return old
            new = replace(old, **changes)
            check_factory(new.name, new.markets)
            before, after = asdict(old), asdict(new)
            changed = {
                field: audit.change(before[field], after[field]) for field in before if before[field] != after[field]
            }
            if not changed:
                audit.replayed()
                return old
            values = {field: after[field] for field in ("factory_id", "name", "state", "priority", "markets")}
            factory = to_factory(await self._store.sql.update_factory(connection, **values))
            await _record(connection, request, factory_id, {**changed, **({"reason": note} if note else {})})
            return factory


def _found(row: Any, actor: Principal, factory_id: UUID) -> Factory:
    if row is None or actor.factory_id not in (None, factory_id):
        raise FactoryNotFound(factory_id=factory_id)
    return to_factory(row)


async def _record(connection: Connection, request: RequestKey, factory_id: UUID, detail: Mapping[str, object]) -> None:
    resource = f"factory/{factory_id}"
    await audit.record(connection, resource=resource, request_id=request.request_id, detail=detail)
