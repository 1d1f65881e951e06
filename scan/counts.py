"""What Valkey tells of one scan, and the facts that the risk engine makes of it.

The function answers a scan with one string, and puts the same string into the stream beside what the process wrote of
the scan: the answer and the journal rest on the same bytes. functions/voketag_scan_v2.lua has the other side.
"""

import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

from scan.factors import Activity, Batch, Facts, ProductState, Reports
from scan.sessions import Place, pattern, unpack

MICROSECONDS = 1_000_000
PRODUCT = struct.Struct(">QQIIHHH")
BATCH = struct.Struct(">III")
HEAD = struct.Struct(">QQIIHHHHHHHHHHIIIH")


class History(NamedTuple):
    """Scans of a code so far, the one under way included if it is one.

    `first` is when the first was, in microseconds since 1970, 0 before it; `first_country` where, ISO 3166-1 alpha-2,
    '' when it is not known.
    """

    scans: int
    first: int = 0
    first_country: str = ""

    @property
    def first_at(self) -> datetime | None:
        """When the first was; None before it."""
        return datetime.fromtimestamp(self.first / MICROSECONDS, UTC) if self.first else None


class Counts(NamedTuple):
    """What was counted, the scan under way included; times in microseconds since 1970.

    What a device and its address prefix (`source`) did lately, and the batch around the product, are told number by
    number as `Activity` and `Batch` have them: a scan that is ordinary needs no more. `first_country` are the two ASCII
    letters of where the first scan came from as a number, 0 when that is not known. `sessions` are packed as
    `scan.sessions.pack` says; none when the caller was not known. Without a scan (`during_scan`) nobody was active.
    """

    now: int
    first: int
    scans: int
    opened: int
    reports_open: int
    reports_confirmed: int
    device_minute: int
    device_hour: int
    device_changes: int
    device_bad_tags: int
    source_minute: int
    source_hour: int
    source_changes: int
    source_bad_tags: int
    batch_products: int
    batch_abroad: int
    batch_sessions: int
    first_country: int
    sessions: bytes
    during_scan: bool

    @classmethod
    def read(cls, told: bytes) -> Self:
        """Out of the function's answer. Raises ValueError when it is none."""
        if len(told) < HEAD.size:
            raise ValueError(f"{len(told)} bytes are no counts")
        return cls._make((*HEAD.unpack_from(told), told[HEAD.size :], True))

    @classmethod
    def kept(cls, now: int, product: bytes | None, batch: bytes | None) -> Self:
        """Out of what Valkey keeps of a product and its batch, None where nothing is kept yet."""
        first, _, scans, opened, open_, confirmed, country = PRODUCT.unpack_from(product) if product else (0,) * 7
        sessions = product[PRODUCT.size :] if product else b""
        around = BATCH.unpack(batch) if batch else (0, 0, 0)
        return cls._make((now, first, scans, opened, open_, confirmed, *(0,) * 8, *around, country, sessions, False))

    @property
    def reports(self) -> Reports:
        """Reports on the product."""
        return Reports(self.reports_open, self.reports_confirmed)

    @property
    def batch(self) -> Batch:
        """The batch around the product."""
        return Batch(self.batch_products, self.batch_abroad, self.batch_sessions)

    @property
    def device(self) -> Activity | None:
        """What the device did."""
        return Activity(*self[6:10]) if self.during_scan else None

    @property
    def source(self) -> Activity | None:
        """What its address prefix did."""
        return Activity(*self[10:14]) if self.during_scan else None

    @property
    def history(self) -> History:
        """The scans of the code."""
        country = self.first_country.to_bytes(2).decode() if self.first and self.first_country else ""
        return History(self.scans, self.first, country)


class Circumstances(NamedTuple):
    """What the process knows of a scan before it is counted.

    `caller_known`: the day's salt was there, so that the caller has a device. `state` and `market` are the card's, None
    and '' without one; `place` is where the scan came from, as far as that is known. `barred`: our staff blocked the
    product or its batch; `cleared`: up to which second they cleared it of what was found, 0 if they did not.
    """

    caller_known: bool
    state: ProductState | None
    revoked: bool
    market: str
    place: Place | None
    barred: bool = False
    cleared: int = 0

    def to_dict(self, *, blocked: bool) -> dict[str, Any]:
        """As the journal keeps them; `blocked`: the code was BLOCKED whatever its scans look like."""
        return {
            "caller_known": self.caller_known,
            "state": self.state,
            "revoked": self.revoked,
            "market": self.market,
            "place": self.place and list(self.place),
            "blocked": blocked,
            **({"barred": self.barred, "cleared": self.cleared} if self.barred or self.cleared else {}),
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Self:
        """The reverse. Raises KeyError, TypeError, ValueError."""
        state, place = found["state"], found["place"]
        return cls(
            caller_known=bool(found["caller_known"]),
            state=ProductState(state) if state is not None else None,
            revoked=bool(found["revoked"]),
            market=str(found["market"]),
            place=Place(*place) if place is not None else None,
            barred=bool(found.get("barred")),
            cleared=int(found.get("cleared", 0)),
        )


def facts(circumstances: Circumstances, counts: Counts) -> Facts:
    """All that the risk engine looks at. Pure: the journal works it out again. Raises ValueError."""
    known, cleared = circumstances.caller_known, circumstances.cleared
    sessions = unpack(counts.sessions) if known else []
    if cleared:
        sessions = [session for session in sessions if session.at > cleared]
    return Facts(
        pattern=pattern(sessions, counts.now // MICROSECONDS) if known else None,
        sessions=counts.opened,
        batch=counts.batch if circumstances.state is not None else None,
        device=counts.device if known else None,
        source=counts.source,
        state=circumstances.state,
        revoked=circumstances.revoked,
        market=circumstances.market,
        place=circumstances.place,
        reports=counts.reports,
        barred=circumstances.barred,
        cleared=cleared,
    )
