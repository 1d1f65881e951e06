"""A limiter that lets everybody pass: tests side by side share their callers, whose budgets are not what they test."""

from mesh.limits import Rate


class Boundless:
    """See mesh.limits.Limiter."""

    async def take(self, key: str, rate: Rate) -> float:
        del key, rate
        return 0.0
