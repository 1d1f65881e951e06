"""Time and ids, passed in so that tests can choose them."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

import uuid_utils
from uuid_utils.compat import uuid7

IdSource = Callable[[], UUID]
"""Gives UUIDv7 (RFC 9562), each greater than the one before."""

new_id: IdSource = uuid7


def new_raw_id() -> bytes:
    """The same as 16 bytes, in a fifth of the time."""
    return uuid_utils.uuid7().bytes


class Clock(Protocol):
    """What time it is."""

    def now(self) -> datetime:
        """Wall clock, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """Wall clock, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()
