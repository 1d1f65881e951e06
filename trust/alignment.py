"""Which row belongs to which place of the ledger, when some were edited, deleted, inserted, moved or renumbered.

Each place has a link: the hash of the entry before it and its own. A row belongs to a place exactly if its event
after the one hash gives the other, whatever number the row claims; so a damaged row spoils no other, and one that
was moved is known again wherever it stands.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from trust.finding import Finding, FindingKind
from trust.ledger import Chained, EntryMalformedError, Event, Opening

LOOK_AHEAD = 1024
"""How many rows and places are looked at to find where a damaged stretch ends."""

_EVERY_PAIR = 16
_HELD_PLACES = 4096
_MOST_COMPARISONS = 1_000_000


class Row(NamedTuple):
    """One row: the place from 0 that it claims, what was logged, and the personal fields while they are kept."""

    number: int
    event: Event
    opening: Opening | None = None


class Placed(Protocol):
    """One row of any log: the place that it claims, its entry, and personal fields while they are kept."""

    @property
    def number(self) -> int:
        """The place from 0."""
        ...

    @property
    def event(self) -> Chained:
        """What was logged."""
        ...

    @property
    def opening(self) -> Opening | None:
        """What the entry commits to, if it is kept."""
        ...


@dataclass(frozen=True, slots=True)
class Links:
    """The hashes of the places from `first` on, behind that of the place before: `hashes[0]` is of `first` - 1."""

    first: int
    hashes: Sequence[bytes]

    def fits(self, row: Placed, place: int) -> bool:
        """Whether the row belongs there; False outside these places."""
        at = place - self.first + 1
        return 1 <= at < len(self.hashes) and joins(row.event, self.hashes[at - 1], self.hashes[at])

    def of(self, place: int) -> tuple[bytes, bytes]:
        """Give the link of a place among these."""
        at = place - self.first + 1
        return self.hashes[at - 1], self.hashes[at]


@dataclass(slots=True)
class _Hole:
    """A place without its row: its link, and the row that stood there instead, if one did."""

    previous: bytes
    own: bytes
    row: Placed | None


class Alignment:
    """Goes through places and rows side by side, and keeps the places and rows that have no counterpart yet."""

    def __init__(self, first: int, report: Callable[[Finding], None]) -> None:
        self._report = report
        self.place = first
        """The next place to be accounted for."""
        self.checked = 0
        """How many rows were found where they belong."""
        self._shift = 0
        self._holes: dict[int, _Hole] = {}
        self._gaps: list[tuple[int, int]] = []
        self._strays: list[Placed] = []

    @property
    def open(self) -> int:
        """How much there is to find, at most: places and rows without a counterpart, runs of places counted once."""
        return len(self._holes) + len(self._gaps) + len(self._strays)

    def take(self, rows: list[Placed], links: Links, stop: int) -> bool:
        """Take the rows of all places up to `stop` from the front of `rows`; if one is not in its place, take none."""
        count, start = stop - self.place, self.place - links.first
        if len(rows) < count:
            return False
        pairs = zip(rows[:count], links.hashes[start:], links.hashes[start + 1 :], strict=False)
        try:
            fine = all(row.event.hash_after(previous) == own for row, previous, own in pairs)
        except EntryMalformedError:
            return False
        if fine:
            for row in rows[:count]:
                self._took(row)
            del rows[:count]
        return fine

    def align(self, rows: list[Placed], links: Links, stop: int) -> None:
        """Account for the places up to `stop`, taking rows from the front of `rows` that belong to them or to none.

        `rows` and `links` should reach `LOOK_AHEAD` beyond `stop`.
        """
        taken = 0
        while self.place < stop:
            if taken == len(rows):
                self._leave(stop, links)
            elif links.fits(rows[taken], self.place):
                self._took(rows[taken])
                taken += 1
            else:
                taken += self._skip(rows, taken, links, stop)
        del rows[:taken]

    def rest(self, rows: Sequence[Placed]) -> None:
        """Take rows that are left when all places are accounted for."""
        self._strays += rows

    def resolve(self) -> None:
        """Report what has no counterpart: moved, edited, missing or inserted; by place, the inserted last."""
        moved = self._moved()
        known = {id(row) for row in moved.values()}
        strays = {id(row): row for row in self._strays if id(row) not in known}
        found: list[Finding] = []
        for place, hole in self._holes.items():
            if place in moved:
                detail = f"it stands at row {moved[place].number}"
                found.append(_finding(FindingKind.ENTRY_MOVED, place, detail, moved[place]))
            elif hole.row is not None and id(hole.row) in strays:
                del strays[id(hole.row)]
                detail = "the row is not what was logged"
                found.append(_finding(FindingKind.ENTRY_EDITED, place, detail, hole.row))
            else:
                found.append(_finding(FindingKind.ENTRY_MISSING, place, "what was logged is not there", None))
        for first, last in self._gaps:
            found.append(Finding(FindingKind.ENTRY_MISSING, first, last, "what was logged is not there"))
        for finding in sorted(found, key=lambda finding: finding.first):
            self._report(finding)
        for row in strays.values():
            self._report(_finding(FindingKind.ENTRY_INSERTED, row.number, "the row was never logged", row))

    def _took(self, row: Placed) -> None:
        place, self._shift = self.place, self.place - row.number
        self.place += 1
        self.checked += 1
        if self._shift:
            detail = f"the rows claim numbers {-self._shift:+d} from their places"
            self._report(Finding(FindingKind.ENTRY_RENUMBERED, place, place, detail))
        if row.opening is not None and not _opens(row.opening, row.event.personal):
            detail = "the personal fields are not those committed to"
            self._report(_finding(FindingKind.PERSONAL_EDITED, place, detail, row))

    def _skip(self, rows: Sequence[Placed], taken: int, links: Links, stop: int) -> int:
        """Leave rows and places out up to the next row in its place; give how many rows."""
        ahead = rows[taken:]
        found = self._resync(ahead, links)
        claimed = ahead[0].number + self._shift
        if found is not None:
            count, places = found
        elif claimed > self.place:
            count, places = 0, min(claimed, stop) - self.place
        else:
            count, places = 1, 1
        for number in range(places):
            self._hole(self.place + number, links, ahead[number] if number < count else None)
        self.place += places
        self._strays += ahead[:count]
        return count

    def _resync(self, rows: Sequence[Placed], links: Links) -> tuple[int, int] | None:
        """Find the fewest rows and places to leave out so that the next row belongs to the next place."""
        for count, places in _SKIPS:
            if count < len(rows) and links.fits(rows[count], self.place + places):
                return count, places
        return None

    def _leave(self, stop: int, links: Links) -> None:
        for place in range(self.place, stop):
            self._hole(place, links, None)
        self.place = stop

    def _hole(self, place: int, links: Links, row: Placed | None) -> None:
        if len(self._holes) < _HELD_PLACES:
            self._holes[place] = _Hole(*links.of(place), row)
        elif self._gaps and self._gaps[-1][1] == place - 1:
            self._gaps[-1] = (self._gaps[-1][0], place)
        else:
            self._gaps.append((place, place))

    def _moved(self) -> dict[int, Placed]:
        """Find the rows that belong to a place other than where they stand, by place."""
        moved: dict[int, Placed] = {}
        comparisons = 0
        for row in self._strays:
            for place, hole in self._holes.items():
                comparisons += 1
                if comparisons > _MOST_COMPARISONS:
                    return moved
                if place not in moved and joins(row.event, hole.previous, hole.own):
                    moved[place] = row
                    break
        return moved


def joins(event: Chained, previous: bytes, own: bytes) -> bool:
    """Whether the event's entry after the hash `previous` has the hash `own`."""
    try:
        return event.hash_after(previous) == own
    except EntryMalformedError:
        return False


def _skips() -> Iterator[tuple[int, int]]:
    """Ways to leave out rows and places, the fewest first: every one for few, for more only the likely ones."""
    for total in range(1, _EVERY_PAIR + 1):
        # As many rows as places first: two entries that changed places are two damages, not a move past the rest.
        # Then more rows than places: the copy of an entry further on is one row too many, not a hole up to there.
        counts = sorted(range(total + 1), key=lambda count: (abs(total - 2 * count), -count))
        yield from ((count, total - count) for count in counts)
    for many in range(_EVERY_PAIR + 1, LOOK_AHEAD):
        yield from ((many, many), (many, 0), (0, many))


_SKIPS = tuple(_skips())


def _opens(opening: Opening, personal: bytes) -> bool:
    try:
        return opening.commitment() == personal
    except EntryMalformedError:
        return False


def _finding(kind: FindingKind, place: int, detail: str, row: Placed | None) -> Finding:
    return Finding(kind, place, place, detail, event_id=row.event.event_id if row else None)
