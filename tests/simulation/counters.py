"""What Valkey counts, in plain Python: the reference that the functions are written from and compared with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from scan.factors import Activity, Batch
from scan.sessions import DAY, SESSIONS_KEPT, SESSIONS_PER_SOURCE, Place, Session

MOST = 65_535


class Caller(NamedTuple):
    """Who scans: hashes under the day's salt, 32 bits of the device, 16 of the address prefix; and from where."""

    device: int
    source: int
    place: Place | None


class Seen(NamedTuple):
    """A product after a scan: scans, sessions ever opened, whether this scan opened one, the last 24, oldest first."""

    scans: int
    opened: int
    new: bool
    sessions: Sequence[Session]


@dataclass(slots=True)
class Product:
    """One key a product."""

    scans: int = 0
    opened: int = 0
    sessions: list[Session] = field(default_factory=list)

    def scan(self, at: int, caller: Caller) -> Seen:
        """Goes on with the session of the same device in the same place within a day, or opens one.

        A source opens at most three a day: behind one address there may be a crowd, or one person who empties cookies.
        """
        self.scans += 1
        session = Session(at, *caller)
        from_source, new = 0, True
        for index, before in enumerate(self.sessions):
            if before.at <= at - DAY:
                continue
            if before.device == caller.device and before.place == caller.place:
                del self.sessions[index]
                self.sessions.append(session)
                return Seen(self.scans, self.opened, False, tuple(self.sessions))
            from_source += before.source == caller.source
        new = from_source < SESSIONS_PER_SOURCE
        if new:
            self.opened += 1
            self.sessions.append(session)
            del self.sessions[:-SESSIONS_KEPT]
        return Seen(self.scans, self.opened, new, tuple(self.sessions))


@dataclass(slots=True)
class CallerKey:
    """One key a device, and one an address prefix: minute and hour of the clock, forgotten with the hour."""

    minute: int = -1
    hour: int = -1
    in_minute: int = 0
    in_hour: int = 0
    changes: int = 0
    bad_tags: int = 0
    last: int = -1

    def scan(self, at: int, product: int) -> Activity:
        """A scan of one of our codes; `product` is any number that tells products apart."""
        self._turn(at)
        self.in_minute = min(self.in_minute + 1, MOST)
        self.in_hour = min(self.in_hour + 1, MOST)
        if self.last not in (-1, product):
            self.changes = min(self.changes + 1, MOST)
        self.last = product
        return Activity(self.in_minute, self.in_hour, self.changes, self.bad_tags)

    def bad_tag(self, at: int) -> None:
        """A code that is not ours."""
        self._turn(at)
        self.bad_tags = min(self.bad_tags + 1, MOST)

    def _turn(self, at: int) -> None:
        if at // 3_600 != self.hour:
            self.hour, self.in_hour, self.changes, self.bad_tags, self.last = at // 3_600, 0, 0, 0, -1
        if at // 60 != self.minute:
            self.minute, self.in_minute = at // 60, 0


@dataclass(slots=True)
class BatchKey:
    """One row or key a batch; it may run a minute behind the scans."""

    products: int = 0
    abroad: int = 0
    sessions: int = 0

    def scan(self, seen: Seen, *, abroad: bool) -> Batch:
        """Counts what a scan of one of its products opened; `abroad` is looked at when it was the product's first."""
        if seen.new:
            self.sessions += 1
            if seen.opened == 1:
                self.products += 1
                self.abroad += abroad
        return Batch(self.products, self.abroad, self.sessions)
