"""How many attempts are made at one endpoint at a time, and when the next one comes to its turn."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from mesh.clock import Clock

WIDTH = 8
"""Attempts at one endpoint by one worker at a time, so that a slow one leaves room for others."""

GUESSED_SECONDS, LEAST_SECONDS = 1.0, 0.05
LONGEST_SECONDS = 300.0


@dataclass(slots=True)
class _Lane:
    under_way: int = 0
    seconds: float = GUESSED_SECONDS
    free_at: float = 0.0


class Lanes:
    """A lane for each endpoint. Whoever finds it full learns when to come back, each a little later than the last:

    jobs that wait for a slow endpoint are not looked at over and over, and a fast one is not kept waiting.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lanes: dict[UUID, _Lane] = {}

    def wait(self, endpoint_id: UUID) -> float:
        """0 while there is room; else the seconds to wait, by how long the last attempt took, at most five minutes."""
        lane = self._lanes.get(endpoint_id)
        if lane is None or lane.under_way < WIDTH:
            return 0.0
        now = self._clock.monotonic()
        turn = max(lane.free_at, now) + max(lane.seconds, LEAST_SECONDS) / WIDTH
        lane.free_at = min(turn, now + LONGEST_SECONDS)
        return lane.free_at - now

    @contextmanager
    def attempt(self, endpoint_id: UUID) -> Iterator[None]:
        """One attempt under way."""
        lane = self._lanes.setdefault(endpoint_id, _Lane())
        lane.under_way += 1
        began = self._clock.monotonic()
        try:
            yield
        finally:
            lane.seconds = self._clock.monotonic() - began
            lane.under_way -= 1
            if not lane.under_way:
                del self._lanes[endpoint_id]
