"""Anchor's Protobuf messages from and to its dataclasses."""

from uuid import UUID

from voketag.anchor.v1 import anchor_pb2 as pb

from anchor.submission import Anchor, Location, Proof, Submission, kind_of


def to_submission(request: pb.SubmitRootRequest) -> Submission:
    """The root of a request."""
    subject_id = UUID(request.batch_id)
    return Submission(kind_of(subject_id), subject_id, request.root, request.size)


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
