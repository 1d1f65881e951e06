"""The queue methods of the canned server."""

from voketag.admin.v1 import job_pb2, job_pb2_grpc
from voketag.mesh.v1 import queue_pb2

from tests.acceptance.edge.canned_hooks import NOW, Context, Hooks

QUEUE = queue_pb2.Queue(pause_time=NOW, top_errors=[queue_pb2.JobError(last_time=NOW)])
STEP = queue_pb2.JobStep(start_time=NOW, end_time=NOW, action=queue_pb2.JOB_ACTION_RETRY)
JOB = queue_pb2.Job(state=queue_pb2.JOB_STATE_HELD, create_time=NOW, due_time=NOW, payload=b"1", history=[STEP])


class Jobs(job_pb2_grpc.JobServiceServicer, Hooks):
    """Answers with one queue and one job, and remembers the metadata of each call."""

    async def ListQueues(self, request: job_pb2.ListQueuesRequest, context: Context) -> job_pb2.ListQueuesResponse:
        self.seen(context)
        return job_pb2.ListQueuesResponse(queues=[QUEUE], unreachable=["factory"])

    async def PauseQueue(self, request: job_pb2.PauseQueueRequest, context: Context) -> job_pb2.PauseQueueResponse:
        self.seen(context)
        return job_pb2.PauseQueueResponse(queue=QUEUE)

    async def ResumeQueue(self, request: job_pb2.ResumeQueueRequest, context: Context) -> job_pb2.ResumeQueueResponse:
        self.seen(context)
        return job_pb2.ResumeQueueResponse(queue=QUEUE)

    async def ListJobs(self, request: job_pb2.ListJobsRequest, context: Context) -> job_pb2.ListJobsResponse:
        self.seen(context)
        return job_pb2.ListJobsResponse(jobs=[JOB], next_page_token=f"{request.page_size}")

    async def GetJob(self, request: job_pb2.GetJobRequest, context: Context) -> job_pb2.GetJobResponse:
        self.seen(context)
        return job_pb2.GetJobResponse(job=JOB)

    async def ChangeJob(self, request: job_pb2.ChangeJobRequest, context: Context) -> job_pb2.ChangeJobResponse:
        self.seen(context)
        return job_pb2.ChangeJobResponse(job=JOB)
