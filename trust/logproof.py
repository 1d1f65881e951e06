"""The proof that an entry is in a log, as one text to keep: C2SP tlog-proof v1 (c2sp.org/tlog-proof).

``c2sp.org/tlog-proof@v1``, ``extra <base64>`` (for us the entry itself), ``index <number>``, the inclusion path one
hash a line, an empty line, and the signed checkpoint as the log gave it.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from trust import merkle
from trust.checkpoint import Checkpoint, open_checkpoint
from trust.note import Verifier

HEADER = "c2sp.org/tlog-proof@v1"
MAX_BYTES = 512 * 1024

_NUMBER = re.compile("0|[1-9][0-9]{0,18}")
_LONGEST_PATH = 63


class LogProofError(ValueError):
    """The text is no proof, or proves nothing."""


class LogProofMalformedError(LogProofError):
    """The text is not a proof in its one form; the message says where."""


class NotIncludedError(LogProofError):
    """The path does not lead from the entry to the root of the checkpoint."""


@dataclass(frozen=True, slots=True)
class LogProof:
    """An entry, its place in the log from 0, its path to the root, and the signed checkpoint of that root."""

    entry: bytes
    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a proof. Raises LogProofMalformedError."""
        try:
            head, blank, checkpoint = data.decode().partition("\n\n")
        except UnicodeDecodeError:
            raise LogProofMalformedError("the proof is not UTF-8") from None
        lines = head.split("\n")
        if len(data) > MAX_BYTES or not blank or len(lines) < 3 or len(lines) > 3 + _LONGEST_PATH:
            raise LogProofMalformedError("the proof is not a few lines, an empty one, and a checkpoint")
        if lines[0] != HEADER:
            raise LogProofMalformedError(f"line 1 is not {HEADER}")
        index = _after("index ", lines[2])
        if not _NUMBER.fullmatch(index):
            raise LogProofMalformedError("line 3 is not a decimal number without leading zeros")
        path = tuple(_decoded(line) for line in lines[3:])
        if any(len(sibling) != merkle.HASH_BYTES for sibling in path):
            raise LogProofMalformedError("a line of the path is not a hash")
        return cls(_decoded(_after("extra ", lines[1])), int(index), path, checkpoint.encode())

    def to_bytes(self) -> bytes:
        """Write what `parse` reads."""
        lines = [HEADER, f"extra {_encoded(self.entry)}", f"index {self.index}", *map(_encoded, self.path)]
        return "\n".join(lines).encode() + b"\n\n" + self.checkpoint


def verify(proof: LogProof, verifiers: Sequence[Verifier], origin: str) -> Checkpoint:
    """Check that the log `origin` has the proof's entry at its index, and give the checkpoint that says so.

    Raises NoteError or CheckpointError as `open_checkpoint` does, and NotIncludedError.
    """
    checkpoint = open_checkpoint(proof.checkpoint, verifiers, origin)
    leaf = merkle.leaf_hash(proof.entry)
    if not merkle.verify_inclusion(leaf, proof.index, checkpoint.size, proof.path, checkpoint.root):
        raise NotIncludedError(f"the entry is not entry {proof.index} of the log's first {checkpoint.size}")
    return checkpoint


def _after(word: str, line: str) -> str:
    if not line.startswith(word):
        raise LogProofMalformedError(f"a line does not begin with {word.strip()!r}")
    return line.removeprefix(word)


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _decoded(text: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if _encoded(value) != text:
        raise LogProofMalformedError("a line is not base64 in its one form")
    return value
