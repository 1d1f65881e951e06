"""A client of the bulk stream: bounded in flight, and resumed after a break where the last acknowledgement left it."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import grpc
from voketag.factory.v1 import factory_pb2

from mesh.interceptors.errors import STATUS_KEY

if TYPE_CHECKING:
    from voketag.factory.v1.factory_pb2_grpc import FactoryServiceAsyncStub

CHUNK_ROWS = 1_000
WINDOW_CHUNKS = 8
TRIES = 8
BACKOFF_SECONDS, LONGEST_SECONDS = 0.25, 4.0

Rows = Callable[[int], Iterator[factory_pb2.ImportRow]]
"""Gives the rows from a number on; called again after a break."""

OnAck = Callable[[factory_pb2.ImportAck], None]


def broken_off(error: grpc.aio.AioRpcError) -> bool:
    """True when the connection ended and not the import: the same call may go well on another one.

    An error that VokeTag answers carries its reason (docs/errors.md). One without is a proxy's or gRPC's own, such as
    INTERNAL for a stream that was reset.
    """
    answered = STATUS_KEY in dict(error.trailing_metadata() or ())
    return error.code() is grpc.StatusCode.UNAVAILABLE or not answered


class Importer:
    """Imports one batch for the factory whose API key it is. Every row is acknowledged, in order, and none twice."""

    def __init__(self, stub: "FactoryServiceAsyncStub", key: str, header: factory_pb2.ImportHeader) -> None:
        self._stub = stub
        self._metadata = (("x-api-key", key),)
        self._header = header
        self._acknowledged: int | None = None
        self.url_prefix = ""

    async def run(self, rows: Rows, on_ack: OnAck) -> factory_pb2.Batch:
        """The batch, ordered. Raises grpc.aio.AioRpcError when the server refuses, or stays away for 8 tries."""
        failed = 0
        while True:
            known = self._acknowledged
            try:
                return await self._stream(rows, on_ack)
            except grpc.aio.AioRpcError as error:
                failed = 1 if self._acknowledged != known else failed + 1
                if not broken_off(error) or failed == TRIES:
                    raise
            await asyncio.sleep(min(BACKOFF_SECONDS * 2**failed, LONGEST_SECONDS))

    async def _stream(self, rows: Rows, on_ack: OnAck) -> factory_pb2.Batch:
        # The key goes along as metadata: a client interceptor on a stream that is written leaves a generator running.
        call = self._stub.ImportProducts(metadata=self._metadata)
        await call.write(factory_pb2.ImportProductsRequest(header=self._header))
        answer = await call.read()
        assert isinstance(answer, factory_pb2.ImportProductsResponse), "an early end raises AioRpcError"
        self.url_prefix = answer.opened.url_prefix
        if self._acknowledged is None:
            self._acknowledged = answer.opened.next_row
        window = asyncio.Semaphore(WINDOW_CHUNKS)
        # From the last acknowledgement and not from what is committed: tokens that were never received come again.
        sending = asyncio.create_task(self._send(call, rows, self._acknowledged, window))
        try:
            while isinstance(response := await call.read(), factory_pb2.ImportProductsResponse):
                if response.HasField("completed"):
                    batch: factory_pb2.Batch = response.completed.batch
                    return batch
                on_ack(response.ack)
                self._acknowledged += len(response.ack.tokens) + len(response.ack.errors)
                window.release()
            raise EOFError("the server ended the import without completing it")
        except asyncio.CancelledError:
            if sending.done() and not sending.cancelled() and (error := sending.exception()):
                raise error from None  # the sender failed and cancelled the call
            raise
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            call.cancel()

    async def _send(
        self,
        call: "grpc.aio.StreamStreamCall[factory_pb2.ImportProductsRequest, factory_pb2.ImportProductsResponse]",
        rows: Rows,
        first: int,
        window: asyncio.Semaphore,
    ) -> None:
        remaining = rows(first)
        try:
            while chunk := list(islice(remaining, CHUNK_ROWS)):
                await window.acquire()
                frame = factory_pb2.ImportChunk(first_row=first, rows=chunk)
                await call.write(factory_pb2.ImportProductsRequest(chunk=frame))
                first += len(chunk)
            await call.write(factory_pb2.ImportProductsRequest(end=factory_pb2.ImportEnd(row_count=first)))
            await call.done_writing()
        except BaseException:
            call.cancel()
            raise
