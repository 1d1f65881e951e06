"""Journals with a hook at every step, and the writer's process that SIGKILL ends at one: `python -m … [STEP NTH]`.

The steps, in their order: read:after, append:before, append:after, write:after (which is the commit), trim:after.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import uvloop

from mesh.config import load
from mesh.database import Connection
from mesh.pipeline import Lanes
from scan import writing
from scan.config import JournalSettings
from scan.journal import Group, Journal
from scan.stream import Entry, Stream
from tests.fakes.chain_ledger import ChainLedger, judge
from trust.ledger import Event

STEPS = ("read:after", "append:before", "append:after", "write:after", "trim:after")
Hook = Callable[[str], Awaitable[None]]


class HookedStream(Stream):
    def __init__(self, hook: Hook, lanes: Lanes) -> None:
        super().__init__(lanes)
        self._hook = hook

    async def read(self, shard: int, *, after: str, count: int) -> list[Entry]:
        entries = await super().read(shard, after=after, count=count)
        if entries:
            await self._hook("read:after")
        return entries

    async def trim(self, shard: int, last: str) -> None:
        await super().trim(shard, last)
        await self._hook("trim:after")


class HookedLedger(ChainLedger):
    def __init__(self, hook: Hook) -> None:
        self._hook = hook

    async def append(self, connection: Connection, events: Sequence[Event], /) -> int:
        await self._hook("append:before")
        first = await super().append(connection, events)
        await self._hook("append:after")
        return first


class HookedJournal(Journal):
    def __init__(self, hook: Hook) -> None:
        super().__init__(HookedLedger(hook))
        self._after = hook

    async def write(self, connection: Connection, group: Group, *, look: bool = False) -> int:
        written = await super().write(connection, group, look=look)
        await self._after("write:after")
        return written


def dying(step: str, nth: int) -> Hook:
    left = nth

    async def hook(at: str) -> None:
        nonlocal left
        left -= at == step
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


if __name__ == "__main__":
    hook = dying(sys.argv[1], int(sys.argv[2])) if len(sys.argv) > 1 else dying("never", 1)
    parts = vars(writing)
    parts["Stream"] = partial(HookedStream, hook)
    parts["Journal"] = lambda _ledger: HookedJournal(hook)
    uvloop.run(writing.journal(load(JournalSettings), ChainLedger(), judge))
