"""The names of a log's tiles and entry bundles, as C2SP tlog-tiles has them (c2sp.org/tlog-tiles).

``tile/<level>/<index>[.p/<width>]`` and ``tile/entries/<index>[.p/<width>]``, the index in groups of three digits,
all but the last behind an ``x``: tile 1234067 of level 0 is ``tile/0/x001/x234/067``.
"""

import re
from dataclasses import dataclass
from typing import Self

from trust.tiles import ENTRIES

MAX_LEVEL = 63

_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


class PathMalformedError(ValueError):
    """The text names no tile, or not in the one form that its name has."""


@dataclass(frozen=True, slots=True)
class TilePath:
    """A tile of hashes, or with `level` None a bundle of entries: its index, and its width from 1 to 256.

    Raises PathMalformedError.
    """

    level: int | None
    index: int
    width: int = ENTRIES

    def __post_init__(self) -> None:
        if self.level is not None and not 0 <= self.level <= MAX_LEVEL:
            raise PathMalformedError(f"{self.level} is not a level from 0 to {MAX_LEVEL}")
        if not 0 <= self.index < 10**21:
            raise PathMalformedError(f"{self.index} is not the index of a tile")
        if not 1 <= self.width <= ENTRIES:
            raise PathMalformedError(f"{self.width} is not a width from 1 to {ENTRIES}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a path. Raises PathMalformedError."""
        found = _PATH.fullmatch(text)
        if found is None:
            raise PathMalformedError("the text is not the path of a tile")
        level = None if found["level"] == "entries" else int(found["level"])
        index = int(found["index"].replace("/", "").replace("x", ""))
        path = cls(level, index, int(found["width"] or ENTRIES))
        if path.text() != text:
            raise PathMalformedError("the path is not in its one form")
        return path

    def text(self) -> str:
        """Write what `parse` reads."""
        digits = str(self.index)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[start : start + 3] for start in range(0, len(digits), 3)]
        index = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        partial = f".p/{self.width}" if self.width < ENTRIES else ""
        return f"tile/{'entries' if self.level is None else self.level}/{index}{partial}"
