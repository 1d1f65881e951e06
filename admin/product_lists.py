"""The products that were scanned most on a day, packed into one value; and of many days, as far as their lists tell.

A list is full when more products were scanned than it keeps: no other one had more scans on that day than its last.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from heapq import nlargest, nsmallest
from typing import NamedTuple
from uuid import UUID

ENTRY = struct.Struct(">16sQ")


class ProductScans(NamedTuple):
    """A product, and how often it was scanned at least and at most."""

    product_id: UUID
    scans: int
    at_most: int


class ProductList(NamedTuple):
    """A day's list; `complete` when it has every product that was scanned."""

    listed: bytes = b""
    complete: bool = True

    def raised(self, scans: Mapping[bytes, int], most: int) -> "ProductList":
        """With products whose scans have grown to these: as counts only grow, nobody else can have come to belong."""
        known = dict(ENTRY.iter_unpack(self.listed)) | dict(scans)
        best = nsmallest(most, known.items(), key=lambda item: (-item[1], item[0]))
        listed = b"".join(ENTRY.pack(*item) for item in best)
        return ProductList(listed, self.complete and len(known) <= most)


def together(days: Iterable[ProductList], most: int) -> tuple[Sequence[ProductScans], int]:
    """The products with most scans on all days together, and how many another one may have at most."""
    scans: dict[bytes, int] = {}
    # What is sure by the lists that a product is on, less what is possible on each of them for one that is not.
    above: dict[bytes, int] = {}
    bound = 0
    for day in days:
        entries = list(ENTRY.iter_unpack(day.listed))
        least = 0 if day.complete else entries[-1][1]
        bound += least
        for product, count in entries:
            scans[product] = scans.get(product, 0) + count
            above[product] = above.get(product, 0) + count - least
    enough = min(nlargest(most, scans.values()), default=0)
    best = sorted((item for item in scans.items() if item[1] >= enough), key=lambda item: (-item[1], item[0]))[:most]
    listed = [ProductScans(UUID(bytes=product), count, bound + above.pop(product)) for product, count in best]
    return listed, bound + max(above.values(), default=0)
