"""Anchor's Protobuf messages from and to its dataclasses."""

from collections.abc import Mapping
from uuid import UUID

from voketag.anchor.v1 import anchor_pb2 as pb

from anchor.evidence import Evidence, Place
from anchor.freeze import Freeze
from anchor.listing import Filter
from anchor.registration import Registration, Signed
from anchor.status import Backlog, ChainAccount, ChainStatus, Status, View
from anchor.submission import Anchor, Location, Outcome, Progress, Proof, Submission
from mesh.moments import moment_in
from trust.canonical import SubjectKind


def to_submission(
    request: pb.SubmitRootRequest | pb.VerifyProofRequest | pb.RootOffer, kind: SubjectKind
) -> Submission:
    """The root of a request."""
    return Submission(kind, UUID(request.batch_id), request.root, request.size)


def from_outcome(outcome: Outcome) -> pb.RootOutcome:
    """What came of a root as the contract shows it."""
    status = pb.ROOT_STATUS_ACCEPTED if outcome.accepted else pb.ROOT_STATUS_CONFLICT
    return pb.RootOutcome(status=status, anchor=from_anchor(outcome.anchor))


def to_filter(request: pb.ListAnchorsRequest) -> Filter:
    """Which anchors a request wants. Raises ValidationFailed."""
    return Filter(
        progress=Progress(request.state) if request.state else None,
        from_time=moment_in(request, "from_time"),
        to_time=moment_in(request, "to_time"),
        batch_ids=tuple(map(UUID, request.batch_ids)) or None,
    )


def to_proof(proof: pb.AnchorProof) -> Proof:
    """A proof as somebody else gives it."""
    return Proof(proof.index, proof.size, tuple(proof.path), proof.anchor_root)


def from_freeze(freeze: Freeze) -> pb.Freeze:
    """A freeze as the contract shows it."""
    message = pb.Freeze(frozen=freeze.frozen, why=freeze.why)
    message.change_time.FromDatetime(freeze.change_time)
    return message


def from_anchor(anchor: Anchor) -> pb.Anchor:
    """An anchor as the contract shows it."""
    submission = anchor.submission
    message = pb.Anchor(
        batch_id=str(submission.subject_id),
        root=submission.root,
        size=submission.size,
        state=pb.AnchorState.ValueType(anchor.progress),
        location=_from_location(anchor.location) if anchor.location else None,
    )
    message.create_time.FromDatetime(anchor.create_time)
    if anchor.final_time is not None:
        message.final_time.FromDatetime(anchor.final_time)
    return message


def _from_location(location: Location) -> pb.ChainLocation:
    return pb.ChainLocation(
        kind=location.kind,
        chain_id=location.chain_id,
        contract=location.contract,
        transaction="0x" + location.transaction.hex(),
        block_number=location.block_number,
    )


def from_proof(proof: Proof) -> pb.AnchorProof:
    """A proof as the contract shows it."""
    return pb.AnchorProof(index=proof.index, size=proof.size, path=proof.path, anchor_root=proof.anchor_root)


def from_finding(
    anchor: Anchor, proof: Proof | None, place: Place | None, location: Location | None
) -> pb.VerifyOnChainResponse:
    """What the contract at a place says of an anchor as the contract of the API shows it."""
    return pb.VerifyOnChainResponse(
        anchor=from_anchor(anchor),
        anchor_root=proof.anchor_root if proof else b"",
        registered=location is not None,
        location=_from_location(location) if location else None,
        agrees=location == (place.location if place else None),
        target=place.target if place else "",
    )


def from_evidence(evidence: Evidence) -> pb.Evidence:
    """What a target has as the contract shows it."""
    if isinstance(evidence.proof, Location):
        return pb.Evidence(target=evidence.target, location=_from_location(evidence.proof))
    message = pb.Evidence(target=evidence.target, time_stamp=pb.TimeStamp(response=evidence.proof.response))
    message.time_stamp.time.FromDatetime(evidence.proof.time)
    return message


def to_hash(text: str) -> bytes:
    """The 32 bytes of 0x and 64 hex digits."""
    return bytes.fromhex(text.removeprefix("0x"))


def from_registration(registration: Registration) -> pb.Registration:
    """A registration as the contract shows it."""
    location = registration.location
    return pb.Registration(
        anchor_root=registration.anchor_root,
        size=registration.size,
        state=pb.AnchorState.ValueType(registration.progress),
        chain_id=registration.chain_id,
        contract=registration.contract,
        sender=registration.sender,
        location=_from_location(location) if location else None,
        attempts=map(_from_signed, registration.attempts),
    )


def _from_signed(signed: Signed) -> pb.SignedAttempt:
    message = pb.SignedAttempt(
        transaction="0x" + signed.hash.hex(),
        nonce=signed.nonce,
        max_fee=signed.max_fee,
        priority_fee=signed.priority_fee,
    )
    message.sign_time.FromDatetime(signed.sign_time)
    if signed.send_time is not None:
        message.send_time.FromDatetime(signed.send_time)
    return message


def from_status(status: Status, views: Mapping[str, View]) -> pb.GetStatusResponse:
    """How anchoring is as the contract shows it; `views` are what chains say of their accounts, by target."""
    return pb.GetStatusResponse(
        freeze=from_freeze(status.freeze),
        pending_roots=status.pending_roots,
        pending_seconds=status.pending_seconds,
        lag_seconds=status.lag_seconds,
        account=_from_account(status.account, views) if status.account else None,
        targets=map(_from_backlog, status.targets),
        chains=[_from_chain(chain, views) for chain in sorted(status.chains, key=lambda chain: chain.account.target)],
        **status.open_by_state,
    )


def _from_chain(chain: ChainStatus, views: Mapping[str, View]) -> pb.TargetChain:
    return pb.TargetChain(
        target=chain.account.target,
        account=_from_account(chain.account, views),
        lag_seconds=chain.lag_seconds,
        **chain.open_by_state,
    )


def _from_backlog(backlog: Backlog) -> pb.TargetBacklog:
    return pb.TargetBacklog(target=backlog.target, trees=backlog.trees, seconds=backlog.seconds)


def _from_account(account: ChainAccount, views: Mapping[str, View]) -> pb.ChainAccount:
    view = views.get(account.target)
    return pb.ChainAccount(
        chain_id=account.chain_id,
        address=account.address,
        contract=account.contract,
        next_nonce=account.next_nonce,
        chain=_from_view(view) if view else None,
    )


def _from_view(view: View) -> pb.ChainView:
    return pb.ChainView(
        head=view.head,
        balance=str(view.balance),
        used_nonces=view.used_nonces,
        max_fee=view.fees.max_fee,
        priority_fee=view.fees.priority_fee,
    )
