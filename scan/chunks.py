"""Scans by the chunk on one stream: a few chunks are judged at once, and answered in order.

A chunk whose answer was not received may have been counted or not, as a call of Verify whose answer is lost.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from mesh import tasks
from mesh.ahead import ahead
from mesh.clock import Clock
from mesh.errors import ChunkSize, RateLimited, SequenceBroken, StreamHeaderExpected, TokenMalformed
from scan.caller import Caller
from scan.event import Source
from scan.verify import Answer, Verifier

CHUNK_TOKENS = 500
"""Tokens in a chunk at most."""

DEPTH = 2
"""Chunks that wait, judged or being judged, between the one that is answered and the one that was read last."""


SLICE_TOKENS = 64
"""Tokens judged at once in a process: their cards share a query and their counters a write. Larger slices cost a little
less, and hold up the calls beside them for longer."""


@dataclass(frozen=True, slots=True)
class Header:
    """Opens a stream; `with_products` asks for whole cards."""

    with_products: bool


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens to scan."""

    sequence: int
    tokens: Sequence[str]


Frame = Header | Chunk


@dataclass(frozen=True, slots=True)
class Limited:
    """A token that was not scanned: the budget has room for one more in `retry_after` seconds."""

    retry_after: float


Result = Answer | Limited | None
"""What became of a token; None when the text is none."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A chunk with a result for each token, in order."""

    sequence: int
    results: list[Result]
    with_products: bool
    checked_at: datetime


class Streams:
    """Runs streams of scans."""

    def __init__(self, verifier: Verifier, clock: Clock) -> None:
        self._verifier = verifier
        self._clock = clock
        self._turn = asyncio.Lock()
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Ends the streams under way after the chunks that each has read: the server drains."""
        self._closing.set()

    async def run(self, frames: AsyncIterator[Frame], caller: Caller) -> AsyncGenerator[Judged, None]:
        """The answers to a stream of frames, taken from the budget of the caller's address prefix.

        Raises StreamHeaderExpected, SequenceBroken, ChunkSize, ShuttingDown.
        """
        judging: set[asyncio.Task[Judged]] = set()
        try:
            async with aclosing(ahead(self._begun(frames, caller, judging), DEPTH, self._closing)) as chunks:
                async for chunk in chunks:
                    yield await chunk
        finally:
            await tasks.end(*judging)

    async def _begun(
        self, frames: AsyncIterator[Frame], caller: Caller, judging: "set[asyncio.Task[Judged]]"
    ) -> AsyncGenerator["asyncio.Task[Judged]", None]:
        header = await anext(frames, None)
        if not isinstance(header, Header):
            raise StreamHeaderExpected
        due: int | None = None
        async for frame in frames:
            if isinstance(frame, Header):
                raise StreamHeaderExpected
            if not 1 <= len(frame.tokens) <= CHUNK_TOKENS:
                raise ChunkSize(limit=CHUNK_TOKENS, rows=len(frame.tokens))
            if due is not None and frame.sequence != due:
                raise SequenceBroken(expected=due, sequence=frame.sequence)
            due = frame.sequence + 1
            task = asyncio.create_task(self._judge(frame, caller, header.with_products))
            judging.add(task)
            task.add_done_callback(judging.discard)
            yield task

    async def _judge(self, chunk: Chunk, caller: Caller, with_products: bool) -> Judged:
        results: list[Result] = []
        for start in range(0, len(chunk.tokens), SLICE_TOKENS):
            async with self._turn:
                part = chunk.tokens[start : start + SLICE_TOKENS]
                results += await asyncio.gather(*[self._scan(text, caller) for text in part])
        return Judged(chunk.sequence, results, with_products, self._clock.now())

    async def _scan(self, text: str, caller: Caller) -> Result:
        try:
            return await self._verifier.scan(text, caller, source=Source.STREAM)
        except TokenMalformed:
            return None
        except RateLimited as error:
            return Limited(error.retry_after or 0.0)
