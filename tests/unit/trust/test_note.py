import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trust.vectors import load
from trust.note import (
    KeyMalformedError,
    Note,
    NoteError,
    NoteMalformedError,
    NoteUnsignedError,
    SignatureWrongError,
    Signer,
    Verifier,
    open_note,
    sign_note,
)

VECTORS = load("note")
TEXT: str = VECTORS["text"]
PETER_LINE, ENOCH_LINE = VECTORS["signatures"]
PETER, ENOCH = (Verifier.from_text(text) for text in VECTORS["verifying_keys"])
SIGNER = Signer.from_text(VECTORS["signing_key"])


def note(*lines: str, text: str = TEXT) -> bytes:
    return (text + "\n" + "".join(lines)).encode()


def manglings(text: str) -> list[str]:
    cut = [text[i:j] for i in range(len(text)) for j in range(i, len(text) + 1) if j - i < len(text)]
    turned = [text[:i] + chr(ord(text[i]) + 1) + text[i + 1 :] for i in range(len(text))]
    return [*cut, *turned]


def test_go_signs_the_same() -> None:
    assert SIGNER.verifier == PETER
    assert SIGNER.to_text() == VECTORS["signing_key"]
    assert sign_note(TEXT, [SIGNER]) == note(PETER_LINE)


def test_the_example_of_the_specification() -> None:
    verifier = Verifier.from_text(VECTORS["spec"]["key"])
    assert verifier.to_text() == VECTORS["spec"]["key"]
    assert open_note(VECTORS["spec"]["note"].encode(), [verifier]).text == "This is an example message.\n"


def test_known_keys_are_told_from_unknown() -> None:
    one = open_note(note(PETER_LINE, ENOCH_LINE), [PETER])
    assert (one.text, [s.line() for s in one.signatures], [s.line() for s in one.others]) == (
        TEXT,
        [PETER_LINE],
        [ENOCH_LINE],
    )
    both = open_note(note(PETER_LINE, ENOCH_LINE), [ENOCH, PETER])
    assert [s.name for s in both.signatures] == ["PeterNeumann", "EnochRoot"]
    with pytest.raises(NoteUnsignedError):
        open_note(note(PETER_LINE, ENOCH_LINE), [])


def test_signatures_given_twice_count_once() -> None:
    opened = open_note(note(PETER_LINE, PETER_LINE, ENOCH_LINE, ENOCH_LINE), [PETER])
    assert len(opened.signatures) == len(opened.others) == 1


def test_a_key_of_the_same_name_is_another_key() -> None:
    namesake = Signer("PeterNeumann", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    assert namesake.verifier.key_id != PETER.key_id
    with pytest.raises(NoteUnsignedError):
        open_note(note(PETER_LINE), [namesake.verifier])
    assert len(open_note(sign_note(TEXT, [namesake, SIGNER]), [PETER]).others) == 1


def test_a_known_key_that_did_not_sign_spoils_the_note() -> None:
    with pytest.raises(SignatureWrongError, match=r"PeterNeumann\+c74f20a3"):
        open_note(note(PETER_LINE, ENOCH_LINE, text="Another text.\n"), [PETER])
    good = sign_note(TEXT, [SIGNER], others=open_note(note(ENOCH_LINE), [ENOCH]).signatures)
    assert open_note(good, [PETER, ENOCH]).text == TEXT
    wrong = note(ENOCH_LINE.replace("5ovT", "5ovU"), PETER_LINE)
    with pytest.raises(SignatureWrongError, match="EnochRoot"):
        open_note(wrong, [PETER, ENOCH])
    assert len(open_note(wrong, [PETER]).others) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        TEXT.encode(),
        note(),
        note(PETER_LINE[:-1]),
        note(PETER_LINE, text="\x01" + TEXT),
        b"\xff" + note(PETER_LINE),
        note(PETER_LINE, "Unexpected line.\n"),
        note("\n", PETER_LINE, "\n"),
        note("— Bad Name " + PETER_LINE.split(" ")[2]),
        note("— PeterNeumann AAAA\n"),
        note("— PeterNeumann x08goA==\n"),
        note("— PeterNeumann\n"),
        note("-- PeterNeumann " + PETER_LINE.split(" ")[2]),
        note(PETER_LINE.replace("PeterNeumann", "Peter+Neumann")),
        note(PETER_LINE.replace("PeterNeumann", "Peter\u2003Neumann")),
        note(PETER_LINE.replace("JnAM=", "JnAN=")),
        note(PETER_LINE.replace("\n", "\r\n")),
        note(*[PETER_LINE] * 101),
        note(PETER_LINE, text="a" * 256 * 1024 + "\n"),
    ],
    ids=range(19),
)
def test_what_is_no_note(data: bytes) -> None:
    with pytest.raises(NoteMalformedError):
        open_note(data, [PETER])


def test_empty_lines_in_the_text_and_sixteen_signatures() -> None:
    signers = [Signer(f"w{n}", Ed25519PrivateKey.from_private_bytes(bytes([n] * 32))) for n in range(16)]
    text = "one\n\n\nfour\u2028still four\n\n"
    opened = open_note(sign_note(text, signers), [signer.verifier for signer in signers])
    assert opened.text == text
    assert len(opened.signatures) == 16


@pytest.mark.parametrize("text", ["", "no end", "a\tb\n", "a\r\n"])
def test_what_is_not_signed(text: str) -> None:
    with pytest.raises(NoteMalformedError):
        sign_note(text, [SIGNER])
    with pytest.raises(NoteMalformedError, match="has a signature"):
        sign_note(TEXT, [])


def test_a_mangled_key_is_refused() -> None:
    for text in [*manglings(VECTORS["verifying_keys"][0]), *VECTORS["refused_keys"]]:
        with pytest.raises(KeyMalformedError):
            Verifier.from_text(text)


def test_a_mangled_signing_key_is_refused_and_not_told() -> None:
    secret = VECTORS["signing_key"].rsplit("+", 1)[1]
    for text in manglings(VECTORS["signing_key"]):
        with pytest.raises(KeyMalformedError) as caught:
            Signer.from_text(text)
        assert secret[8:24] not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\nb", "a\x00b"])
def test_a_name_that_notes_cannot_have(name: str) -> None:
    with pytest.raises(KeyMalformedError):
        Verifier(name, bytes(32))


def test_a_key_of_another_size() -> None:
    with pytest.raises(KeyMalformedError):
        Verifier("a", bytes(31))


def test_every_bit_of_a_note_counts() -> None:
    data = note(PETER_LINE)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(NoteError):
            open_note(bytes(flipped), [PETER])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_note_or_refused(data: bytes) -> None:
    with pytest.raises(NoteError):
        open_note(data, [PETER])


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=60), st.integers(0, 4))
def test_a_signed_text_comes_back(text: str, lines: int) -> None:
    text = text + "\n" * (lines + 1)
    opened = open_note(sign_note(text, [SIGNER]), [PETER])
    assert opened == Note(text, opened.signatures)
