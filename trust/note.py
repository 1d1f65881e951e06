"""Signed notes: text with Ed25519 signatures below it, in the format of C2SP signed-note (c2sp.org/signed-note).

``text || "\\n" || "— <name> <base64(key id:4 || signature)>\\n"...``, where the text ends in a newline. A key is known
by its name and its id, ``SHA-256(name || "\\n" || 0x01 || public key:32)[:4]``. A text is worth nothing until
`open_note` has found a signature below it by a key that the reader knew before.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAX_BYTES = 256 * 1024
MAX_SIGNATURES = 100

_ED25519 = b"\x01"
_KEY_BYTES = 32
_ID_BYTES = 4
_DASH = "— "
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")
_HEX_ID = re.compile("[0-9a-f]{8}")
_SIGNING_PREFIX = "PRIVATE+KEY+"


class NoteError(ValueError):
    """The note is not to be believed."""


class NoteMalformedError(NoteError):
    """The bytes are not a signed note; the message says why."""


class NoteUnsignedError(NoteError):
    """No known key has signed the note."""


class SignatureWrongError(NoteError):
    """A known key, named in the message, did not make the signature that the note has under its name."""


class KeyMalformedError(ValueError):
    """The text is not a key of a note; the message never holds key material."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Who signed, and with what: key name, key id of 4 bytes, and the signature as the key's algorithm makes it."""

    name: str
    key_id: bytes
    value: bytes

    def line(self) -> str:
        """Write the signature's line, newline included."""
        return f"{_DASH}{self.name} {base64.b64encode(self.key_id + self.value).decode()}\n"


@dataclass(frozen=True, slots=True)
class Verifier:
    """A public key of 32 bytes under the name it signs with. Raises KeyMalformedError."""

    name: str
    key: bytes
    key_id: bytes = field(init=False)

    def __post_init__(self) -> None:
        if not _is_name(self.name):
            raise KeyMalformedError("a key's name is empty or has a space or a plus in it")
        if len(self.key) != _KEY_BYTES:
            raise KeyMalformedError(f"an Ed25519 public key has {_KEY_BYTES} bytes, not {len(self.key)}")
        object.__setattr__(
            self, "key_id", sha256(self.name.encode() + b"\n" + _ED25519 + self.key).digest()[:_ID_BYTES]
        )

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read ``<name>+<key id in hex>+<base64(0x01 || public key)>`` (a vkey). Raises KeyMalformedError."""
        name, key_id, key = _key_parts(text)
        verifier = cls(name, key)
        if verifier.key_id != key_id:
            raise KeyMalformedError("the key's id does not belong to its name and key")
        return verifier

    def to_text(self) -> str:
        """Write what `from_text` reads."""
        return _key_text(self, self.key)

    def made(self, text: bytes, signature: bytes) -> bool:
        """Whether this key made `signature` over `text` (RFC 8032)."""
        try:
            Ed25519PublicKey.from_public_bytes(self.key).verify(signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True


class Signer:
    """A private key under the name it signs with. Raises KeyMalformedError on a name that notes cannot have."""

    __slots__ = ("_key", "verifier")

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.verifier = Verifier(name, key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, name: str) -> Self:
        """Make a new key. Raises KeyMalformedError."""
        return cls(name, Ed25519PrivateKey.generate())

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read ``PRIVATE+KEY+<name>+<key id in hex>+<base64(0x01 || seed:32)>``, the form of Go's sumdb/note.

        Raises KeyMalformedError.
        """
        if not text.startswith(_SIGNING_PREFIX):
            raise KeyMalformedError("the text is not a signing key")
        name, key_id, seed = _key_parts(text.removeprefix(_SIGNING_PREFIX))
        signer = cls(name, Ed25519PrivateKey.from_private_bytes(seed))
        if signer.verifier.key_id != key_id:
            raise KeyMalformedError("the key's id does not belong to its name and key")
        return signer

    def to_text(self) -> str:
        """Write what `from_text` reads: a secret."""
        return _SIGNING_PREFIX + _key_text(self.verifier, self._key.private_bytes_raw())

    def sign(self, text: bytes) -> Signature:
        """Sign a note's text."""
        return Signature(self.verifier.name, self.verifier.key_id, self._key.sign(text))


