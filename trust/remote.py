"""A log read over HTTP as C2SP tlog-tiles lays it out: its latest checkpoint, and the tiles below that. No rows."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from trust.alignment import Row
from trust.checkpoint import Checkpoint
from trust.note import MAX_BYTES
from trust.tilepath import TilePath
from trust.tiles import ENTRIES, TILE_BYTES

_TRIES = 10
_AGAIN = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.BAD_GATEWAY})


class LogUnreachableError(Exception):
    """The log did not answer, or not as one does; the message says what."""


class RemoteLog:
    """One snapshot of the log below `prefix` (http or https), as `trust.audit` reads it: that of its latest checkpoint.

    Each request has `timeout` seconds. Raises ValueError if the prefix is no such URL, LogUnreachableError from all.
    """

    def __init__(self, prefix: str, *, timeout: float = 10.0) -> None:
        parts = urlsplit(prefix)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
            raise ValueError("the log is not an http or https URL without a user name")
        self._prefix = prefix.rstrip("/")
        self._timeout = timeout
        self._note: bytes | None = None
        self._size = 0

    async def keys(self) -> Sequence[str]:
        """The keys that the log itself says are its own: to be compared with a copy from elsewhere."""
        found = self._json(await self._ask("key", MAX_BYTES)).get("keys")
        if not isinstance(found, list) or not all(isinstance(key, str) for key in found):
            raise LogUnreachableError(f"{self._prefix}/key does not answer with keys")
        return found

    async def note(self) -> bytes | None:
        """The latest checkpoint, read once; None if nothing was signed yet."""
        if self._note is None:
            self._note = await self._ask("checkpoint", MAX_BYTES)
            if self._note is not None:
                text = self._note.decode(errors="replace").partition("\n\n")[0] + "\n"
                try:
                    self._size = Checkpoint.parse(text).size
                except ValueError as error:
                    raise LogUnreachableError(f"{self._prefix}/checkpoint is none: {error}") from error
        return self._note

    async def size(self) -> int:
        """See trust.audit.LedgerReader."""
        await self.note()
        return self._size

    async def tile(self, level: int, index: int) -> bytes:
        """See trust.audit.LedgerReader."""
        width = min(ENTRIES, ((await self.size()) >> 8 * level) - index * ENTRIES)
        if width < 1:
            return b""
        return await self._ask(TilePath(level, index, width).text(), TILE_BYTES) or b""

    async def rows(self, first: int) -> AsyncIterator[Sequence[Row]]:
        """None: entries are not told by number."""
        del first
        nothing: tuple[Sequence[Row], ...] = ()
        for page in nothing:
            yield page

    async def checkpoints(self, first: int) -> AsyncIterator[bytes]:
        """See trust.audit.LedgerReader; older ones are in the hands of whoever kept them."""
        note = await self.note()
        if note is not None and self._size >= first:
            yield note

    @staticmethod
    def _json(body: bytes | None) -> dict[str, Any]:
        try:
            found = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            found = None
        return found if isinstance(found, dict) else {}

    async def _ask(self, path: str, most: int) -> bytes | None:
        """The body, None for 404. Asks again when told to come back."""
        for _ in range(_TRIES):
            status, body, wait = await asyncio.to_thread(self._fetch, f"{self._prefix}/{path}", most)
            if status == HTTPStatus.OK:
                return body
            if status == HTTPStatus.NOT_FOUND:
                return None
            if status not in _AGAIN:
                break
            await asyncio.sleep(wait)
        raise LogUnreachableError(f"{self._prefix}/{path} answered with HTTP status {status}")

    def _fetch(self, url: str, most: int) -> tuple[int, bytes, float]:
        try:
            with urlopen(Request(url), timeout=self._timeout) as answer:  # noqa: S310 - the scheme is checked
                body: bytes = answer.read(most + 1)
                status = int(answer.status)
        except HTTPError as refusal:
            with refusal:
                return refusal.code, b"", _seconds(refusal.headers.get("retry-after"))
        except (HTTPException, OSError) as error:
            raise LogUnreachableError(f"{url} cannot be read: {error}") from None
        if len(body) > most:
            raise LogUnreachableError(f"{url} answered with more than {most} bytes")
        return status, body, 0.0


def _seconds(text: str | None) -> float:
    return min(float(text), 60.0) if text and text.isdecimal() else 1.0
