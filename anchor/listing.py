"""Anchors by the page, newest first."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from anchor.store import Store
from anchor.submission import Anchor, Progress
from mesh.paging import PageTokens

PAGE_SIZE = 100
FIRST, LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
NEWEST = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which anchors: in this state, accepted in [from_time, to_time), of these batches; None means all."""

    progress: Progress | None = None
    from_time: datetime | None = None
    to_time: datetime | None = None
    batch_ids: tuple[UUID, ...] | None = None


@dataclass(frozen=True, slots=True)
class AnchorPage:
    """A page, and the token of the next one; empty on the last."""

    anchors: list[Anchor]
    next_page_token: str


class Listing:
    """Lists batches' anchors; page tokens are good for one caller and filter."""

    def __init__(self, store: Store, pages: PageTokens) -> None:
        self._store = store
        self._pages = pages

    async def list(self, caller: str, wanted: Filter, *, page_size: int, page_token: str) -> AnchorPage:
        """A page of at most `page_size` anchors, 0 meaning 100. Raises PageTokenInvalid, DependencyUnavailable."""
        scope = f"anchors:{caller}:{wanted}"
        before = UUID(self._pages.decode(page_token, scope=scope)) if page_token else NEWEST
        size = page_size or PAGE_SIZE
        found = await self._store.page(
            before=before,
            progress=wanted.progress,
            batch_ids=wanted.batch_ids,
            between=(wanted.from_time or FIRST, wanted.to_time or LAST),
            limit=size + 1,
        )
        page = found[:size]
        more = self._pages.encode(str(page[-1].submission_id), scope=scope) if len(found) > size else ""
        return AnchorPage(page, more)