@dataclass(frozen=True, slots=True)
class Note:
    """A text that known keys have signed: theirs in `signatures`, those of unknown keys in `others`, unchecked."""

    text: str
    signatures: tuple[Signature, ...]
    others: tuple[Signature, ...] = ()


def sign_note(text: str, signers: Iterable[Signer], others: Iterable[Signature] = ()) -> bytes:
    """Sign a text, with signatures made elsewhere (a witness's, say) in front of ours.

    Raises NoteMalformedError unless the text ends in a newline and is fit for a note, and with no signature at all.
    """
    if not text.endswith("\n") or not _is_plain(text):
        raise NoteMalformedError("a note's text ends in a newline and has no other control character")
    encoded = text.encode()
    signatures = [*others, *(signer.sign(encoded) for signer in signers)]
    if not signatures:
        raise NoteMalformedError("a note has a signature")
    return (text + "\n" + "".join(signature.line() for signature in signatures)).encode()


def open_note(data: bytes, verifiers: Sequence[Verifier]) -> Note:
    """Read a note and check every signature that claims to be of one of `verifiers`.

    Raises NoteMalformedError, SignatureWrongError if one of those is not theirs, and NoteUnsignedError if there is
    none. Base64 has one form only, so that no bit of a line can change unnoticed.
    """
    text, signatures = _split(data)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    signed: dict[tuple[str, bytes], Signature] = {}
    others: list[Signature] = []
    for signature in signatures:
        place = (signature.name, signature.key_id)
        verifier = known.get(place)
        if verifier is None:
            others.append(signature)
        elif not verifier.made(text.encode(), signature.value):
            raise SignatureWrongError(f"the signature of {signature.name}+{signature.key_id.hex()} is not its own")
        else:
            signed.setdefault(place, signature)
    if not signed:
        raise NoteUnsignedError("no known key has signed the note")
    return Note(text, tuple(signed.values()), tuple(dict.fromkeys(others)))


def _split(data: bytes) -> tuple[str, list[Signature]]:
    if len(data) > MAX_BYTES:
        raise NoteMalformedError(f"the note has {len(data)} bytes, more than {MAX_BYTES}")
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise NoteMalformedError("the note is not UTF-8") from None
    text, blank, below = whole.rpartition("\n\n")
    if not blank or not below.endswith("\n") or not _is_plain(whole):
        raise NoteMalformedError("the note is not text, an empty line, and lines of signatures")
    lines = below.split("\n")[:-1]
    if len(lines) > MAX_SIGNATURES:
        raise NoteMalformedError(f"the note has {len(lines)} signatures, more than {MAX_SIGNATURES}")
    return text + "\n", [_signature(line) for line in lines]


def _signature(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    value = _base64(encoded)
    if not line.startswith(_DASH) or not _is_name(name) or value is None or len(value) <= _ID_BYTES:
        raise NoteMalformedError("a line below the text is not a signature")
    return Signature(name, value[:_ID_BYTES], value[_ID_BYTES:])


def _key_parts(text: str) -> tuple[str, bytes, bytes]:
    """Split name, key id and the 32 bytes of an Ed25519 key."""
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    key = _base64(encoded)
    if not _is_name(name) or not _HEX_ID.fullmatch(key_id) or key is None:
        raise KeyMalformedError("the key is not <name>+<8 hex digits>+<base64>")
    if key[:1] != _ED25519 or len(key) != 1 + _KEY_BYTES:
        raise KeyMalformedError("the key is not an Ed25519 key of 32 bytes")
    return name, bytes.fromhex(key_id), key[1:]


def _key_text(verifier: Verifier, key: bytes) -> str:
    return f"{verifier.name}+{verifier.key_id.hex()}+{base64.b64encode(_ED25519 + key).decode()}"


def _base64(text: str) -> bytes | None:
    """Read standard base64; None if it is not the one form that its bytes have."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return value if base64.b64encode(value).decode() == text else None


def _is_plain(text: str) -> bool:
    return not _CONTROL.search(text)


def _is_name(name: str) -> bool:
    plain = "+" not in name and not any(character.isspace() for character in name) and _is_plain(name)
    return bool(name) and plain
