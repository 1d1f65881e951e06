"""A period of whole hours or days (UTC) that figures are told of."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from admin.counting import DAY, EVERYBODY, HOUR, midnight
from admin.rollups import HOURS_KEPT
from mesh.error import FieldViolation
from mesh.errors import PeriodNotKept, ValidationFailed

LENGTHS = {HOUR: timedelta(hours=1), DAY: timedelta(days=1)}
LONGEST = {HOUR: timedelta(days=31), DAY: timedelta(days=400)}
SHOWN_DAYS = 30


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` on and before `until`, in spans of an hour or a day, of a factory or EVERYBODY."""

    grain: str
    since: datetime
    until: datetime
    factory_id: UUID = EVERYBODY

    @classmethod
    def of(cls, grain: str, since: datetime, until: datetime, *, factory_id: UUID, now: datetime) -> "Period":
        """Raises ValidationFailed, PeriodNotKept."""
        length = LENGTHS[grain]
        rules = (
            ("from_time", not _rest(since, length), f"has to be the beginning of a whole {grain} (UTC)"),
            ("to_time", not _rest(until, length), f"has to be the end of a whole {grain} (UTC)"),
            ("to_time", since < until, "has to be after from_time"),
            ("to_time", until - since <= LONGEST[grain], f"at most {LONGEST[grain].days} days by {grain}"),
        )
        wrong = tuple(FieldViolation(field, "period", text) for field, fits, text in rules if not fits)
        if wrong:
            raise ValidationFailed(violations=wrong, summary="; ".join(f"{v.field}: {v.description}" for v in wrong))
        kept = now - HOURS_KEPT
        if grain == HOUR and since < kept:
            raise PeriodNotKept(since=(kept - _rest(kept, length) + length).isoformat())
        return cls(grain, since, until, factory_id)

    @classmethod
    def lately(cls, now: datetime, factory_id: UUID) -> "Period":
        """Today and the days before it, SHOWN_DAYS in all."""
        until = midnight(now.date()) + timedelta(days=1)
        return cls(DAY, until - timedelta(days=SHOWN_DAYS), until, factory_id)

    def spans(self) -> Iterator[datetime]:
        """When each hour or day begins."""
        moment = self.since
        while moment < self.until:
            yield moment
            moment += LENGTHS[self.grain]

    @property
    def days(self) -> tuple[date, date]:
        """The first of the days that it touches, and the one after the last."""
        return self.since.date(), (self.until - timedelta.resolution).date() + timedelta(days=1)


def _rest(moment: datetime, length: timedelta) -> timedelta:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) % length
