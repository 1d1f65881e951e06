"""Canonical bytes of what is hashed: one value, one encoding, on every machine and in every language.

Each function's docstring gives its layout byte by byte; integers are big-endian.
"""

import re
from collections.abc import Mapping
from enum import IntEnum
from functools import lru_cache
from hashlib import sha256
from unicodedata import is_normalized

MAX_ATTRIBUTES = 64
MAX_ATTRIBUTES_BYTES = 4096

_KEY = re.compile(r"[a-z][a-z0-9_]{0,31}")
# Category Cc, and lone surrogates, which have no UTF-8.
_REFUSED = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_PRODUCT_SCHEMA = b"VTP\x01"
_ANCHOR_SCHEMA = b"VTA\x01"
_ID_BYTES = 16
_HASH_BYTES = 32


class AttributesError(ValueError):
    """Attributes that have no canonical bytes; `key` is the key at fault, empty if it is the whole map."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"attribute {key[:40]!r} {reason}" if key else f"the attributes {reason}")
        self.key = key
        self.reason = reason


class SubjectKind(IntEnum):
    """What an anchored root is the root of."""

    BATCH = 1
    SCAN_LEDGER = 2
    AUDIT_LOG = 3


def attributes_bytes(attributes: Mapping[str, str]) -> bytes:
    r"""Encode a product's attributes as RFC 8785 (JCS) JSON in UTF-8: ``{"key":"value",...}``, keys sorted.

    Keys match ``[a-z][a-z0-9_]{0,31}``, at most 64 of them; values are Unicode NFC without control characters
    (category Cc); the whole is at most 4,096 bytes. There are no spaces, and in a value only ``"`` and ``\``
    are escaped, each by a ``\``. No attributes give ``{}``. Raises AttributesError, naming the key and why.
    """
    keys, template = _layout(tuple(attributes))
    values = tuple([attributes[key] for key in keys])
    try:
        text = "".join(values)
    except TypeError:
        key = next(key for key in keys if not isinstance(attributes[key], str))
        raise AttributesError(key, "is not text") from None
    # Printable ASCII is NFC, has no control characters, and but for these two needs no escape.
    if not (text.isascii() and text.isprintable()) or '"' in text or "\\" in text:
        values = tuple([_escaped(key, attributes[key]) for key in keys])
    encoded = (template % values).encode()
    if len(encoded) > MAX_ATTRIBUTES_BYTES:
        raise AttributesError("", f"take {len(encoded)} bytes, more than {MAX_ATTRIBUTES_BYTES}")
    return encoded


def attributes_digest(encoded: bytes) -> bytes:
    """Hash the bytes that `attributes_bytes` gave: SHA-256, 32 bytes."""
    return sha256(encoded).digest()


def product_leaf(batch_id: bytes, index: int, product_id: bytes, digest: bytes) -> bytes:
    r"""Lay out the leaf data of a product in its batch's tree, 76 bytes; hash it with `merkle.leaf_hash`.

    ``"VTP\x01":4 || batch_id:16 || index:8 || product_id:16 || attributes_digest:32``, where `index` is the
    product's place in the batch from 0. Raises ValueError if a part has the wrong size.
    """
    if len(batch_id) != _ID_BYTES or len(product_id) != _ID_BYTES or len(digest) != _HASH_BYTES:
        raise ValueError("a product leaf has ids of 16 bytes and a digest of 32 bytes")
    return _PRODUCT_SCHEMA + batch_id + _uint64(index) + product_id + digest


def anchor_leaf(kind: SubjectKind, subject_id: bytes, tree_size: int, root: bytes) -> bytes:
    r"""Lay out the leaf data of a root in the anchor tree, 61 bytes; hash it with `merkle.leaf_hash`.

    ``"VTA\x01":4 || kind:1 || subject_id:16 || tree_size:8 || root:32``, with `kind` 1 for a batch, 2 for a
    checkpoint of the scan ledger, 3 for one of the audit log. Raises ValueError if a part has the wrong size.
    """
    if len(subject_id) != _ID_BYTES or len(root) != _HASH_BYTES:
        raise ValueError("an anchor leaf has an id of 16 bytes and a root of 32 bytes")
    return _ANCHOR_SCHEMA + bytes((SubjectKind(kind),)) + subject_id + _uint64(tree_size) + root


@lru_cache(maxsize=1024)
def _layout(keys: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Check and sort the keys; products of one batch share them, so this is worked out once for all."""
    if len(keys) > MAX_ATTRIBUTES:
        raise AttributesError("", f"are {len(keys)}, more than {MAX_ATTRIBUTES}")
    for key in keys:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise AttributesError(str(key) or '""', f"has a key that does not match {_KEY.pattern}")
    # JCS orders by UTF-16 code units, which for ASCII is the order of `sorted`.
    ordered = tuple(sorted(keys))
    return ordered, "{" + ",".join(f'"{key}":"%s"' for key in ordered) + "}"


def _escaped(key: str, value: str) -> str:
    if refused := _REFUSED.search(value):
        raise AttributesError(key, f"has the character U+{ord(refused[0]):04X}, a control or surrogate")
    if not is_normalized("NFC", value):
        raise AttributesError(key, "is not in Unicode normalisation form NFC")
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _uint64(number: int) -> bytes:
    if not 0 <= number < 1 << 64:
        raise ValueError(f"{number} is not an unsigned number of 64 bits")
    return number.to_bytes(8, "big")
