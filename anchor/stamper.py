"""The stamper: has every tree stamped by a time-stamp authority, one process at a time."""

import structlog

from anchor.authority import Authority
from anchor.metrics import Metrics
from anchor.stamp_journal import StampJournal
from anchor.window import Windows

log = structlog.get_logger()
OWED = 64
"""Trees stamped in one round."""


class Stamper:
    """Closes windows too, so that one comes whoever else is down."""

    def __init__(self, journal: StampJournal, windows: Windows, authority: Authority, metrics: Metrics) -> None:
        self._journal = journal
        self._windows = windows
        self._authority = authority
        self._metrics = metrics

    async def round(self, fence: int) -> bool:
        """Closes a window if one is due, and gets the stamps that are owed.

        Raises AuthorityUnavailableError, StampRefusedError, LeaseLostError.
        """
        waiting = await self._windows.waiting()
        if tree_id := await self._windows.close_due(fence, waiting):
            log.info("window closed", tree=tree_id)
        owed = await self._journal.owed(OWED)
        self._metrics.show(waiting, {"sent": len(owed)})
        for tree in owed:
            if await self._journal.frozen():
                return True
            stamp = await self._authority.stamp(tree.root)
            await self._journal.keep(fence, tree.tree_id, stamp)
            log.info("stamped", tree=tree.tree_id, time=stamp.time.isoformat())
        return True
