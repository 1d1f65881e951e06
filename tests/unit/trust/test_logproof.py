import base64

import pytest

from tests.unit.trust.ledgers import ORIGIN, SIGNER, MemoryLedger, ledger
from trust.checkpoint import OriginWrongError
from trust.ledger import entry_bytes, genesis
from trust.logproof import HEADER, LogProof, LogProofMalformedError, NotIncludedError, verify
from trust.note import NoteUnsignedError
from trust.tiles import inclusion_path_from_tiles

LEDGER = ledger(300)
KEYS = [SIGNER.verifier]


def proof(index: int, made: MemoryLedger = LEDGER) -> LogProof:
    level = b"".join(made.tiles[0, number] for number in range(-(-made.state.size // 256)))
    previous = level[32 * (index - 1) : 32 * index] if index else genesis(ORIGIN)
    path = inclusion_path_from_tiles(index, made.state.size, lambda level, index: made.tiles[level, index])
    return LogProof(entry_bytes(previous, made.stored[index].event), index, tuple(path), made.notes[-1])


@pytest.mark.parametrize("index", [0, 1, 255, 256, 299])
def test_a_proof_comes_back_and_proves(index: int) -> None:
    made = proof(index)
    assert LogProof.parse(made.to_bytes()) == made
    assert verify(made, KEYS, ORIGIN) == LEDGER.checkpoint()
    assert made.to_bytes().startswith(b"c2sp.org/tlog-proof@v1\nextra ")


def test_the_only_entry_has_an_empty_path() -> None:
    made = proof(0, ledger(1))
    assert made.path == ()
    assert verify(LogProof.parse(made.to_bytes()), KEYS, ORIGIN).size == 1


def test_what_it_does_not_prove() -> None:
    made, other = proof(7), proof(8)
    for wrong in (
        LogProof(other.entry, made.index, made.path, made.checkpoint),
        LogProof(made.entry, other.index, made.path, made.checkpoint),
        LogProof(made.entry, made.index, other.path, made.checkpoint),
        LogProof(made.entry, made.index, made.path, ledger(301).notes[-1]),
        LogProof(made.entry, made.index + 300, made.path, made.checkpoint),
    ):
        with pytest.raises(NotIncludedError):
            verify(wrong, KEYS, ORIGIN)
    with pytest.raises(NoteUnsignedError):
        verify(made, [], ORIGIN)
    with pytest.raises(OriginWrongError):
        verify(made, KEYS, "another.test/log")


GOOD = proof(2).to_bytes().decode()
LINES = GOOD.split("\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        GOOD.replace("@v1", "@v2"),
        GOOD.replace("\n\n", "\n"),
        GOOD.replace("extra ", "data "),
        GOOD.replace("index 2", "index 02"),
        GOOD.replace("index 2", "index -2"),
        GOOD.replace("index 2", "index"),
        "\n".join([*LINES[:1], *LINES[2:]]),
        "\n".join([*LINES[:2], *LINES[3:]]),
        GOOD.replace(LINES[3], LINES[3][:-1]),
        GOOD.replace(LINES[3], base64.b64encode(bytes(31)).decode()),
        GOOD.replace(LINES[1], "extra AB=="),
        "\n".join([HEADER, *LINES[1:3], *[LINES[3]] * 64, "", "note"]),
        "\n".join([HEADER, "extra " + "A" * 600_000, "index 0", "", "note"]),
    ],
    ids=range(14),
)
def test_what_is_no_proof(text: str) -> None:
    with pytest.raises(LogProofMalformedError):
        LogProof.parse(text.encode())


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(LogProofMalformedError):
        LogProof.parse(b"\xff")


def test_every_bit_of_a_proof_counts() -> None:
    data = proof(2).to_bytes()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError):  # noqa: PT011 -- every refusal of a note, a checkpoint or a proof is one
            verify(LogProof.parse(bytes(flipped)), KEYS, ORIGIN)
