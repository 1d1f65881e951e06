"""A product's line in time: its scans, the steps of its life, cases of reports, and rulings on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from admin.store import Store
from admin.users import NEWEST
from mesh.errors import ProductNotFound
from mesh.identity import Principal
from mesh.paging import PageTokens

PAGE_SIZE = 50


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened: `kind` is scan, step, report or ruling, and says what `detail` has."""

    entry_id: UUID
    kind: str
    at: datetime
    detail: Mapping[str, Any]


class Timelines:
    """Reads them."""

    def __init__(self, store: Store, pages: PageTokens) -> None:
        self._store = store
        self._pages = pages

    async def page(
        self, actor: Principal, product_id: UUID, *, page_size: int, page_token: str
    ) -> tuple[Sequence[Entry], str]:
        """A page of at most `page_size`, 0 meaning 50, newest first, and the token of the next.

        To people of another factory there is no such product. Raises ProductNotFound, PageTokenInvalid.
        """
        scope = f"timeline:{actor}:{product_id}"
        before = UUID(self._pages.decode(page_token, scope=scope)) if page_token else NEWEST
        size = page_size or PAGE_SIZE
        async with self._store.connection() as connection:
            owner = await self._store.sql.product_owner(connection, product_id=product_id)
            if owner is None or actor.factory_id not in (None, owner["factory_id"]):
                raise ProductNotFound
            subjects = [f"product/{product_id}", f"batch/{owner['batch_id']}", f"key/{owner['kid']}"]
            rows = self._store.sql.product_timeline(
                connection, product_id=product_id, subjects=subjects, before=before, page_size=size + 1
            )
            found = [Entry(row["entry_id"], row["kind"], row["at"], orjson.loads(row["detail"])) async for row in rows]
        more = self._pages.encode(str(found[size - 1].entry_id), scope=scope) if len(found) > size else ""
        return found[:size], more
