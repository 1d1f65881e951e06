"""QR codes (ISO/IEC 18004) of tokens' links, drawn on demand. They say nothing on whether a token is genuine."""

import asyncio
import sys
from collections.abc import Callable
from enum import StrEnum
from io import BytesIO
from typing import Any, TypeVar

import segno
from segno import consts

from mesh.errors import TokenMalformed
from trust.token import TokenMalformedError, decode

T = TypeVar("T")
SCALE = 4
GIVE_WAY_SECONDS = 0.0005
QUIET_ZONE = 4
"""Modules that stay blank on each side, by the standard."""


class QrFormat(StrEnum):
    """Form of a drawn code."""

    SVG = "svg"
    PNG = "png"


class ErrorLevel(StrEnum):
    """How much of a code may be lost: about 7, 15, 25 and 30 %."""

    L = "l"
    M = "m"
    Q = "q"
    H = "h"


def qr_code(url_prefix: str, token: str, level: ErrorLevel) -> segno.QRCode:
    """The code of a link in two segments: 33 modules an edge at M, where one segment would need 37.

    About 4 ms, nearly all of it the choice among the eight masks that the standard demands.
    """
    segments: Any = [(url_prefix, consts.MODE_BYTE), (token, consts.MODE_ALPHANUMERIC)]  # its stub knows text alone
    return segno.make(segments, error=level.value, boost_error=False, micro=False)


def draw(code: segno.QRCode, form: QrFormat, scale: int) -> bytes:
    """The image of a code, black on white: `scale` pixels a module in PNG, user units in SVG."""
    image = BytesIO()
    code.save(image, kind=form.value, scale=scale, border=QUIET_ZONE, light="white")
    return image.getvalue()


class Turns:
    """One drawing at a time, in a thread that gives way to the event loop every half millisecond.

    Python's usual 5 ms would be waited for at each turn of the loop, of which a call takes a dozen.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def take(self, drawing: Callable[[], T]) -> T:
        """What the drawing gives."""
        async with self._lock:
            usual = sys.getswitchinterval()
            sys.setswitchinterval(GIVE_WAY_SECONDS)
            try:
                return await asyncio.to_thread(drawing)
            finally:
                sys.setswitchinterval(usual)


class Codes:
    """The codes of single tokens."""

    def __init__(self, turns: Turns, *, url_prefix: str) -> None:
        self._turns = turns
        self._url_prefix = url_prefix

    async def draw(self, token: str, form: QrFormat, level: ErrorLevel, scale: int) -> bytes:
        """The image of a token's code; scale 0 means 4. Raises TokenMalformed."""
        try:
            decode(token)
        except TokenMalformedError:
            raise TokenMalformed from None
        return await self._turns.take(lambda: draw(qr_code(self._url_prefix, token, level), form, scale or SCALE))
