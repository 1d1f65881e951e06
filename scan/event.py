"""A scan as an event: what is said of it, the envelope in which it travels to the journal, and the row that it becomes.

Pure. The scan process says what it knows (`Said`), Valkey adds what it counted, and both together are judged: by the
process for its answer, and again by whoever writes the row, with the same outcome.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import orjson

from trust.ledger import NOT_SCORED, NOTHING_PERSONAL, Event, Opening

ID_BYTES, BLIND_BYTES = 16, 16
HMAC_BYTES = range(8, 65)
NO_COUNTS = b"{}"
"""The counts of a scan that was not counted."""

_COUNTRY = re.compile("[A-Z]{2}|")


class MalformedEventError(ValueError):
    """An entry that is no event; the message says why."""


class Source(IntEnum):
    """How a scan came in, as the table numbers it."""

    UNARY = 1
    STREAM = 2


class Said(NamedTuple):
    """What the scan process knows of a scan. `facts` is what the risk needs, anything that JSON can hold.

    Ids have 16 bytes, None when the card could not be read. `prefix` and `device` are HMACs under the day's salt, 8 to
    64 bytes, None when not known. `country` is ISO 3166-1 alpha-2, empty when not known.
    `weights` are those that the scan is judged by, as JSON, None for those that everybody has: they travel with the
    event, so that whoever writes it judges as the answer did, whatever was set meanwhile.
    """

    batch_id: bytes | None
    factory_id: bytes | None
    prefix: bytes | None
    device: bytes | None
    country: str
    source: Source
    facts: Mapping[str, Any]
    weights: str | None = None

    def to_json(self) -> bytes:
        """One JSON object; bytes in it are hexadecimal."""
        return orjson.dumps(
            {
                "batch": self.batch_id and self.batch_id.hex(),
                "factory": self.factory_id and self.factory_id.hex(),
                "prefix": self.prefix and self.prefix.hex(),
                "device": self.device and self.device.hex(),
                "country": self.country,
                "source": self.source,
                "facts": self.facts,
                **({"weights": self.weights} if self.weights is not None else {}),
            }
        )


class Envelope(NamedTuple):
    """An event on its way: ids of 16 bytes (`event_id` is a UUIDv7), `Said.to_json()`, and what `Counts.read` reads."""

    event_id: bytes
    product_id: bytes
    said: bytes
    counts: bytes = NO_COUNTS

    def fields(self) -> dict[bytes, bytes]:
        """The fields of a stream's entry; whoever appends it in Valkey adds the counts."""
        return {b"e": self.event_id, b"p": self.product_id, b"s": self.said, b"c": self.counts}


def read_envelope(fields: Mapping[bytes, bytes]) -> Envelope:
    """The reverse of `Envelope.fields`. Raises MalformedEventError."""
    if fields.keys() != {b"e", b"p", b"s", b"c"}:
        names = ", ".join([name.decode(errors="replace")[:20] for name in list(fields)[:8]])
        raise MalformedEventError(f"the fields are {names}, not e, p, s, c")
    envelope = Envelope(fields[b"e"], fields[b"p"], fields[b"s"], fields[b"c"])
    if len(envelope.event_id) != ID_BYTES or len(envelope.product_id) != ID_BYTES:
        raise MalformedEventError(f"an id is not of {ID_BYTES} bytes")
    if envelope.event_id[6] >> 4 != 7 or envelope.event_id[8] >> 6 != 2:
        raise MalformedEventError("the event's id is no UUIDv7")
    return envelope


class Judged(NamedTuple):
    """What was made of a scan.

    `verdict` as the contract numbers it; `total` 0 to 100, None when no risk was worked out; `factors` and `facts` are
    JSON: the scores, and everything that they came from. `leading_factor` is the factor that adds most, 1 to 7 in
    the order of their names, None if nothing does. `scan_count`: the product's scans so far, None when not counted.
    """

    verdict: int
    total: int | None
    factors: bytes
    risk_version: int
    weights_version: str
    facts: bytes
    leading_factor: int | None = None
    scan_count: int | None = None


class Judge(Protocol):
    """Pure: the same `Said.to_json()` and counts give the same judgement; raises on what it cannot read."""

    def __call__(self, said: bytes, counts: bytes, /) -> Judged:
        """The judgement on a scan."""
        ...


