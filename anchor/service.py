"""The methods of voketag.anchor.v1.AnchorService."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from voketag.anchor.v1 import anchor_pb2 as pb
from voketag.anchor.v1 import anchor_pb2_grpc

from anchor.convert import (
    from_anchor,
    from_evidence,
    from_finding,
    from_freeze,
    from_outcome,
    from_proof,
    from_registration,
    from_status,
    to_filter,
    to_hash,
    to_proof,
    to_submission,
)
from anchor.evidence import place_at
from anchor.intake import Intake
from anchor.listing import Listing
from anchor.node import Nodes
from anchor.proofs import Proofs, proves
from anchor.store import Store
from anchor.submission import Anchor, kinds_of
from anchor.watch import Watch
from mesh.errors import AccessDenied, AnchorNotFound
from mesh.idempotency import RequestKey
from mesh.identity import caller
from trust.canonical import SubjectKind

SUBMITTERS = {"factory": SubjectKind.BATCH, "scan": SubjectKind.SCAN_LEDGER, "admin": SubjectKind.AUDIT_LOG}
LAST_POSITION = 2**62
"""Beyond any position there will be, and within PostgreSQL's bigint."""


class AnchorService(anchor_pb2_grpc.AnchorServiceServicer):
    """Converts, makes one domain call, converts."""

    def __init__(
        self, intake: Intake, store: Store, *, proofs: Proofs, watch: Watch, listing: Listing, nodes: Nodes
    ) -> None:
        self._intake = intake
        self._nodes = nodes
        self._store = store
        self._listing = listing
        self._proofs = proofs
        self._watch = watch

    async def SubmitRoot(self, request: pb.SubmitRootRequest, context: Any) -> pb.SubmitRootResponse:
        """Takes a root, durably. A service submits roots of its own kind alone."""
        key = RequestKey.of("SubmitRoot", request.request_id, request)
        submission = to_submission(request, SUBMITTERS[caller().id])
        if submission.kind not in kinds_of(submission.subject_id):
            raise AccessDenied
        urgent = request.priority == pb.PRIORITY_HIGH
        return pb.SubmitRootResponse(anchor=from_anchor(await self._intake.submit(submission, key, urgent=urgent)))

    async def BatchSubmitRoots(self, request: pb.BatchSubmitRootsRequest, context: Any) -> pb.BatchSubmitRootsResponse:
        """Takes many batch roots, durably."""
        key = RequestKey.of("BatchSubmitRoots", request.request_id, request)
        urgent = request.priority == pb.PRIORITY_HIGH
        submissions = [to_submission(root, SubjectKind.BATCH) for root in request.roots]
        if any(SubjectKind.BATCH not in kinds_of(submission.subject_id) for submission in submissions):
            raise AccessDenied
        outcomes = await self._store.submit_all(submissions, key, urgent=urgent)
        return pb.BatchSubmitRootsResponse(outcomes=map(from_outcome, outcomes))

    async def GetAnchor(self, request: pb.GetAnchorRequest, context: Any) -> pb.GetAnchorResponse:
        """How far the anchoring of a batch or checkpoint is."""
        return pb.GetAnchorResponse(anchor=from_anchor(await self._find(request.batch_id)))

    async def ListAnchors(self, request: pb.ListAnchorsRequest, context: Any) -> pb.ListAnchorsResponse:
        """A page of anchors."""
        page = await self._listing.list(
            str(caller()), to_filter(request), page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListAnchorsResponse(anchors=map(from_anchor, page.anchors), next_page_token=page.next_page_token)

    async def RetryAnchor(self, request: pb.RetryAnchorRequest, context: Any) -> pb.RetryAnchorResponse:
        """Hurries an anchor."""
        key = RequestKey.of("RetryAnchor", request.request_id, request)
        return pb.RetryAnchorResponse(anchor=from_anchor(await self._store.retry(UUID(request.batch_id), key)))

    async def WatchAnchor(self, request: pb.WatchAnchorRequest, context: Any) -> AsyncIterator[pb.WatchAnchorResponse]:
        """The anchor now and at every change, until it is final."""
        async for anchor in self._watch.anchor(UUID(request.batch_id)):
            yield pb.WatchAnchorResponse(anchor=from_anchor(anchor))

    async def WatchAnchors(
        self, request: pb.WatchAnchorsRequest, context: Any
    ) -> AsyncIterator[pb.WatchAnchorsResponse]:
        """These anchors now and at every change, until all are final."""
        async for anchors in self._watch.anchors([UUID(batch_id) for batch_id in request.batch_ids]):
            yield pb.WatchAnchorsResponse(anchors=map(from_anchor, anchors))

    async def WatchFinality(
        self, request: pb.WatchFinalityRequest, context: Any
    ) -> AsyncIterator[pb.WatchFinalityResponse]:
        """Anchors that became final after a position, in order, without end."""
        async for position, anchors in self._watch.finality(min(request.after_position, LAST_POSITION)):
            yield pb.WatchFinalityResponse(anchors=map(from_anchor, anchors), position=position)

    async def GetProof(self, request: pb.GetProofRequest, context: Any) -> pb.GetProofResponse:
        """The inclusion proof of a root in its anchored root."""
        anchor = await self._find(request.batch_id)
        proof, evidence = await self._proofs.of(anchor), await self._store.evidence(anchor)
        return pb.GetProofResponse(
            anchor=from_anchor(anchor),
            proof=from_proof(proof) if proof else None,
            evidence=map(from_evidence, evidence),
        )

    async def VerifyProof(self, request: pb.VerifyProofRequest, context: Any) -> pb.VerifyProofResponse:
        """Whether a proof holds."""
        proof, kinds = to_proof(request.proof), kinds_of(UUID(request.batch_id))
        return pb.VerifyProofResponse(valid=any(proves(proof, to_submission(request, kind)) for kind in kinds))

    async def VerifyOnChain(self, request: pb.VerifyOnChainRequest, context: Any) -> pb.VerifyOnChainResponse:
        """What the contract says now."""
        anchor = await self._find(request.batch_id)
        proof, place, location = await self._proofs.of(anchor), None, None
        if anchor.leaf is not None and proof is not None:
            place = place_at(await self._store.places(anchor.leaf.tree_id), request.target, anchor.location)
            if place is not None:
                location = await self._nodes.registered(place, proof.anchor_root)
        return from_finding(anchor, proof, place, location)

    async def GetTransaction(self, request: pb.GetTransactionRequest, context: Any) -> pb.GetTransactionResponse:
        """What a transaction registers."""
        registration = await self._store.registration(to_hash(request.tx_id))
        return pb.GetTransactionResponse(registration=from_registration(registration))

    async def GetStatus(self, request: pb.GetStatusRequest, context: Any) -> pb.GetStatusResponse:
        """How anchoring is; without the view of a chain whose node does not answer."""
        status = await self._store.status()
        return from_status(status, await self._nodes.views([chain.account for chain in status.chains]))

    async def FreezeAnchoring(self, request: pb.FreezeAnchoringRequest, context: Any) -> pb.FreezeAnchoringResponse:
        """Stops the submitter."""
        key = RequestKey.of("FreezeAnchoring", request.request_id, request)
        freeze = await self._store.set_freeze(key, frozen=True, why=request.why)
        return pb.FreezeAnchoringResponse(freeze=from_freeze(freeze))

    async def ResumeAnchoring(self, request: pb.ResumeAnchoringRequest, context: Any) -> pb.ResumeAnchoringResponse:
        """Lets the submitter go on."""
        key = RequestKey.of("ResumeAnchoring", request.request_id, request)
        return pb.ResumeAnchoringResponse(freeze=from_freeze(await self._store.set_freeze(key, frozen=False, why="")))

    async def _find(self, batch_id: str) -> Anchor:
        subject_id = UUID(batch_id)
        anchor = await self._store.find_any(kinds_of(subject_id), subject_id)
        if anchor is None:
            raise AnchorNotFound(batch_id=batch_id)
        return anchor
