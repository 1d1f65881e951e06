"""When standing jobs are due: by the wall clock, the same for every worker."""

from dataclasses import dataclass
from datetime import datetime

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """Due every `every` seconds from midnight UTC plus `at` seconds; `every` divides a day."""

    every: float
    at: float = 0.0

    def after(self, now: datetime) -> float:
        """Seconds until it is due next, more than 0."""
        return self.every - (now.timestamp() - self.at) % self.every
