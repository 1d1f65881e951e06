"""The token printed on an item: 50 characters that say "this issuer made this code for this product".

A token is 31 bytes, ``kid:1 || product_id:16 || tag:14``, written as 50 characters of Crockford base32
(https://www.crockford.com/base32.html, no check symbol). 50 characters carry 250 bits; the last two are zero.
``tag = HMAC-SHA256(key[kid], "voketag/token/v1" || kid || product_id)[:14]``.

A valid tag proves that the code was issued, not that the item carrying it is genuine: a copied label carries
a valid tag.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hmac import compare_digest
from itertools import islice
from typing import NamedTuple

from trust.keyring import Key, Keyring, KeyState, TagMac

__all__ = [
    "ALPHABET",
    "LENGTH",
    "Checked",
    "Key",
    "KeyState",
    "Keyring",
    "Token",
    "TokenMalformedError",
    "TokenMinter",
    "check",
    "decode",
    "encode",
    "fold",
    "issue",
]

LENGTH = 50
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

_RAW_BYTES = 31
_TAG_BYTES = 14
_ID_BYTES = 16

# int(text, 32) reads the digits 0-9a-v in C; any byte outside the alphabet becomes '!', which int() refuses.
_TO_DIGIT = bytes(
    b"0123456789abcdefghijklmnopqrstuv"[ALPHABET.index(chr(byte))] if chr(byte) in ALPHABET else ord("!")
    for byte in range(256)
)
_TO_CHARACTER = ALPHABET.encode() * 8
_TYPED = str.maketrans({" ": None, "-": None, "I": "1", "L": "1", "O": "0"})

# Text is made in slots of 64 bytes: a token's 31 bytes and 9 of padding are 64 groups of five bits, which are
# spread to one group a byte; the first 50 of them are the token's characters.
_SLOT = 64
_PADDING = bytes(9)
_GAP = bytes(_SLOT - _RAW_BYTES)
_BLOCK_TOKENS = 128


class TokenMalformedError(ValueError):
    """The text is not the canonical form of any token."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a token's text holds: `kid` 0-255, `product_id` 16 bytes (a UUID), `tag` 14 bytes, not checked."""

    kid: int
    product_id: bytes
    tag: bytes


class Checked(NamedTuple):
    """A token whose tag is right: its product (16 bytes), and the key that made it with that key's state."""

    product_id: bytes
    kid: int
    state: KeyState


def encode(token: Token) -> str:
    """Write a token as its 50 characters.

    Raises ValueError if a part has the wrong size.
    """
    if not 0 <= token.kid <= 255 or len(token.product_id) != _ID_BYTES or len(token.tag) != _TAG_BYTES:
        raise ValueError("a token is a kid from 0 to 255, a product id of 16 bytes and a tag of 14 bytes")
    return _write(bytes((token.kid,)) + token.product_id + token.tag)


def decode(text: str) -> Token:
    """Read a token from its canonical text; the tag is not checked.

    Raises TokenMalformedError unless `encode` of the result gives back exactly `text`.
    """
    raw = _read(text)
    return Token(raw[0], raw[1:17], raw[17:])


def fold(text: str) -> str:
    """Fold what a person typed: drop spaces and hyphens, upper-case, I and L to 1, O to 0.

    The result need not be a token: give it to `decode` or `check`.
    """
    return text.upper().translate(_TYPED)


def issue(keyring: Keyring, product_id: bytes) -> str:
    """Give the token of a product (16 bytes) under the keyring's signing key.

    Raises ValueError if `product_id` is not 16 bytes. For more than a few tokens use `TokenMinter`.
    """
    return TokenMinter(keyring).mint(product_id)


def check(keyring: Keyring, text: str) -> Checked | None:
    """Check a canonical token against the keyring; None if the tag is wrong or the kid unknown.

    Every wrong tag takes the same time, and an unknown kid a fiftieth more: it too costs one HMAC and one
    constant-time comparison. The token of a revoked key is answered with that state. Raises TokenMalformedError
    if `text` is no token's canonical form, which anyone can see without a key.
    """
    raw = _read(text)
    mac, state = keyring.macs[raw[0]]
    if compare_digest(mac.tag(raw[:17]), raw[17:]) and state is not None:
        return Checked(raw[1:17], raw[0], state)
    return None


class TokenMinter:
    """Issues tokens in bulk under the keyring's signing key; all but the product id is hashed only once."""

    __slots__ = ("_kid", "_mac")

    def __init__(self, keyring: Keyring) -> None:
        self._kid = bytes((keyring.signing_kid,))
        self._mac = TagMac(keyring.keys[keyring.signing_kid].key, self._kid)

    def mint(self, product_id: bytes) -> str:
        """Give the token of one product (16 bytes); ValueError if it has another size."""
        return _write(self._raw(product_id))

    def mint_many(self, product_ids: Iterable[bytes]) -> Iterator[str]:
        """Give the tokens of many products in their order, at about half the cost of as many `mint`.

        Raises ValueError at a product id that is not 16 bytes.
        """
        ids = iter(product_ids)
        while block := [self._raw(product_id) for product_id in islice(ids, _BLOCK_TOKENS)]:
            text = _spread(_GAP.join(block) + _PADDING, len(block), _BLOCK_STEPS)
            for start in range(0, len(text), _SLOT):
                yield text[start : start + LENGTH]

    def _raw(self, product_id: bytes) -> bytes:
        if len(product_id) != _ID_BYTES:
            raise ValueError(f"a product id has {_ID_BYTES} bytes, not {len(product_id)}")
        return self._kid + product_id + self._mac.tag(product_id)


def _read(text: str) -> bytes:
    if len(text) != LENGTH:
        raise TokenMalformedError(f"a token has {LENGTH} characters, not {len(text)}")
    try:
        value = int(text.encode("ascii").translate(_TO_DIGIT), 32)
    except ValueError:
        raise TokenMalformedError(f"a token has no characters but {ALPHABET}") from None
    if value & 3:
        raise TokenMalformedError("the last two bits of a token are zero")
    return (value >> 2).to_bytes(_RAW_BYTES, "big")


def _write(raw: bytes) -> str:
    return _spread(raw + _PADDING, 1, _TOKEN_STEPS)[:LENGTH]


def _steps(slots: int) -> tuple[tuple[int, int], ...]:
    """Plan the spreading of each slot's 64 five-bit groups: six halvings of runs of 64, 32, ... 2 groups.

    A step is (mask of the upper half of every run, 2^shift - 1): adding the masked value times that factor
    moves each upper half up by `shift` bits and leaves the lower halves where they are.
    """
    plan = []
    for half in (32, 16, 8, 4, 2, 1):
        run = ((1 << 5 * half) - 1) << 5 * half
        mask = run.to_bytes(2 * half, "big") * (slots * _SLOT // (2 * half))
        plan.append((int.from_bytes(mask, "big"), (1 << 3 * half) - 1))
    return tuple(plan)


def _spread(slots: bytes, count: int, steps: tuple[tuple[int, int], ...]) -> str:
    value = int.from_bytes(slots, "big")
    for mask, factor in steps:
        value += (value & mask) * factor
    return value.to_bytes(count * _SLOT, "big").translate(_TO_CHARACTER).decode("ascii")


_TOKEN_STEPS = _steps(1)
_BLOCK_STEPS = _steps(_BLOCK_TOKENS)
