"""A clock that a test turns by hand."""

from datetime import UTC, datetime


class HandClock:
    """Stands still until `seconds` is changed."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def monotonic(self) -> float:
        return self.seconds
