"""Anchors as they change, for as long as somebody looks."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from uuid import UUID

from anchor.changes import Changes
from anchor.store import Store
from anchor.submission import Anchor, Progress, kinds_of
from mesh.errors import AnchorNotFound
from trust.canonical import SubjectKind

FINAL_BATCH = 1000


class Watch:
    """Reads the store whenever something changed."""

    def __init__(self, store: Store, changes: Changes) -> None:
        self._store = store
        self._changes = changes

    async def anchor(self, subject_id: UUID) -> AsyncIterator[Anchor]:
        """An anchor now and at every change, until it is final. Raises AnchorNotFound, ShuttingDown."""
        with self._changes.watching():
            last = None
            while True:
                count = self._changes.count
                anchor = await self._store.find_any(kinds_of(subject_id), subject_id)
                if anchor is None:
                    raise AnchorNotFound(batch_id=subject_id)
                if anchor != last:
                    yield anchor
                    last = anchor
                if anchor.progress is Progress.FINAL:
                    return
                await self._changes.since(count)

    async def anchors(self, subject_ids: Sequence[UUID]) -> AsyncIterator[list[Anchor]]:
        """Batches' anchors now, then each at every change, until all are final. Raises AnchorNotFound, ShuttingDown."""
        with self._changes.watching():
            last: dict[UUID, Anchor] = {}
            open_ids = list(subject_ids)
            while open_ids:
                count = self._changes.count
                found = await self._store.find_all(SubjectKind.BATCH, open_ids)
                for subject_id in open_ids:
                    if subject_id not in found:
                        raise AnchorNotFound(batch_id=subject_id)
                changed = [found[subject_id] for subject_id in open_ids if found[subject_id] != last.get(subject_id)]
                if changed:
                    yield changed
                last |= found
                open_ids = [each for each in open_ids if found[each].progress is not Progress.FINAL]
                if open_ids:
                    await self._changes.since(count)

    async def finality(self, position: int) -> AsyncGenerator[tuple[int, list[Anchor]], None]:
        """Batches' anchors that became final after a position, and the position of the last. Raises ShuttingDown."""
        with self._changes.watching():
            while True:
                count = self._changes.count
                found = await self._store.final_after(position, FINAL_BATCH)
                if not found:
                    await self._changes.since(count)
                    continue
                position = found[-1][0]
                anchors = [anchor for _, anchor in found if anchor.submission.kind is SubjectKind.BATCH]
                if anchors:
                    yield position, anchors
