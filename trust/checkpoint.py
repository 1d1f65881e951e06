"""Checkpoints: what a log's operator signs, "my tree of this size has this root" (c2sp.org/tlog-checkpoint).

The note's text is ``<origin>\\n<size>\\n<base64 of the root>\\n``, and any extension lines after these. Whoever keeps a
checkpoint can hold the operator to it for ever: every later tree must contain this one.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Self
from uuid import UUID

from trust.merkle import HASH_BYTES
from trust.note import Signer, Verifier, open_note, sign_note

MAX_SIZE = (1 << 63) - 1

_SIZE = re.compile("0|[1-9][0-9]{0,18}")
_ROOT = re.compile("[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")
_REFUSED = re.compile("[\x00-\x1f]")


class CheckpointError(ValueError):
    """The text is not the checkpoint that was asked for."""


class CheckpointMalformedError(CheckpointError):
    """The text is not a checkpoint; the message says which line."""


class OriginWrongError(CheckpointError):
    """The checkpoint is of another log."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's name, the number of its entries, and the RFC 9162 root over them (32 bytes).

    Raises CheckpointMalformedError.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for line in (self.origin, *self.extensions):
            if not line or _REFUSED.search(line):
                raise CheckpointMalformedError("an origin or extension line is empty or has a control character")
        if not 0 <= self.size <= MAX_SIZE:
            raise CheckpointMalformedError(f"{self.size} is not a size from 0 to 2^63 - 1")
        if len(self.root) != HASH_BYTES:
            raise CheckpointMalformedError(f"a root has {HASH_BYTES} bytes, not {len(self.root)}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a note's text; it has one form only. Raises CheckpointMalformedError."""
        *lines, end = text.split("\n")
        if end or len(lines) < 3:
            raise CheckpointMalformedError("a checkpoint is three lines or more, each ended by a newline")
        origin, size, root, *extensions = lines
        if not _SIZE.fullmatch(size):
            raise CheckpointMalformedError("line 2 is not a decimal number without leading zeros")
        if not _ROOT.fullmatch(root):
            raise CheckpointMalformedError("line 3 is not a hash: 32 bytes as 44 characters of base64")
        return cls(origin, int(size), base64.b64decode(root), tuple(extensions))

    def text(self) -> str:
        """Write what `parse` reads."""
        root = base64.b64encode(self.root).decode()
        return "".join(f"{line}\n" for line in (self.origin, str(self.size), root, *self.extensions))

    def subject_id(self) -> UUID:
        """Name this checkpoint where roots are anchored: a UUIDv8 (RFC 9562) that follows from origin and size.

        The first 16 bytes of ``SHA-256("voketag/checkpoint/v1" || size:8 || origin)`` with version and variant set.
        """
        digest = sha256(b"voketag/checkpoint/v1" + self.size.to_bytes(8, "big") + self.origin.encode()).digest()
        number = int.from_bytes(digest[:16], "big") & ~(0xF << 76 | 0x3 << 62)
        return UUID(int=number | 0x8 << 76 | 0x2 << 62)


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """Sign a checkpoint as a note. Raises OriginWrongError unless the key's name is the checkpoint's origin."""
    if signer.verifier.name != checkpoint.origin:
        raise OriginWrongError(f"the key of {signer.verifier.name} does not sign for {checkpoint.origin}")
    return sign_note(checkpoint.text(), [signer])


def open_checkpoint(data: bytes, verifiers: Sequence[Verifier], origin: str) -> Checkpoint:
    """Read a signed checkpoint of the log `origin`, signed by one of `verifiers` at least.

    Raises NoteError (see `trust.note`) or CheckpointError.
    """
    checkpoint = Checkpoint.parse(open_note(data, verifiers).text)
    if checkpoint.origin != origin:
        raise OriginWrongError(f"the checkpoint is of {checkpoint.origin!r}, not of {origin!r}")
    return checkpoint
