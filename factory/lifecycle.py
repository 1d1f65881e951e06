"""What becomes of products after they were issued: changes of their state, and the events that tell of them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from factory.attributes import check_name
from factory.batch import ProductState
from factory.events import Moved, Outbox, product_state_changed
from factory.store import Connection, Store
from mesh import audit, idempotency
from mesh.clock import IdSource
from mesh.errors import ProductNotFound
from mesh.idempotency import RequestKey
from mesh.paging import PageTokens

STRETCH = 5_000
"""Products of a batch that change in one transaction."""

PAGE_SIZE = 50


@dataclass(frozen=True, slots=True)
class Some:
    """Products by their ids."""

    product_ids: frozenset[UUID]


@dataclass(frozen=True, slots=True)
class OfBatch:
    """Products of a batch: all, or those whose serial lies in [first, last] by code point."""

    batch_id: UUID
    serials: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of which products, and why."""

    to_state: ProductState
    note: str
    selection: Some | OfBatch


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a change came: it is done when `next_index` is `end_index`. Of the products before, how many changed."""

    next_index: int
    end_index: int
    changed: int
    unchanged: int
    refused: int

    @property
    def done(self) -> bool:
        """True when no product is left."""
        return self.next_index == self.end_index


@dataclass(frozen=True, slots=True)
class Event:
    """A step of a product; `actor` is the id of the API key."""

    event_id: UUID
    from_state: ProductState
    to_state: ProductState
    actor: str
    note: str
    happened_at: datetime


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, newest first, and the token of the next page or ''."""

    events: list[Event]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class _Run:
    """A change under its id."""

    factory_id: UUID
    change_id: UUID
    request_id: UUID
    change: Change

    @property
    def key(self) -> dict[str, UUID]:
        return {"factory_id": self.factory_id, "change_id": self.change_id}


@dataclass(frozen=True, slots=True)
class _Held:
    """Locked products: how many, those in another state than the one to reach, and the batches of them all."""

    count: int
    others: list[UUID]
    batch_ids: list[UUID]


