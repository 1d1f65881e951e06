"""Anchor's Protobuf messages from and to its dataclasses."""

from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from voketag.anchor.v1 import anchor_pb2 as pb

from anchor.freeze import Freeze
from anchor.listing import Filter
from anchor.submission import Anchor, Location, Outcome, Progress, Proof, Submission, kind_of
from mesh.errors import FieldViolation, ValidationFailed


def to_submission(request: pb.SubmitRootRequest | pb.VerifyProofRequest | pb.RootOffer) -> Submission:
    """The root of a request."""
    subject_id = UUID(request.batch_id)
    return Submission(kind_of(subject_id), subject_id, request.root, request.size)


def from_outcome(outcome: Outcome) -> pb.RootOutcome:
    """What came of a root as the contract shows it."""
    status = pb.ROOT_STATUS_ACCEPTED if outcome.accepted else pb.ROOT_STATUS_CONFLICT
    return pb.RootOutcome(status=status, anchor=from_anchor(outcome.anchor))


def to_filter(request: pb.ListAnchorsRequest) -> Filter:
    """Which anchors a request wants. Raises ValidationFailed."""
    return Filter(
        progress=Progress(request.state) if request.state else None,
        from_time=_to_time("from_time", request.from_time) if request.HasField("from_time") else None,
        to_time=_to_time("to_time", request.to_time) if request.HasField("to_time") else None,
        batch_ids=tuple(map(UUID, request.batch_ids)) or None,
    )


def _to_time(field: str, time: Timestamp) -> datetime:
    # The contract cannot say this: its checker takes a time apart before it looks at any rule.
    try:
        return time.ToDatetime(UTC)
    except (ValueError, OverflowError):
        violation = FieldViolation(field, "timestamp.valid", "is no time between the years 1 and 9999")
        raise ValidationFailed(violations=(violation,), summary=f"{field}: {violation.description}") from None


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
