"""QueueService: a service's queues, for the admin service."""

from datetime import datetime
from typing import Any
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from voketag.mesh.v1 import queue_pb2 as pb
from voketag.mesh.v1 import queue_pb2_grpc

from mesh.idempotency import RequestKey
from mesh.identity import caller
from mesh.queues import JobAction, JobState, Queue, QueuedJob, Queues

_SERVICE = "/voketag.mesh.v1.QueueService/"


class QueueService(queue_pb2_grpc.QueueServiceServicer):
    """See proto/voketag/mesh/v1/queue.proto."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    async def ListQueues(self, request: pb.ListQueuesRequest, context: Any) -> pb.ListQueuesResponse:
        """All queues."""
        return pb.ListQueuesResponse(queues=map(queue_message, await self._queues.list()))

    async def PauseQueue(self, request: pb.PauseQueueRequest, context: Any) -> pb.PauseQueueResponse:
        """Pauses a queue or resumes it."""
        key = RequestKey.of(f"{_SERVICE}PauseQueue", request.request_id, request)
        queue = await self._queues.pause(key, request.queue, request.actor, paused=not request.resume)
        return pb.PauseQueueResponse(queue=queue_message(queue))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        """A page of jobs."""
        state = pb.JobState.Name(request.state).removeprefix("JOB_STATE_")
        jobs, more = await self._queues.jobs(
            request.queue,
            JobState[state] if request.state else None,
            caller=str(caller()),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListJobsResponse(jobs=map(job_message, jobs), next_page_token=more)

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:
        """A job with its history."""
        return pb.GetJobResponse(job=job_message(await self._queues.job(request.queue, UUID(request.job_id))))

    async def ChangeJob(self, request: pb.ChangeJobRequest, context: Any) -> pb.ChangeJobResponse:
        """Retries, cancels, holds or releases a job."""
        key = RequestKey.of(f"{_SERVICE}ChangeJob", request.request_id, request)
        action = JobAction(pb.JobAction.Name(request.action).removeprefix("JOB_ACTION_"))
        job = await self._queues.change(key, request.queue, UUID(request.job_id), action, request.actor)
        return pb.ChangeJobResponse(job=job_message(job))


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def queue_message(queue: Queue) -> pb.Queue:
    """A queue."""
    return pb.Queue(
        name=queue.name,
        waiting_count=queue.waiting,
        deferred_count=queue.deferred,
        running_count=queue.running,
        held_count=queue.held,
        oldest_seconds=queue.oldest,
        done_count=queue.done,
        failed_count=queue.failed,
        failed_rate=queue.failed / max(queue.done + queue.failed, 1),
        top_errors=[pb.JobError(text=e.text, count=e.count, last_time=_timestamp(e.last_at)) for e in queue.errors],
        pause_time=_timestamp(queue.paused_at),
        paused_by=queue.paused_by or "",
    )


def job_message(job: QueuedJob) -> pb.Job:
    """A job."""
    return pb.Job(
        job_id=str(job.job_id),
        queue=job.queue,
        state=pb.JobState.Value(f"JOB_STATE_{job.state.name}"),
        priority=job.priority,
        attempts=job.attempts,
        create_time=_timestamp(job.created_at),
        due_time=_timestamp(job.due_at),
        cancelled_by=job.cancelled_by,
        payload=job.payload,
        history=map(_step, job.history),
    )


def _step(step: dict[str, Any]) -> pb.JobStep:
    action = step.get("action")
    return pb.JobStep(
        number=step["number"],
        start_time=_timestamp(datetime.fromisoformat(step["began"])),
        end_time=_timestamp(datetime.fromisoformat(step["ended"])) if "ended" in step else None,
        error=step.get("error", ""),
        action=pb.JobAction.Value(f"JOB_ACTION_{action}") if action else pb.JOB_ACTION_UNSPECIFIED,
        actor=step.get("by", ""),
    )