class Lifecycle:
    """The lives of factories' products. Another factory's product or batch is as unknown as none."""

    def __init__(self, store: Store, outbox: Outbox, pages: PageTokens, *, new_id: IdSource) -> None:
        self._store = store
        self._outbox = outbox
        self._pages = pages
        self._new_id = new_id

    async def change(self, factory_id: UUID, request: RequestKey, change: Change, *, actor: str) -> Progress:
        """The change made, by as many transactions as it takes; where the same request broke off, it goes on.

        Raises BatchNotFound, ProductNotFound, ValidationFailed, RequestIdReused.
        """
        _check(change)
        async with self._store.transaction(factory_id) as connection:
            new = self._new_id()
            first = await idempotency.claim(connection, request, new)
            run = _Run(factory_id, first or new, request.request_id, change)
            if first is None:
                progress = await self._advance(connection, run, await self._begin(connection, run, actor))
            else:
                progress = await self._go_on(connection, run)
        while not progress.done:
            async with self._store.transaction(factory_id) as connection:
                progress = await self._go_on(connection, run)
        return progress

    async def events(self, factory_id: UUID, product_id: UUID, *, page_size: int, page_token: str) -> EventPage:
        """A page of at most `page_size` events, 0 meaning 50. Raises ProductNotFound, PageTokenInvalid."""
        scope = f"events:{factory_id}:{product_id}"
        before = UUID(self._pages.decode(page_token, scope=scope)) if page_token else None
        size = page_size or PAGE_SIZE
        sql, key = self._store.sql, {"factory_id": factory_id, "product_id": product_id}
        async with self._store.connection(factory_id) as connection:
            if await sql.select_product(connection, **key) is None:
                raise ProductNotFound
            rows = sql.select_events(connection, **key, before=before, page_size=size + 1)
            found = [_event(row) async for row in rows]
        page = found[:size]
        more = self._pages.encode(str(page[-1].event_id), scope=scope) if len(found) > size else ""
        return EventPage(page, more)

    async def _begin(self, connection: Connection, run: _Run, actor: str) -> Progress:
        match run.change.selection:
            case Some(product_ids):
                batch_id, end_index = None, len(product_ids)
            case OfBatch(batch_id):
                end_index = (await self._store.batch(connection, run.factory_id, batch_id)).issued_count
        row = await self._store.sql.insert_change(
            connection,
            **run.key,
            batch_id=batch_id,
            to_state=run.change.to_state,
            actor=actor,
            note=run.change.note,
            end_index=end_index,
        )
        return Progress(**dict(row))

    async def _go_on(self, connection: Connection, run: _Run) -> Progress:
        progress = Progress(**dict(await self._store.sql.lock_change(connection, **run.key)))
        return progress if progress.done else await self._advance(connection, run, progress)

    async def _advance(self, connection: Connection, run: _Run, progress: Progress) -> Progress:
        """Moves the next products, those that may, and counts, all in the transaction under way."""
        sql, to_state, selection = self._store.sql, run.change.to_state, run.change.selection
        end_index, of_batch = progress.end_index, isinstance(selection, OfBatch)
        if of_batch:
            end_index = min(progress.next_index + STRETCH, end_index)
        held = await self._hold(connection, run, progress.next_index, end_index)
        others = held.others
        moved = await sql.move(
            connection, **run.key, batch_ids=held.batch_ids, product_ids=others, to_state=to_state, listed=not of_batch
        )
        changed = moved["changed"]
        counts = {"changed": changed, "unchanged": held.count - len(others), "refused": len(others) - changed}
        if changed:
            await self._tell(connection, run, counts, moved["product_ids"])
        row = await sql.advance_change(connection, **run.key, end_index=end_index, **counts)
        resource = f"product_change/{run.change_id}"
        await audit.record(
            connection, resource=resource, request_id=run.request_id, detail=_detail(run.change) | counts
        )
        return Progress(**dict(row))

    async def _tell(
        self, connection: Connection, run: _Run, counts: dict[str, int], product_ids: list[UUID] | None
    ) -> None:
        """Scans, and the factory's systems."""
        match run.change.selection:
            case Some():
                batch_id, changed_cards = None, product_ids
            case OfBatch(batch_id):
                changed_cards = [batch_id]
        await self._store.sql.announce_cards(connection, ids=changed_cards)
        moved = Moved(run.change_id, batch_id, run.change.to_state.name, **counts, product_ids=product_ids)
        await self._outbox.publish(connection, [product_state_changed(run.factory_id, moved)])

    async def _hold(self, connection: Connection, run: _Run, first_index: int, end_index: int) -> "_Held":
        """Locks the products. Raises ProductNotFound."""
        sql, to_state = self._store.sql, run.change.to_state
        match run.change.selection:
            case Some(product_ids):
                row = await sql.hold_listed(
                    connection, to_state=to_state, factory_id=run.factory_id, product_ids=list(product_ids)
                )
                if row["held"] != len(product_ids):
                    raise ProductNotFound
                batch_ids = row["batch_ids"]
            case OfBatch(batch_id, serials):
                batch_ids, (first_serial, last_serial) = [batch_id], serials or (None, None)
                row = await sql.hold_stretch(
                    connection,
                    to_state=to_state,
                    factory_id=run.factory_id,
                    batch_id=batch_id,
                    first_index=first_index,
                    end_index=end_index,
                    first_serial=first_serial,
                    last_serial=last_serial,
                )
        return _Held(row["held"], row["others"], batch_ids)


def _check(change: Change) -> None:
    """Raises ValidationFailed for text that PostgreSQL or a person reading could not take."""
    check_name(change.note, "note")
    if isinstance(change.selection, OfBatch) and change.selection.serials is not None:
        for field, serial in zip(("serials.first", "serials.last"), change.selection.serials, strict=True):
            check_name(serial, field)


def _detail(change: Change) -> dict[str, object]:
    detail: dict[str, object] = {"to_state": change.to_state.name}
    if isinstance(change.selection, OfBatch):
        detail["batch_id"] = change.selection.batch_id
        if change.selection.serials is not None:
            detail["first_serial"], detail["last_serial"] = change.selection.serials
    return detail


def _event(row: Any) -> Event:
    states = {name: ProductState(row[name]) for name in ("from_state", "to_state")}
    return Event(**{**dict(row), **states})
