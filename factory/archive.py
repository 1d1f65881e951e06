"""A ZIP file (PKWARE APPNOTE 6.3.10) of many small numbered files, written as a stream.

What is kept of a file is 12 bytes, where the libraries keep 430 to 580 (`zipfile`, stream-zip, zipstream-ng): a million
labels would hold half a gigabyte until the directory at the end of the archive is written.
"""

import struct
import zlib
from array import array
from collections.abc import Callable, Iterator
from datetime import datetime

_VERSION, _VERSION_64, _MADE_BY_UNIX, _DEFLATE, _FILE_MODE = 20, 45, 3 << 8, 8, 0o100644 << 16
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_END = struct.Struct("<4s4H2IH")
_IN_64 = 0xFFFF, 0xFFFFFFFF
_PART = 1 << 20


class Archive:
    """Files named by their number. The archive must stay below 4 GiB; it may have any number of files."""

    def __init__(self, moment: datetime, *, name: Callable[[int], str]) -> None:
        self._name = name
        self._date = moment.year - 1980 << 9 | moment.month << 5 | moment.day
        self._time = moment.hour << 11 | moment.minute << 5 | moment.second // 2
        self._crcs, self._packed, self._sizes = array("I"), array("I"), array("I")
        self._written = 0

    def add(self, content: bytes) -> bytes:
        """The bytes of the archive that the next file makes."""
        compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        packed = compressor.compress(content) + compressor.flush()
        name = self._name(len(self._crcs)).encode()
        sums = zlib.crc32(content), len(packed), len(content)
        for kept, number in zip((self._crcs, self._packed, self._sizes), sums, strict=True):
            kept.append(number)
        header = _LOCAL.pack(b"PK\3\4", _VERSION, 0, _DEFLATE, self._time, self._date, *sums, len(name), 0)
        entry = header + name + packed
        self._written += len(entry)
        return entry

    def close(self) -> Iterator[bytes]:
        """The directory, in parts of little more than 1 MiB."""
        size, part = 0, bytearray()
        for entry in self._entries():
            size += len(entry)
            part += entry
            if len(part) >= _PART:
                yield bytes(part)
                part.clear()
        yield bytes(part) + self._end(size)

    def _entries(self) -> Iterator[bytes]:
        offset = 0
        for number, sums in enumerate(zip(self._crcs, self._packed, self._sizes, strict=True)):
            name = self._name(number).encode()
            fixed = (b"PK\1\2", _MADE_BY_UNIX | _VERSION, _VERSION, 0, _DEFLATE, self._time, self._date)
            yield _CENTRAL.pack(*fixed, *sums, len(name), 0, 0, 0, 0, _FILE_MODE, offset) + name
            offset += _LOCAL.size + len(name) + sums[1]

    def _end(self, size: int) -> bytes:
        """Both forms of the end, since the older one cannot count past 65,535 files."""
        count, start = len(self._crcs), self._written
        rest = _END_64.size - 12
        versions = _MADE_BY_UNIX | _VERSION_64, _VERSION_64
        end_64 = _END_64.pack(b"PK\6\6", rest, *versions, 0, 0, count, count, size, start)
        locator = _LOCATOR_64.pack(b"PK\6\7", 0, start + size, 1)
        short, long = _IN_64
        counts = min(count, short), min(count, short)
        return end_64 + locator + _END.pack(b"PK\5\6", 0, 0, *counts, min(size, long), start, 0)
