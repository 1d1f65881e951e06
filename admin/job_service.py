"""JobService: the queues of all services, for people."""

import asyncio
from collections.abc import Mapping
from typing import Any

from voketag.admin.v1 import job_pb2 as pb
from voketag.admin.v1 import job_pb2_grpc
from voketag.mesh.v1 import queue_pb2

from admin.peers import LocalQueues, QueueClient
from admin.queue_owners import QueueOwners
from mesh.errors import DependencyUnavailable
from mesh.idempotency import RequestKey
from mesh.identity import caller

_SERVICE = "/voketag.admin.v1.JobService/"


class JobService(job_pb2_grpc.JobServiceServicer):
    """See proto/voketag/admin/v1/job.proto."""

    def __init__(self, owners: QueueOwners, clients: Mapping[str, QueueClient | LocalQueues]) -> None:
        self._owners = owners
        self._clients = clients

    async def ListQueues(self, request: pb.ListQueuesRequest, context: Any) -> pb.ListQueuesResponse:
        """The queues of all services that answer."""
        asked = [client.queues() for client in self._clients.values()]
        answer = pb.ListQueuesResponse()
        for service, found in zip(self._clients, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            if isinstance(found, DependencyUnavailable):
                answer.unreachable.append(service)
            elif isinstance(found, BaseException):
                raise found
            else:
                answer.queues.extend(found)
        return answer

    async def PauseQueue(self, request: pb.PauseQueueRequest, context: Any) -> pb.PauseQueueResponse:
        """Pauses a queue."""
        key = RequestKey.of(f"{_SERVICE}PauseQueue", request.request_id, request)
        return pb.PauseQueueResponse(queue=await self._pause(key, request.queue, paused=True))

    async def ResumeQueue(self, request: pb.ResumeQueueRequest, context: Any) -> pb.ResumeQueueResponse:
        """Lets it go on."""
        key = RequestKey.of(f"{_SERVICE}ResumeQueue", request.request_id, request)
        return pb.ResumeQueueResponse(queue=await self._pause(key, request.queue, paused=False))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        """A page of jobs."""
        who, queue, state = caller(), request.queue, request.state
        page = await self._client(queue).jobs(
            queue_pb2.ListJobsRequest(
                queue=queue,
                state=state,
                page_size=request.page_size,
                page_token=self._owners.theirs(who, queue, state, request.page_token),
            )
        )
        more = self._owners.ours(who, queue, state, page.next_page_token)
        return pb.ListJobsResponse(jobs=page.jobs, next_page_token=more)

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:
        """A job with its history."""
        asked = queue_pb2.GetJobRequest(queue=request.queue, job_id=request.job_id)
        return pb.GetJobResponse(job=await self._client(request.queue).job(asked))

    async def ChangeJob(self, request: pb.ChangeJobRequest, context: Any) -> pb.ChangeJobResponse:
        """Retries, cancels, holds or releases a job."""
        key = RequestKey.of(f"{_SERVICE}ChangeJob", request.request_id, request)
        client = self._client(request.queue)
        job = await client.change(
            queue_pb2.ChangeJobRequest(
                request_id=request.request_id,
                queue=request.queue,
                job_id=request.job_id,
                action=request.action,
                actor=str(caller()),
            )
        )
        action = queue_pb2.JobAction.Name(request.action).removeprefix("JOB_ACTION_")
        if client.elsewhere:
            await self._owners.record(key, f"job/{request.job_id}", {"queue": request.queue, "action": action})
        return pb.ChangeJobResponse(job=job)

    def _client(self, queue: str) -> QueueClient | LocalQueues:
        return self._clients[self._owners.owner(queue)]

    async def _pause(self, key: RequestKey, name: str, *, paused: bool) -> queue_pb2.Queue:
        client = self._client(name)
        queue = await client.pause(
            queue_pb2.PauseQueueRequest(
                request_id=str(key.request_id), queue=name, resume=not paused, actor=str(caller())
            )
        )
        if client.elsewhere:
            await self._owners.record(key, f"queue/{name}", {"paused": paused})
        return queue
