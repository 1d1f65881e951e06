"""Which service a queue is of, whose page of it somebody reads, and who did what to a job."""

from collections.abc import Collection
from uuid import NAMESPACE_OID, uuid5

from admin.store import Store
from mesh import audit, idempotency
from mesh.errors import QueueNotFound
from mesh.idempotency import RequestKey
from mesh.identity import Principal
from mesh.paging import PageTokens


class QueueOwners:
    """What this service knows of the queues of `services`; the rest they know themselves."""

    def __init__(self, store: Store, services: Collection[str], pages: PageTokens) -> None:
        self._store = store
        self._services = services
        self._pages = pages

    def owner(self, queue: str) -> str:
        """The service whose queue this is. Raises QueueNotFound."""
        service = queue.partition(".")[0]
        if service not in self._services:
            raise QueueNotFound(queue=queue)
        return service

    def theirs(self, actor: Principal, queue: str, state: int, token: str) -> str:
        """The owner's page token in one of ours, '' for the first page. Raises PageTokenInvalid."""
        return self._pages.decode(token, scope=f"jobs:{actor}:{queue}:{state}") if token else ""

    def ours(self, actor: Principal, queue: str, state: int, token: str) -> str:
        """Our page token for one of the owner, who takes us for its caller; '' after the last page."""
        return self._pages.encode(token, scope=f"jobs:{actor}:{queue}:{state}") if token else ""

    async def record(self, request: RequestKey, resource: str, detail: dict[str, object]) -> None:
        """Writes down who did this, once, after the owner did.

        Should this process die in between, the owner's own audit row names the person, and the same request writes
        this one. Raises RequestIdReused.
        """
        async with self._store.transaction() as connection:
            if await idempotency.claim(connection, request, uuid5(NAMESPACE_OID, resource)) is None:
                await audit.record(connection, resource=resource, request_id=request.request_id, detail=detail)
