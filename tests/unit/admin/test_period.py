"""Periods: their spans, and the days that they touch."""

from datetime import UTC, date, datetime, timedelta

import pytest

from admin.counting import DAY, EVERYBODY, HOUR
from admin.period import Period
from mesh.errors import PeriodNotKept, ValidationFailed

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def period(grain: str, since: datetime, until: datetime) -> Period:
    return Period.of(grain, since, until, factory_id=EVERYBODY, now=NOW)


def test_a_period_of_hours_touches_whole_days() -> None:
    found = period(HOUR, datetime(2026, 2, 27, 23, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC))
    assert len(list(found.spans())) == 25
    assert found.days == (date(2026, 2, 27), date(2026, 3, 1))


def test_the_last_thirty_days_end_with_today() -> None:
    found = Period.lately(NOW, EVERYBODY)
    assert list(found.spans())[-1] == datetime(2026, 3, 1, tzinfo=UTC)
    assert len(list(found.spans())) == 30


def test_every_rule_that_is_broken_is_named() -> None:
    with pytest.raises(ValidationFailed) as error:
        period(DAY, NOW, NOW - timedelta(days=1))
    assert [violation.field for violation in error.value.violations] == ["from_time", "to_time", "to_time"]


def test_hours_are_told_from_the_first_whole_one_that_is_kept() -> None:
    long_ago = datetime(2025, 11, 1, tzinfo=UTC)
    with pytest.raises(PeriodNotKept) as error:
        period(HOUR, long_ago, long_ago + timedelta(hours=1))
    since = datetime.fromisoformat(error.value.metadata["since"])
    assert since == datetime(2025, 11, 28, 13, tzinfo=UTC)
    period(HOUR, since, since + timedelta(hours=1))
