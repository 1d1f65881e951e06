"""Other services, as admin asks them."""

from collections.abc import Awaitable
from typing import Any
from uuid import uuid5

import grpc
from grpc.aio import AioRpcError, Channel
from voketag.anchor.v1 import anchor_pb2, anchor_pb2_grpc
from voketag.mesh.v1 import queue_pb2 as pb
from voketag.mesh.v1 import queue_pb2_grpc

from mesh.errors import (
    AnchorConflict,
    DependencyUnavailable,
    JobNotFound,
    JobStateConflict,
    PageTokenInvalid,
    QueueNotFound,
    RequestIdReused,
)
from mesh.queue_service import QueueService
from mesh.relay import relayed
from trust.checkpoint import Checkpoint

SUBMIT_SECONDS = 5.0
CALL_SECONDS = 5.0
OF_QUEUES = (JobNotFound, JobStateConflict, PageTokenInvalid, QueueNotFound, RequestIdReused)


class AnchorPeer:
    """Asks over one channel, on which admin proves who it is."""

    def __init__(self, channel: Channel) -> None:
        self._stub = anchor_pb2_grpc.AnchorServiceStub(channel)

    async def submit(self, checkpoint: Checkpoint) -> None:
        """Hands in the root of a checkpoint, any number of times. Raises DependencyUnavailable, AnchorConflict."""
        subject_id = checkpoint.subject_id()
        request = anchor_pb2.SubmitRootRequest(
            request_id=str(uuid5(subject_id, "anchor.submit")),
            batch_id=str(subject_id),
            root=checkpoint.root,
            size=checkpoint.size,
        )
        try:
            await self._stub.SubmitRoot(request, timeout=SUBMIT_SECONDS)
        except AioRpcError as error:
            if error.code() is grpc.StatusCode.ALREADY_EXISTS:
                raise AnchorConflict(batch_id=subject_id) from error
            raise DependencyUnavailable(dependency=f"Anchor ({error.code().name})") from error


class QueueClient:
    """The queues of a service. All methods raise DependencyUnavailable and what the contract of QueueService names."""

    elsewhere = True
    """Whoever changes something there is to be written down here as well."""

    def __init__(self, channel: grpc.aio.Channel, service: str) -> None:
        self._stub: Any = queue_pb2_grpc.QueueServiceStub(channel)
        self._service = service

    async def queues(self) -> list[pb.Queue]:
        """All of them."""
        return list((await self._asked(self._stub.ListQueues(pb.ListQueuesRequest(), timeout=CALL_SECONDS))).queues)

    async def pause(self, request: pb.PauseQueueRequest) -> pb.Queue:
        """Pauses or resumes one."""
        queue: pb.Queue = (await self._asked(self._stub.PauseQueue(request, timeout=CALL_SECONDS))).queue
        return queue

    async def jobs(self, request: pb.ListJobsRequest) -> pb.ListJobsResponse:
        """A page of jobs."""
        page: pb.ListJobsResponse = await self._asked(self._stub.ListJobs(request, timeout=CALL_SECONDS))
        return page

    async def job(self, request: pb.GetJobRequest) -> pb.Job:
        """One job."""
        job: pb.Job = (await self._asked(self._stub.GetJob(request, timeout=CALL_SECONDS))).job
        return job

    async def change(self, request: pb.ChangeJobRequest) -> pb.Job:
        """One job changed."""
        job: pb.Job = (await self._asked(self._stub.ChangeJob(request, timeout=CALL_SECONDS))).job
        return job

    async def _asked(self, call: Awaitable[Any]) -> Any:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise relayed(error, self._service, OF_QUEUES) from error


class LocalQueues:
    """This service's own queues, which need no call: what QueueClient does."""

    elsewhere = False

    def __init__(self, service: QueueService) -> None:
        self._service = service

    async def queues(self) -> list[pb.Queue]:
        """All of them."""
        return list((await self._service.ListQueues(pb.ListQueuesRequest(), None)).queues)

    async def pause(self, request: pb.PauseQueueRequest) -> pb.Queue:
        """Pauses or resumes one."""
        return (await self._service.PauseQueue(request, None)).queue

    async def jobs(self, request: pb.ListJobsRequest) -> pb.ListJobsResponse:
        """A page of jobs."""
        return await self._service.ListJobs(request, None)

    async def job(self, request: pb.GetJobRequest) -> pb.Job:
        """One job."""
        return (await self._service.GetJob(request, None)).job

    async def change(self, request: pb.ChangeJobRequest) -> pb.Job:
        """One job changed."""
        return (await self._service.ChangeJob(request, None)).job
