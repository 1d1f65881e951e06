"""A root that was submitted, and how far its anchoring is."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from uuid import UUID

from mesh.idempotency import RequestKey
from trust.canonical import SubjectKind


@dataclass(frozen=True, slots=True)
class Submission:
    """A root (32 bytes) over `size` leaves, of the subject it was made for."""

    kind: SubjectKind
    subject_id: UUID
    root: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Offer:
    """A root handed in: its id to be, who asked for it, and its audit row (see mesh.audit.entry).

    `urgent` closes the window that it waits in.
    """

    submission_id: UUID
    submission: Submission
    key: RequestKey
    entry: tuple[object, ...]
    urgent: bool


LOGS = (SubjectKind.SCAN_LEDGER, SubjectKind.AUDIT_LOG)
"""What has checkpoints, whose ids are UUIDv8 (see `trust.checkpoint`), which no batch's is."""


def kinds_of(subject_id: UUID) -> tuple[SubjectKind, ...]:
    """What an id may be of; which log's a checkpoint is, its id does not tell."""
    return LOGS if subject_id.version == 8 else (SubjectKind.BATCH,)


class Progress(IntEnum):
    """How far an anchoring is; the numbers are those of `AnchorState` in the contract."""

    PENDING = 1
    SUBMITTED = 2
    MINED = 3
    FINAL = 4


@dataclass(frozen=True, slots=True)
class Location:
    """Where a root stands: EIP-155 chain id, contract address (EIP-55), transaction hash (32 bytes), block."""

    kind: str
    chain_id: int
    contract: str
    transaction: bytes
    block_number: int


@dataclass(frozen=True, slots=True)
class Leaf:
    """A submission's place in an anchored tree."""

    tree_id: int
    index: int


@dataclass(frozen=True, slots=True)
class Anchor:
    """A submission on its way. `leaf` from SUBMITTED on, `location` from MINED on, `final_time` when FINAL."""

    submission_id: UUID
    submission: Submission
    progress: Progress
    create_time: datetime
    leaf: Leaf | None = None
    location: Location | None = None
    final_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one of many roots: whether it will be anchored, and its subject's anchor."""

    accepted: bool
    anchor: Anchor


@dataclass(frozen=True, slots=True)
class Proof:
    """RFC 9162 inclusion proof of a submission's leaf in the anchored tree of `size` leaves."""

    index: int
    size: int
    path: tuple[bytes, ...]
    anchor_root: bytes
