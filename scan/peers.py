"""The anchor service, as scan asks it."""

from uuid import UUID

import grpc
from grpc.aio import AioRpcError, Channel
from voketag.anchor.v1 import anchor_pb2, anchor_pb2_grpc

from mesh.errors import DependencyUnavailable
from scan import convert
from scan.proof import Proof

PROOF_SECONDS = 2.0


class AnchorPeer:
    """Asks over one channel; GetProof is public, so no credentials are shown."""

    def __init__(self, channel: Channel) -> None:
        self._stub = anchor_pb2_grpc.AnchorServiceStub(channel)

    async def proof(self, batch_id: UUID) -> Proof | None:
        """The proof of a batch; None when there is none yet. Raises DependencyUnavailable."""
        request = anchor_pb2.GetProofRequest(batch_id=str(batch_id))
        try:
            return convert.proof(await self._stub.GetProof(request, timeout=PROOF_SECONDS))
        except AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise DependencyUnavailable(dependency="the anchor service") from error
