"""An admin before a queue: admin's server, factory's server, and the queue that a real worker works on."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from voketag.admin.v1 import job_pb2, job_pb2_grpc
from voketag.mesh.v1 import queue_pb2

from mesh.database import connect
from mesh.local.secrets import Secrets
from tests.databases import Databases
from tests.integration.admin.world import Door, Ground, Person
from tests.integration.factory.world import Ground as FactoryGround
from tests.integration.factory.world import eventually
from tests.servers import ValkeyAddress

QUEUE = "factory.work"
RETRY, CANCEL = queue_pb2.JOB_ACTION_RETRY, queue_pb2.JOB_ACTION_CANCEL
HOLD, RELEASE = queue_pb2.JOB_ACTION_HOLD, queue_pb2.JOB_ACTION_RELEASE
WAITING, RUNNING = queue_pb2.JOB_STATE_WAITING, queue_pb2.JOB_STATE_RUNNING
HELD, CANCELLED = queue_pb2.JOB_STATE_HELD, queue_pb2.JOB_STATE_CANCELLED


@dataclass
class Desk:
    """An admin before the queue, and the queue itself."""

    admin: Person
    door: Door
    pool: Any
    database: Any
    ground: Ground

    async def call(self, method: str, person: Person | None = None, **fields: Any) -> Any:
        message = getattr(job_pb2, f"{method}Request")
        if "request_id" in message.DESCRIPTOR.fields_by_name:
            fields.setdefault("request_id", str(uuid4()))
        if "queue" in message.DESCRIPTOR.fields_by_name:
            fields.setdefault("queue", QUEUE)
        stub: Any = job_pb2_grpc.JobServiceStub(self.door.channel)
        return await getattr(stub, method)(message(**fields), metadata=(person or self.admin).metadata, timeout=20)

    async def refused(self, method: str, person: Person | None = None, **fields: Any) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self.call(method, person, **fields)
        return error.value

    async def queue(self) -> queue_pb2.Queue:
        (found,) = [queue for queue in (await self.call("ListQueues")).queues if queue.name == QUEUE]
        return found

    async def only_job(self) -> queue_pb2.Job:
        (job,) = (await self.call("ListJobs")).jobs
        return (await self.call("GetJob", job_id=job.job_id)).job

    async def until(self, state: int) -> queue_pb2.Job:
        async def probe() -> queue_pb2.Job | None:
            job = await self.only_job()
            return job if job.state == state else None

        found = await eventually(probe)
        assert found is not None
        return found


@pytest_asyncio.fixture
async def desk(
    databases: Databases, valkey: ValkeyAddress, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Desk]:
    folder = tmp_path_factory.mktemp("queues")
    secrets = Secrets(folder / "secrets", os.urandom)
    secrets.make()
    async with databases.clone("admin", "factory") as database:
        ground = Ground(database, secrets, folder)
        async with (
            FactoryGround(database, valkey, secrets, folder).server() as factory,
            ground.server(factory_target=factory.target) as door,
            await connect(database.settings("factory"), schema="factory") as pool,
        ):
            await pool.execute("INSERT INTO job_queues (name) VALUES ('work')")  # as a worker's start does
            yield Desk(await door.admin(), door, pool, database, ground)
