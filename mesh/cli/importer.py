"""A client of the bulk stream: bounded in flight, and resumed after a break where the last acknowledgement left it."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import grpc
from voketag.factory.v1 import factory_pb2

if TYPE_CHECKING:
    from voketag.factory.v1.factory_pb2_grpc import FactoryServiceAsyncStub

CHUNK_ROWS = 1_000
WINDOW_CHUNKS = 8
TRIES = 5
BACKOFF_SECONDS = 0.25

Rows = Callable[[int], Iterator[factory_pb2.ImportRow]]
"""Gives the rows from a number on; called again after a break."""

OnAck = Callable[[factory_pb2.ImportAck], None]


class Importer:
    """Imports one batch. Each row is acknowledged at least once, in order."""

    def __init__(self, stub: "FactoryServiceAsyncStub", header: factory_pb2.ImportHeader) -> None:
        self._stub = stub
        self._header = header
        self.url_prefix = ""

    async def run(self, rows: Rows, on_ack: OnAck) -> factory_pb2.Batch:
        """The batch, ordered. Raises grpc.aio.AioRpcError when the server refuses, or stays away for 5 tries."""
        failed = 0
        while True:
            try:
                return await self._stream(rows, on_ack)
            except grpc.aio.AioRpcError as error:
                failed += 1
                if error.code() is not grpc.StatusCode.UNAVAILABLE or failed == TRIES:
                    raise
            await asyncio.sleep(BACKOFF_SECONDS * 2**failed)

    async def _stream(self, rows: Rows, on_ack: OnAck) -> factory_pb2.Batch:
        call = self._stub.ImportProducts()
        await call.write(factory_pb2.ImportProductsRequest(header=self._header))
        answer = await call.read()
        assert isinstance(answer, factory_pb2.ImportProductsResponse), "an early end raises AioRpcError"
        opened = answer.opened
        self.url_prefix = opened.url_prefix
        if opened.batch.state != factory_pb2.BATCH_STATE_RECEIVING:
            call.cancel()
            return opened.batch
        window = asyncio.Semaphore(WINDOW_CHUNKS)
        sending = asyncio.create_task(self._send(call, rows, opened.next_row, window))
        try:
            async for response in call:
                if response.HasField("completed"):
                    return response.completed.batch
                on_ack(response.ack)
                window.release()
            await sending
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
