"""Who may see which scans: a factory, and people of one, those of its products; everybody else of any."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from uuid import UUID

from mesh.admission import Admission
from mesh.errors import AccessDenied
from mesh.identity import Principal
from scan.watching import DayTotals, Seen, TopProduct, Watching


def own(principal: Principal) -> UUID | None:
    """The factory that calls, or that a person is of: they reach nothing of another. None for who reaches all."""
    return principal.uuid if principal.kind == "factory" else principal.factory_id


class Audience:
    """Shows callers what is theirs. A `factory_id` is the one that they ask for; None for all that they may see."""

    def __init__(self, watching: Watching, admission: Admission) -> None:
        self._watching = watching
        self._admission = admission

    async def watch(
        self, principal: Principal, factory_id: UUID | None, after: int | None, *, metadata: Mapping[str, str]
    ) -> AsyncGenerator[Seen, None]:
        """Scans as `Watching.watch` gives them, for as long as the credentials in `metadata` count.

        Raises AccessDenied, CredentialsInvalid, and what that raises.
        """
        async with aclosing(self._watching.watch(_shown(principal, factory_id), after)) as stretches:
            async for seen in stretches:
                await self._admission.check(metadata)
                yield seen

    async def today(self, principal: Principal, factory_id: UUID | None) -> DayTotals:
        """The scans of today. Raises AccessDenied, DependencyUnavailable."""
        return await self._watching.today(_shown(principal, factory_id))

    async def top(self, principal: Principal, factory_id: UUID | None, count: int) -> Sequence[TopProduct]:
        """The products that were scanned most. Raises AccessDenied, DependencyUnavailable."""
        return await self._watching.top(_shown(principal, factory_id), count)


def _shown(principal: Principal, factory_id: UUID | None) -> UUID | None:
    """Whose scans a caller is shown, None for everybody's. Raises AccessDenied."""
    mine = own(principal)
    if mine is None:
        return factory_id
    if factory_id not in (None, mine):
        raise AccessDenied
    return mine
