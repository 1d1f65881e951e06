"""Step: calls are taken from the caller's budget."""

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from mesh.errors import RateLimited
from mesh.identity import address_prefix, caller, client_address, metadata_of, set_address
from mesh.interceptors.step import Context, Step
from mesh.limits import RATES, Limiter
from mesh.policy import Policy


class LimitsStep(Step):
    """Limits each rate class by caller: a factory or service by its id, the public by address prefix."""

    def __init__(self, policies: Mapping[str, Policy], limiter: Limiter) -> None:
        super().__init__(policies)
        self._limiter = limiter

    def applies(self, policy: Policy) -> bool:
        """Not where the handler keeps the budget itself; audited calls need it for the address."""
        return policy.rate_class in RATES or policy.audited

    @asynccontextmanager
    async def around(self, policy: Policy, request: Any, context: Context) -> AsyncIterator[Any]:
        """Raises RateLimited."""
        prefix = address_prefix(client_address(metadata_of(context), context.peer()))
        set_address(prefix)
        rate = RATES.get(policy.rate_class)
        if rate is not None:
            who = prefix if policy.public else str(caller())
            wait = await self._limiter.take(f"{policy.rate_class}:{who}", rate)
            if wait > 0:
                raise RateLimited(retry_after=wait, seconds=math.ceil(wait))
        yield request