class Row(NamedTuple):
    """A row of scan.events without its place in the ledger, in the order of the columns."""

    product_id: UUID
    event_id: UUID
    at: datetime
    batch_id: UUID | None
    factory_id: UUID | None
    verdict: int
    risk: int | None
    factors: bytes
    risk_version: int
    weights_version: str
    prefix_hmac: bytes | None
    device_hmac: bytes | None
    blind: bytes | None
    personal: bytes
    country: str
    source: int
    facts: bytes
    leading_factor: int | None
    scan_count: int | None

    def ledger_event(self) -> Event:
        """What the ledger says of it."""
        risk = NOT_SCORED if self.risk is None else self.risk
        ids = self.event_id.bytes, self.product_id.bytes
        return Event(*ids, time_ms(ids[0]), self.verdict, risk, self.risk_version, self.personal)


def make_row(envelope: Envelope, judge: Judge, blind: bytes) -> Row:
    """The row of an event; `blind` are 16 random bytes of its own. Raises MalformedEventError."""
    said = _object(envelope.said)
    judged = _judged(envelope, judge)
    prefix, device = _hmac(said, "prefix"), _hmac(said, "device")
    country, source = said.get("country"), said.get("source")
    if not isinstance(country, str) or not _COUNTRY.fullmatch(country):
        raise MalformedEventError("country: neither two capital letters nor empty")
    if source not in (Source.UNARY, Source.STREAM):
        raise MalformedEventError("source: neither 1 nor 2")
    personal = prefix is not None or device is not None
    return Row(
        product_id=UUID(bytes=envelope.product_id),
        event_id=UUID(bytes=envelope.event_id),
        at=datetime.fromtimestamp(time_ms(envelope.event_id) / 1000, UTC),
        batch_id=_id(said, "batch"),
        factory_id=_id(said, "factory"),
        verdict=judged.verdict,
        risk=judged.total,
        factors=judged.factors,
        risk_version=judged.risk_version,
        weights_version=judged.weights_version,
        prefix_hmac=prefix,
        device_hmac=device,
        blind=blind if personal else None,
        personal=Opening(blind, (prefix or b"", device or b"")).commitment() if personal else NOTHING_PERSONAL,
        country=country,
        source=source,
        facts=judged.facts,
        leading_factor=judged.leading_factor,
        scan_count=judged.scan_count,
    )


def time_ms(event_id: bytes) -> int:
    """The milliseconds since 1970 in a UUIDv7 (RFC 9562)."""
    return int.from_bytes(event_id[:6], "big")


def _judged(envelope: Envelope, judge: Judge) -> Judged:
    try:
        judged = judge(envelope.said, envelope.counts)
    except Exception as error:  # whatever a pure function raises is about what it was given
        raise MalformedEventError(f"cannot be judged: {type(error).__name__}: {error}") from error
    scored = judged.total is None or 0 <= judged.total <= 100
    if not (0 <= judged.verdict < 1 << 8 and scored and 0 <= judged.risk_version < 1 << 31):
        raise MalformedEventError("the judgement is out of range")
    return judged


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise MalformedEventError(f"what is said is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise MalformedEventError("what is said is no JSON object")
    return found


def _id(said: Mapping[str, Any], name: str) -> UUID | None:
    value = said.get(name)
    if value is None:
        return None
    found = _uuid(value) if isinstance(value, str) else None
    if found is None:
        raise MalformedEventError(f"{name}: not {ID_BYTES} bytes in hexadecimal")
    return found


@lru_cache(maxsize=16_384)
def _uuid(text: str) -> UUID | None:
    """Of a batch or a factory, which many scans have."""
    try:
        return UUID(bytes=bytes.fromhex(text))
    except ValueError:
        return None


def _hmac(said: Mapping[str, Any], name: str) -> bytes | None:
    value = _bytes(said, name)
    if value is not None and len(value) not in HMAC_BYTES:
        raise MalformedEventError(f"{name}: not of {HMAC_BYTES[0]} to {HMAC_BYTES[-1]} bytes")
    return value


def _bytes(said: Mapping[str, Any], name: str) -> bytes | None:
    value = said.get(name)
    if value is None:
        return None
    try:
        return bytes.fromhex(value)
    except (ValueError, TypeError):
        raise MalformedEventError(f"{name}: not hexadecimal") from None
