"""The anchor service as the worker sees it: roots go in, final roots come out."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid5

import grpc
from voketag.anchor.v1 import anchor_pb2, anchor_pb2_grpc

from factory.batch import Batch, BatchAnchor
from factory.store import FinalRoot
from mesh.errors import AnchorConflict, DependencyUnavailable

SUBMIT_SECONDS = 10.0
AWAY = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


def _final(anchor: anchor_pb2.Anchor) -> FinalRoot:
    place = anchor.location
    location = BatchAnchor(place.chain_id, place.contract, place.transaction, place.block_number)
    return FinalRoot(UUID(anchor.batch_id), anchor.root, location)


def _named(error: grpc.aio.AioRpcError, batch_id: UUID) -> Exception:
    if error.code() in AWAY:
        return DependencyUnavailable(dependency="Anchor")
    if error.code() is grpc.StatusCode.ALREADY_EXISTS:
        return AnchorConflict(batch_id=batch_id)
    return error


class AnchorClient:
    """Calls the anchor service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: Any = anchor_pb2_grpc.AnchorServiceStub(channel)

    async def submit(self, batch: Batch) -> FinalRoot | None:
        """Hands in a batch's root, any number of times; the final root when it is final already.

        Raises DependencyUnavailable, AnchorConflict.
        """
        request = anchor_pb2.SubmitRootRequest(
            request_id=str(uuid5(batch.batch_id, "anchor.submit")),
            batch_id=str(batch.batch_id),
            root=batch.root or b"",
            size=batch.product_count,
        )
        try:
            answer = await self._stub.SubmitRoot(request, timeout=SUBMIT_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise _named(error, batch.batch_id) from error
        return _final(answer.anchor) if answer.anchor.state == anchor_pb2.ANCHOR_STATE_FINAL else None

    async def finality(self, after: int) -> AsyncIterator[tuple[int, list[FinalRoot]]]:
        """Roots that became final after a position, in order, each group with its position, without end.

        Raises DependencyUnavailable, whatever the answer was: there is nothing to do but to ask again.
        """
        try:
            async for answer in self._stub.WatchFinality(anchor_pb2.WatchFinalityRequest(after_position=after)):
                yield answer.position, [_final(anchor) for anchor in answer.anchors]
        except grpc.aio.AioRpcError as error:
            raise DependencyUnavailable(dependency=f"Anchor ({error.code().name})") from error
