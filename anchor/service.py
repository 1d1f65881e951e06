"""The methods of voketag.anchor.v1.AnchorService."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from voketag.anchor.v1 import anchor_pb2 as pb
from voketag.anchor.v1 import anchor_pb2_grpc

from anchor.convert import from_anchor, from_proof, to_submission
from anchor.intake import Intake
from anchor.proofs import Proofs
from anchor.store import Store
from anchor.submission import Anchor, kind_of
from anchor.watch import Watch
from mesh.errors import AccessDenied, AnchorNotFound
from mesh.idempotency import RequestKey
from mesh.identity import caller
from trust.canonical import SubjectKind

SUBMITTERS = {"factory": SubjectKind.BATCH, "scan": SubjectKind.SCAN_LEDGER}
LAST_POSITION = 2**62
"""Beyond any position there will be, and within PostgreSQL's bigint."""


class AnchorService(anchor_pb2_grpc.AnchorServiceServicer):
    """Converts, makes one domain call, converts."""

    def __init__(self, intake: Intake, store: Store, proofs: Proofs, watch: Watch) -> None:
        self._intake = intake
        self._store = store
        self._proofs = proofs
        self._watch = watch

    async def SubmitRoot(self, request: pb.SubmitRootRequest, context: Any) -> pb.SubmitRootResponse:
        """Takes a root, durably. A service submits roots of its own kind alone."""
        key = RequestKey.of("SubmitRoot", request.request_id, request)
        submission = to_submission(request)
        if submission.kind is not SUBMITTERS[caller().id]:
            raise AccessDenied
        urgent = request.priority == pb.PRIORITY_HIGH
        return pb.SubmitRootResponse(anchor=from_anchor(await self._intake.submit(submission, key, urgent=urgent)))

    async def GetAnchor(self, request: pb.GetAnchorRequest, context: Any) -> pb.GetAnchorResponse:
        """How far the anchoring of a batch or checkpoint is."""
        return pb.GetAnchorResponse(anchor=from_anchor(await self._find(request.batch_id)))

    async def WatchAnchor(self, request: pb.WatchAnchorRequest, context: Any) -> AsyncIterator[pb.WatchAnchorResponse]:
        """The anchor now and at every change, until it is final."""
        async for anchor in self._watch.anchor(UUID(request.batch_id)):
            yield pb.WatchAnchorResponse(anchor=from_anchor(anchor))

    async def WatchFinality(
        self, request: pb.WatchFinalityRequest, context: Any
    ) -> AsyncIterator[pb.WatchFinalityResponse]:
        """Anchors that became final after a position, in order, without end."""
        async for position, anchors in self._watch.finality(min(request.after_position, LAST_POSITION)):
            yield pb.WatchFinalityResponse(anchors=map(from_anchor, anchors), position=position)

    async def GetProof(self, request: pb.GetProofRequest, context: Any) -> pb.GetProofResponse:
        """The inclusion proof of a root in its anchored root."""
        anchor = await self._find(request.batch_id)
        proof = await self._proofs.of(anchor)
        return pb.GetProofResponse(anchor=from_anchor(anchor), proof=from_proof(proof) if proof else None)

    async def _find(self, batch_id: str) -> Anchor:
        subject_id = UUID(batch_id)
        anchor = await self._store.find(kind_of(subject_id), subject_id)
        if anchor is None:
            raise AnchorNotFound(batch_id=batch_id)
        return anchor
