"""Step: an audited call that succeeds has written its audit row."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mesh.audit import open_ledger
from mesh.interceptors.step import Context, Step
from mesh.policy import Policy


class AuditMissingError(Exception):
    """A mutation was committed without an audit row: a mistake in its store."""


class AuditStep(Step):
    """Opens the call's account and looks that it was settled."""

    def applies(self, policy: Policy) -> bool:
        """Only for methods that the contract marks as audited."""
        return policy.audited

    @asynccontextmanager
    async def around(self, policy: Policy, request: Any, context: Context) -> AsyncIterator[Any]:
        """Raises AuditMissingError, which leaves as INTERNAL."""
        del context
        ledger = open_ledger(policy.method)
        yield request
        if not ledger.settled:
            raise AuditMissingError(policy.method)
