"""The queues of every service, as the admin server shows them."""

from typing import Any

from voketag.admin.v1 import job_pb2, job_pb2_grpc

from admin.config import AdminSettings
from admin.job_service import JobService
from admin.peers import LocalQueues, QueueClient
from admin.queue_owners import QueueOwners
from admin.store import Store
from mesh.client import peer
from mesh.clock import Clock
from mesh.identity import ServiceTokens
from mesh.jobs import Jobs
from mesh.paging import PageTokens
from mesh.queue_service import QueueService
from mesh.queues import Queues


class JobParts:
    """JobService, and the channels to those whose queues it shows beside our own."""

    def __init__(self, settings: AdminSettings, store: Store, pages: PageTokens, clock: Clock) -> None:
        tokens = ServiceTokens("admin", settings.service_key.get_secret_value(), clock)
        self._channels = {"factory": peer(settings.factory_target, tokens=tokens, service="factory")}
        own = QueueService(Queues("admin", Jobs("admin").table, store.transaction, pages))
        clients: dict[str, QueueClient | LocalQueues] = {"admin": LocalQueues(own)}
        clients |= {service: QueueClient(channel, service) for service, channel in self._channels.items()}
        service = JobService(QueueOwners(store, clients.keys(), pages), clients)
        self.contracts: list[Any] = [job_pb2]
        self.register: list[Any] = [(job_pb2_grpc.add_JobServiceServicer_to_server, service)]

    async def close(self) -> None:
        """Ends what it holds open to others."""
        for channel in self._channels.values():
            await channel.close()
