"""Whether a server we stand on is there: one log line for each change, and a metric."""

import structlog
from prometheus_client import Gauge

UP = Gauge("voketag_dependency_up", "1 while the dependency answers, 0 while it is away.", ["dependency"])

log = structlog.get_logger()


class Presence:
    """What is known of one dependency; taken to be there until it is found away."""

    def __init__(self, dependency: str) -> None:
        self._dependency = dependency
        self._up = UP.labels(dependency)
        self._up.set(1)
        self.is_here = True

    def here(self) -> None:
        """It answered."""
        if not self.is_here:
            self.is_here = True
            self._up.set(1)
            log.info("dependency is back", dependency=self._dependency)

    def away(self, reason: object) -> None:
        """It did not answer, or not with what was asked for."""
        if self.is_here:
            self.is_here = False
            self._up.set(0)
            log.warning("dependency is away", dependency=self._dependency, reason=str(reason))

    def forget(self) -> None:
        """It is none of ours any more."""
        UP.remove(self._dependency)
