"""The anchor and the factory service, as scan asks them."""

from uuid import UUID, uuid5

import grpc
from grpc.aio import AioRpcError, Channel
from voketag.anchor.v1 import anchor_pb2, anchor_pb2_grpc
from voketag.factory.v1 import webhook_pb2, webhook_pb2_grpc

from mesh.errors import AnchorConflict, DependencyUnavailable
from scan import convert
from scan.proof import Proof
from scan.suspicion import RefusedError, Suspicion
from trust.checkpoint import Checkpoint

PROOF_SECONDS = 2.0
SUBMIT_SECONDS = 5.0
REFUSALS = frozenset({grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION})
VERDICTS = {2: "SUSPICIOUS", 3: "LIKELY_COPY"}


class AnchorPeer:
    """Asks over one channel; GetProof is public, SubmitRoot wants one on which scan proves who it is."""

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


class FactoryPeer:
    """Tells over one channel, on which scan proves who it is."""

    def __init__(self, channel: Channel) -> None:
        self._stub = webhook_pb2_grpc.WebhookServiceStub(channel)

    async def tell(self, suspicion: Suspicion) -> None:
        """See scan.suspicion.Tell."""
        request = webhook_pb2.RaiseFraudSuspectedRequest(
            request_id=str(suspicion.event_id),
            product_id=str(suspicion.product_id),
            risk_score=suspicion.risk,
            verdict=VERDICTS[suspicion.verdict],
            message_codes=suspicion.codes,
        )
        try:
            await self._stub.RaiseFraudSuspected(request, timeout=SUBMIT_SECONDS)
        except AioRpcError as error:
            if error.code() in REFUSALS:
                raise RefusedError(f"{error.code().name}: {error.details()}") from error
            raise DependencyUnavailable(dependency=f"Factory ({error.code().name})") from error
