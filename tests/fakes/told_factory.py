"""The factory service of the contract as far as it is told of suspicions, over real gRPC; it can hang and refuse."""

import asyncio
from enum import Enum

import grpc
from grpc.aio import ServicerContext
from voketag.factory.v1 import webhook_pb2 as pb
from voketag.factory.v1 import webhook_pb2_grpc


class Mood(Enum):
    ANSWERS = "answers"
    HANGS = "hangs"
    REFUSES = "refuses"


class ToldFactory(webhook_pb2_grpc.WebhookServiceServicer):
    """Remembers what it was told, on a port that it was given."""

    def __init__(self, port: int) -> None:
        self.target = f"127.0.0.1:{port}"
        self.mood = Mood.ANSWERS
        self.told: list[pb.RaiseFraudSuspectedRequest] = []
        self._server = grpc.aio.server()

    async def start(self) -> None:
        webhook_pb2_grpc.add_WebhookServiceServicer_to_server(self, self._server)
        assert self._server.add_insecure_port(self.target)
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(0)

    async def RaiseFraudSuspected(
        self,
        request: pb.RaiseFraudSuspectedRequest,
        context: ServicerContext[pb.RaiseFraudSuspectedRequest, pb.RaiseFraudSuspectedResponse],
    ) -> pb.RaiseFraudSuspectedResponse:
        self.told.append(request)
        if self.mood is Mood.HANGS:
            await asyncio.Event().wait()
        if self.mood is Mood.REFUSES:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such product")
        return pb.RaiseFraudSuspectedResponse(event_id=request.product_id)
