from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trust.ledgers import ORIGIN, SIGNER
from tests.unit.trust.vectors import load
from trust import merkle
from trust.checkpoint import (
    Checkpoint,
    CheckpointError,
    CheckpointMalformedError,
    OriginWrongError,
    open_checkpoint,
    sign_checkpoint,
)
from trust.note import NoteError, NoteUnsignedError, Signer, sign_note

ROOT = bytes(range(32))
ROOT_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.mark.parametrize("vector", load("note")["checkpoints"], ids=lambda vector: vector["origin"])
def test_published_checkpoints(vector: dict[str, Any]) -> None:
    checkpoint = Checkpoint(vector["origin"], vector["size"], bytes.fromhex(vector["root"]))
    assert Checkpoint.parse(vector["text"]) == checkpoint
    assert checkpoint.text() == vector["text"]
    if "data" in vector:
        assert merkle.leaf_hash(bytes.fromhex(vector["data"])) == checkpoint.root


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n\n",
        f"origin\n1\n{ROOT_TEXT}",
        f"origin\n{ROOT_TEXT}\n",
        f"\n1\n{ROOT_TEXT}\n",
        f"origin\n\n{ROOT_TEXT}\n",
        f"origin\n01\n{ROOT_TEXT}\n",
        f"origin\n+1\n{ROOT_TEXT}\n",
        f"origin\n-1\n{ROOT_TEXT}\n",
        f"origin\n1_0\n{ROOT_TEXT}\n",
        f"origin\n0x1\n{ROOT_TEXT}\n",
        f"origin\n\u0661\n{ROOT_TEXT}\n",
        f"origin\n9223372036854775808\n{ROOT_TEXT}\n",
        f"origin\n99999999999999999999\n{ROOT_TEXT}\n",
        f"origin\n1\n{ROOT_TEXT[:-1]}\n",
        f"origin\n1\n{ROOT_TEXT[:-2]}9=\n",
        f"origin\n1\n {ROOT_TEXT}\n",
        f"origin\n1\n{ROOT_TEXT}AAAA\n",
        f"origin\n1\n{ROOT_TEXT}\n\n",
        f"origin\n1\n{ROOT_TEXT}\n\nextension\n",
        f"origin\r\n1\n{ROOT_TEXT}\n",
    ],
)
def test_what_is_no_checkpoint(text: str) -> None:
    with pytest.raises(CheckpointMalformedError):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    ("origin", "size", "root"),
    [("", 1, ROOT), ("a\nb", 1, ROOT), ("a", -1, ROOT), ("a", 1 << 63, ROOT), ("a", 1, ROOT[1:])],
)
def test_what_cannot_be_a_checkpoint(origin: str, size: int, root: bytes) -> None:
    with pytest.raises(CheckpointMalformedError):
        Checkpoint(origin, size, root)


def test_extension_lines_are_kept() -> None:
    checkpoint = Checkpoint("origin", 0, merkle.EMPTY_ROOT, ("one", "two words"))
    assert Checkpoint.parse(checkpoint.text()) == checkpoint
    assert checkpoint.text().endswith("one\ntwo words\n")


@given(st.integers(0, (1 << 63) - 1), st.binary(min_size=32, max_size=32))
def test_a_signed_checkpoint_comes_back(size: int, root: bytes) -> None:
    checkpoint = Checkpoint(ORIGIN, size, root)
    assert open_checkpoint(sign_checkpoint(checkpoint, SIGNER), [SIGNER.verifier], ORIGIN) == checkpoint


def test_every_bit_of_a_signed_checkpoint_counts() -> None:
    data = sign_checkpoint(Checkpoint(ORIGIN, 20852163, ROOT), SIGNER)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((NoteError, CheckpointError)):
            open_checkpoint(bytes(flipped), [SIGNER.verifier], ORIGIN)


def test_another_log_and_another_key() -> None:
    other = Signer("elsewhere.test/ledger", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    with pytest.raises(OriginWrongError):
        sign_checkpoint(Checkpoint(ORIGIN, 1, ROOT), other)
    theirs = sign_checkpoint(Checkpoint(other.verifier.name, 1, ROOT), other)
    with pytest.raises(OriginWrongError):
        open_checkpoint(theirs, [other.verifier], ORIGIN)
    with pytest.raises(NoteUnsignedError):
        open_checkpoint(theirs, [SIGNER.verifier], other.verifier.name)
    with pytest.raises(CheckpointMalformedError):
        open_checkpoint(sign_note("not one\n", [SIGNER]), [SIGNER.verifier], ORIGIN)


def test_its_name_at_the_anchor_follows_from_origin_and_size() -> None:
    for vector in load("ledger")["subjects"]:
        assert str(Checkpoint(vector["origin"], vector["size"], ROOT).subject_id()) == vector["subject_id"]
    ids = {Checkpoint(origin, size, ROOT).subject_id() for origin in ("a", "b") for size in range(10)}
    assert len(ids) == 20
    assert {(each.version, each.variant) for each in ids} == {(8, "specified in RFC 4122")}
    assert Checkpoint("a", 1, ROOT).subject_id() == Checkpoint("a", 1, bytes(32)).subject_id()
