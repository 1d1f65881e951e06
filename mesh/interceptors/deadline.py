"""Step: calls end before their caller stops listening, so that the inner step can still say what it waited for."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from mesh.errors import DeadlineExceeded
from mesh.interceptors.step import Context, Step
from mesh.policy import Policy

SHAVE = 0.02


class DeadlineStep(Step):
    """Gives the handler the caller's deadline less 20 ms; a unary call without one gets the default."""

    def __init__(self, policies: Mapping[str, Policy], *, default_seconds: float) -> None:
        super().__init__(policies)
        self._default = default_seconds

    @asynccontextmanager
    async def around(self, policy: Policy, request: Any, context: Context) -> AsyncIterator[Any]:
        """Raises DeadlineExceeded."""
        remaining = context.time_remaining()
        if remaining is None and not (policy.request_streaming or policy.response_streaming):
            remaining = self._default
        if remaining is None:
            yield request
            return
        limit = asyncio.timeout(max(remaining - SHAVE, 0))
        try:
            async with limit:
                yield request
        except TimeoutError:
            if limit.expired():
                raise DeadlineExceeded from None
            raise
