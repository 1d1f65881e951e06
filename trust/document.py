"""Strict reading of a receipt's JSON: every refusal says where, nothing is guessed and nothing ignored."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

MAX_BYTES = 64 * 1024
# RFC 8785 writes numbers as IEEE doubles, which hold whole numbers exactly up to here.
MAX_NUMBER = (1 << 53) - 1

MAX_EVIDENCE = 8
# Six objects and two lists, and the evidence, and no more, make a receipt.
_MOST_CONTAINERS = 8 + 1 + MAX_EVIDENCE
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_HASH = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class ReceiptMalformedError(ValueError):
    """The document is not a receipt in canonical form; the message says where and why."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where} {reason}")
        self.where = where


def canonical_json(value: Mapping[str, Any]) -> bytes:
    """Write a document as RFC 8785 JSON; sound for ASCII keys and whole numbers, the only ones in a receipt."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def parse(text: bytes) -> object:
    """Read JSON of at most 64 KiB in UTF-8 without repeated keys; raises ReceiptMalformedError."""
    if len(text) > MAX_BYTES:
        raise ReceiptMalformedError("receipt", f"has {len(text)} bytes, more than {MAX_BYTES}")
    # The parser recurses in C, and some libraries raise the recursion limit beyond the C stack (py_ecc, which web3
    # imports): without this, 64 KiB of opening brackets could end the process.
    outside_strings = _STRING.sub(b"", text)
    if outside_strings.count(b"[") + outside_strings.count(b"{") > _MOST_CONTAINERS:
        raise ReceiptMalformedError("receipt", f"has more than {_MOST_CONTAINERS} objects and lists")
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=_object)
    except ReceiptMalformedError:
        raise
    except (ValueError, RecursionError):
        raise ReceiptMalformedError("receipt", "is not JSON in UTF-8") from None


def hash_text(value: bytes) -> str:
    """Write a hash of 32 bytes as base64url without padding, 43 characters."""
    return blob_text(value)


def blob_text(value: bytes) -> str:
    """Write bytes as base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


class Fields:
    """A JSON object with exactly the fields `names`, read by type; `where` is its place in the document."""

    __slots__ = ("_values", "_where")

    def __init__(self, value: object, where: str, names: frozenset[str]) -> None:
        if not isinstance(value, dict):
            raise ReceiptMalformedError(where, "is not an object")
        if missing := names - value.keys():
            raise ReceiptMalformedError(where, f"lacks {', '.join(sorted(missing))}")
        if unknown := value.keys() - names:
            raise ReceiptMalformedError(where, f"has the unknown field {min(unknown)[:40]!r}")
        self._values = value
        self._where = where

    def child(self, name: str, names: frozenset[str]) -> "Fields":
        """Read an object."""
        return Fields(self._values[name], self._place(name), names)

    def optional(self, name: str, names: frozenset[str]) -> "Fields | None":
        """Read an object or null."""
        return None if self._values[name] is None else self.child(name, names)

    def text(self, name: str, pattern: re.Pattern[str]) -> str:
        """Read text that matches the whole of `pattern`."""
        value = self._values[name]
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ReceiptMalformedError(self._place(name), f"is not text of the form {pattern.pattern}")
        return value

    def number(self, name: str) -> int:
        """Read a whole number from 0 to 2^53 - 1."""
        value = self._values[name]
        if type(value) is not int or not 0 <= value <= MAX_NUMBER:
            raise ReceiptMalformedError(self._place(name), "is not a whole number from 0 to 2^53 - 1")
        return value

    def uuid(self, name: str) -> bytes:
        """Read a UUID in lower case as its 16 bytes."""
        return UUID(self.text(name, _UUID)).bytes

    def hash(self, name: str) -> bytes:
        """Read a hash of 32 bytes."""
        return _hash(self._values[name], self._place(name))

    def hashes(self, name: str) -> tuple[bytes, ...]:
        """Read a list of hashes."""
        value, where = self._values[name], self._place(name)
        if not isinstance(value, list):
            raise ReceiptMalformedError(where, "is not a list")
        return tuple(_hash(item, f"{where}[{place}]") for place, item in enumerate(value))

    def children(self, name: str) -> list[tuple[object, str]]:
        """Read a list, each item with its place."""
        value, where = self._values[name], self._place(name)
        if not isinstance(value, list):
            raise ReceiptMalformedError(where, "is not a list")
        return [(item, f"{where}[{place}]") for place, item in enumerate(value)]

    def blob(self, name: str) -> bytes:
        """Read bytes, one or more, as base64url without padding, in the one form that they have."""
        text = self.text(name, _BASE64URL)
        try:
            value = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            value = b""
        if not value or blob_text(value) != text:
            raise ReceiptMalformedError(self._place(name), "is not base64url without padding")
        return value

    def raw(self, name: str) -> dict[str, Any]:
        """Read an object whose fields the caller checks."""
        value = self._values[name]
        if not isinstance(value, dict):
            raise ReceiptMalformedError(self._place(name), "is not an object")
        return value

    def _place(self, name: str) -> str:
        return f"{self._where}.{name}"


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values: dict[str, object] = {}
    for key, value in pairs:
        if key in values:
            raise ReceiptMalformedError("receipt", f"has the field {key[:40]!r} twice in one object")
        values[key] = value
    return values


def _hash(value: object, where: str) -> bytes:
    # The pattern admits only last characters whose two spare bits are zero, so one hash has one text.
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise ReceiptMalformedError(where, "is not a hash: 32 bytes as 43 characters of base64url")
    return base64.urlsafe_b64decode(value + "=")
