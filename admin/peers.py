"""The anchor service, as admin asks it."""

from uuid import uuid5

import grpc
from grpc.aio import AioRpcError, Channel
from voketag.anchor.v1 import anchor_pb2, anchor_pb2_grpc

from mesh.errors import AnchorConflict, DependencyUnavailable
from trust.checkpoint import Checkpoint

SUBMIT_SECONDS = 5.0


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
