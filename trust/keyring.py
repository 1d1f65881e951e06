"""The keyring: the HMAC keys that tokens are made and checked with, by key id.

Rotation adds a key and moves the old one from signing to verifying, so no printed token is ever invalidated;
a key that leaked becomes revoked, and its tokens are still recognised so that their products can be flagged.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Self

MIN_KEY_BYTES = 32

_DOMAIN = b"voketag/token/v1"
_TAG_BYTES = 14
_BLOCK_BYTES = 64
_ENTRY_FIELDS = {"kid", "key", "state"}


class KeyringError(ValueError):
    """The keyring cannot be used; the message says which entry is wrong and never holds key material."""


class KeyState(Enum):
    """What a key may still do."""

    SIGNING = "signing"
    VERIFYING = "verifying"
    REVOKED = "revoked"


_STATES = {state.value: state for state in KeyState}


@dataclass(frozen=True, slots=True)
class Key:
    """A secret of at least 32 bytes, hidden from `repr`, and its state."""

    key: bytes = field(repr=False)
    state: KeyState


class TagMac:
    """HMAC-SHA256 (RFC 2104) over ``"voketag/token/v1" || message``, cut to 14 bytes.

    The key is absorbed once: copying two prepared hash states costs a third of `hmac.digest`, which absorbs
    the key anew in each call.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes, message_prefix: bytes = b"") -> None:
        block = (sha256(key).digest() if len(key) > _BLOCK_BYTES else key).ljust(_BLOCK_BYTES, b"\0")
        self._inner = sha256(bytes(byte ^ 0x36 for byte in block) + _DOMAIN + message_prefix)
        self._outer = sha256(bytes(byte ^ 0x5C for byte in block))

    def tag(self, message: bytes) -> bytes:
        """Give the tag of the prefix followed by `message`."""
        inner = self._inner.copy()
        inner.update(message)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()[:_TAG_BYTES]


@dataclass(frozen=True, slots=True)
class Keyring:
    """Keys by kid (0-255), exactly one of them signing.

    Raises KeyringError on a kid out of range, a key under 32 bytes, or not exactly one signing key.
    """

    keys: Mapping[int, Key]
    signing_kid: int = field(init=False)
    macs: tuple[tuple[TagMac, KeyState | None], ...] = field(init=False, repr=False, compare=False)
    """By kid, 256 of them; an unknown kid has no state but a MAC, so that it costs as much as a known one."""

    def __post_init__(self) -> None:
        for kid, key in self.keys.items():
            _check_entry(kid, key)
        signing = [kid for kid, key in self.keys.items() if key.state is KeyState.SIGNING]
        if len(signing) != 1:
            raise KeyringError(f"a keyring has exactly one signing key, not {len(signing)}")
        unknown: tuple[TagMac, KeyState | None] = (TagMac(bytes(MIN_KEY_BYTES)), None)
        known = {kid: (TagMac(key.key), key.state) for kid, key in self.keys.items()}
        object.__setattr__(self, "keys", MappingProxyType(dict(self.keys)))
        object.__setattr__(self, "signing_kid", signing[0])
        object.__setattr__(self, "macs", tuple(known.get(kid, unknown) for kid in range(256)))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read ``{"keys":[{"kid":1,"key":"<base64>","state":"signing"}, ...]}``.

        `kid` is 0-255 and appears once, `key` is standard padded base64 of at least 32 bytes, `state` is
        signing, verifying or revoked. Raises KeyringError, which names an entry by its place and never quotes it.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            # Refused below, outside this block: the parser's error carries the whole text, keys included.
            document = None
        items = document.get("keys") if isinstance(document, dict) and len(document) == 1 else None
        if not isinstance(items, list):
            raise KeyringError('the keyring is not JSON of the form {"keys": [...]}')
        return cls(_entries(items))


def _entries(items: Iterable[Any]) -> dict[int, Key]:
    keys: dict[int, Key] = {}
    for place, item in enumerate(items):
        where = f"keys[{place}]"
        if not isinstance(item, dict) or item.keys() != _ENTRY_FIELDS:
            raise KeyringError(f"{where} does not have exactly the fields kid, key and state")
        kid, state = item["kid"], item["state"]
        if type(kid) is not int or not 0 <= kid <= 255:
            raise KeyringError(f"{where}.kid is not a number from 0 to 255")
        if kid in keys:
            raise KeyringError(f"{where}.kid {kid} appears twice")
        if not isinstance(state, str) or state not in _STATES:
            raise KeyringError(f"{where}.state is not one of {', '.join(_STATES)}")
        keys[kid] = Key(_secret(item["key"], where), _STATES[state])
    return keys


def _secret(text: object, where: str) -> bytes:
    # A failed strict encoding would carry the text in its error; '?' is just as much refused below.
    encoded = text.encode("ascii", "replace") if isinstance(text, str) else b"?"
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:
        raise KeyringError(f"{where}.key is not base64") from None


def _check_entry(kid: int, key: Key) -> None:
    if not 0 <= kid <= 255:
        raise KeyringError(f"kid {kid} is not from 0 to 255")
    if len(key.key) < MIN_KEY_BYTES:
        raise KeyringError(f"the key of kid {kid} has {len(key.key)} bytes, fewer than {MIN_KEY_BYTES}")
