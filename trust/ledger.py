r"""The scan ledger: entries that each commit to the one before, and are the leaves of one RFC 9162 tree.

An entry is ``"VTS\x01":4 || previous:32 || event_id:16 || product_id:16 || time_ms:8 || verdict:1 || risk_total:1 ||
risk_version:4 || personal:32``, 114 bytes, big-endian. Its hash is its leaf hash, ``SHA-256(0x00 || entry)``, and
`previous` is the hash of the entry before it, so that the chain's links are the hashes on level 0 of the tree's
tiles: every entry can be checked against its neighbour alone.

An entry holds no personal data, only `personal`, a commitment to it: see `Opening`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct, error
from typing import NamedTuple, Protocol, Self

from trust.merkle import HASH_BYTES
from trust.tiles import Reader, Tile, TileBuilder, leaf_from_tiles, partial_tiles

ENTRY_BYTES = 114
NOT_SCORED = 255
"""The `risk_total` of a scan whose risk could not be worked out."""
NOTHING_PERSONAL = bytes(HASH_BYTES)
"""The `personal` of a scan with which nothing personal was kept."""

_SCHEMA = b"VTS\x01"
_OPENING_SCHEMA = b"VTD\x01"
_GENESIS = b"voketag/ledger/v1\n"
_ENTRY = Struct(">4s32s16s16sQBBI32s")
_LEAF = Struct(">5s32s16s16sQBBI32s")
_LEAF_PREFIX = b"\x00" + _SCHEMA
_ID_BYTES = 16
_BLIND_BYTES = 16
_MOST_FIELD_BYTES = (1 << 16) - 1


class EntryMalformedError(ValueError):
    """The event has no canonical entry, or the bytes are not one; the message says what is wrong."""


class Chained(Protocol):
    """What an entry says, of whatever log it is: a scan, or a change that the audit log tells of."""

    @property
    def event_id(self) -> bytes:
        """Its id: 16 bytes."""
        ...

    @property
    def personal(self) -> bytes:
        """The commitment to its personal fields, NOTHING_PERSONAL without any."""
        ...

    def hash_after(self, previous: bytes) -> bytes:
        """Give the hash of its entry after the entry whose hash is `previous`. Raises EntryMalformedError."""
        ...


class Event(NamedTuple):
    """What the ledger says of one scan, in the order of the entry's bytes.

    Ids of 16 bytes (`event_id` is a UUIDv7; `product_id` is zero if the code named none), `time_ms` since 1970 UTC,
    `verdict` as the contract numbers it, `risk_total` 0-100 or NOT_SCORED, `risk_version` under 2^32, and `personal`,
    the commitment of 32 bytes.
    """

    event_id: bytes
    product_id: bytes
    time_ms: int
    verdict: int
    risk_total: int
    risk_version: int
    personal: bytes

    def hash_after(self, previous: bytes) -> bytes:
        """See `entry_hash`."""
        return entry_hash(previous, self)


@dataclass(frozen=True, slots=True)
class Opening:
    """What `Event.personal` commits to: the personal fields of a scan, and 16 random bytes of their own.

    The blind keeps the fields from being guessed by trying: it is drawn for each event, kept beside the fields and
    erased with them, and then the commitment tells nothing. A field that is absent is empty.
    """

    blind: bytes
    fields: tuple[bytes, ...]

    def commitment(self) -> bytes:
        r"""Give ``SHA-256("VTD\x01":4 || blind:16 || (length:2 || field)...)``.

        Raises EntryMalformedError on a blind of another size or a field of more than 65,535 bytes.
        """
        if len(self.blind) != _BLIND_BYTES or any(len(value) > _MOST_FIELD_BYTES for value in self.fields):
            raise EntryMalformedError("an opening has a blind of 16 bytes and fields of at most 65,535")
        parts = [part for value in self.fields for part in (len(value).to_bytes(2, "big"), value)]
        return sha256(b"".join((_OPENING_SCHEMA, self.blind, *parts))).digest()


def genesis(origin: str) -> bytes:
    """Give what the first entry of the log `origin` has as `previous`: it binds the entries to this log."""
    return sha256(_GENESIS + origin.encode()).digest()


def entry_bytes(previous: bytes, event: Event) -> bytes:
    """Lay out an entry after the entry whose hash is `previous`. Raises EntryMalformedError."""
    _check(previous, event)
    return _packed(_ENTRY, _SCHEMA, previous, event)


def entry_hash(previous: bytes, event: Event) -> bytes:
    """Give the hash of the entry of `event` after the entry whose hash is `previous`. Raises EntryMalformedError."""
    _check(previous, event)
    return sha256(_packed(_LEAF, _LEAF_PREFIX, previous, event)).digest()


def read_entry(data: bytes) -> tuple[bytes, Event]:
    """Read an entry: the hash of the entry before it, and the event. Raises EntryMalformedError."""
    if len(data) != ENTRY_BYTES or not data.startswith(_SCHEMA):
        raise EntryMalformedError(f"an entry has {ENTRY_BYTES} bytes and begins with {_SCHEMA.hex()}")
    _, previous, *facts = _ENTRY.unpack(data)
    event = Event(*facts)
    _check(previous, event)
    return previous, event


@dataclass(frozen=True, slots=True)
class State:
    """Where a ledger ends: the number of its entries, the last one's hash, and its partial tiles, lowest first."""

    size: int
    last: bytes
    tiles: tuple[Tile, ...]

    @classmethod
    def empty(cls, origin: str) -> Self:
        """Give the state before the first entry of the log `origin`."""
        return cls(0, genesis(origin), ())

    @classmethod
    def from_tiles(cls, origin: str, size: int, tile: Reader) -> Self:
        """Find the state after `size` entries in stored tiles. Raises ValueError if a tile is too short for it."""
        if not size:
            return cls.empty(origin)
        last = leaf_from_tiles(size - 1, tile)
        return cls(size, last, partial_tiles(size, tile))

    def root(self) -> bytes:
        """Work out the root of the tree."""
        return TileBuilder.resume(self.size, self.tiles).finish().root


@dataclass(frozen=True, slots=True)
class Appended:
    """What a group of entries made of a ledger: its new state, and every tile that is new or grew, lowest first.

    To store it, write each tile over what its place held; whoever read a shorter tile there read a prefix of it.
    """

    state: State
    tiles: tuple[Tile, ...]


def append(state: State, events: Iterable[Event]) -> Appended:
    """Append events in their order; nothing is stored, and `state` stays as it is.

    Raises EntryMalformedError on the first event that has no canonical entry, ValueError if `state` is none.
    """
    builder = TileBuilder.resume(state.size, state.tiles)
    last, hashes = state.last, bytearray()
    leaf, digest = _LEAF.pack, sha256
    try:
        for event in events:
            if len(event[0]) != _ID_BYTES or len(event[1]) != _ID_BYTES or len(event[6]) != HASH_BYTES:
                _check(last, event)
            if event[4] > 100:
                _check(last, event)
            last = digest(leaf(_LEAF_PREFIX, last, *event)).digest()
            hashes += last
    except error as refused:
        raise EntryMalformedError(f"a number of the event is out of range: {refused}") from None
    return _grown(state, builder, last, bytes(hashes))


def extend(state: State, entries: Iterable[Chained]) -> Appended:
    """Append entries of any log in their order, as `append` does. Raises EntryMalformedError, ValueError."""
    last, hashes = state.last, bytearray()
    for entry in entries:
        last = entry.hash_after(last)
        hashes += last
    return _grown(state, TileBuilder.resume(state.size, state.tiles), last, bytes(hashes))


def _grown(state: State, builder: TileBuilder, last: bytes, hashes: bytes) -> Appended:
    full = builder.add(hashes)
    partial = builder.partial()
    held = {(tile.level, tile.index): len(tile.hashes) for tile in state.tiles}
    grown = [tile for tile in partial if held.get((tile.level, tile.index)) != len(tile.hashes)]
    tiles = sorted([*full, *grown], key=lambda tile: (tile.level, tile.index))
    size = state.size + len(hashes) // HASH_BYTES
    return Appended(State(size, last, partial), tuple(tiles))


def bundle(entries: Sequence[bytes]) -> bytes:
    """Join up to 256 entries as an entry bundle of C2SP tlog-tiles: each behind its length in 2 bytes."""
    return b"".join([part for entry in entries for part in (len(entry).to_bytes(2, "big"), entry)])


def unbundle(data: bytes) -> list[bytes]:
    """Split what `bundle` joined. Raises EntryMalformedError if it is cut."""
    entries, place = [], 0
    while place < len(data):
        start = place + 2
        place = start + int.from_bytes(data[start - 2 : start], "big")
        if start > len(data) or place > len(data):
            raise EntryMalformedError("the bundle is cut")
        entries.append(data[start:place])
    return entries


def _check(previous: bytes, event: Event) -> None:
    if len(previous) != HASH_BYTES or len(event.personal) != HASH_BYTES:
        raise EntryMalformedError(f"a hash and a commitment have {HASH_BYTES} bytes")
    if len(event.event_id) != _ID_BYTES or len(event.product_id) != _ID_BYTES:
        raise EntryMalformedError(f"an id has {_ID_BYTES} bytes")
    if event.risk_total > 100 and event.risk_total != NOT_SCORED:
        raise EntryMalformedError(f"{event.risk_total} is not a risk from 0 to 100")


def _packed(layout: Struct, prefix: bytes, previous: bytes, event: Event) -> bytes:
    try:
        return layout.pack(prefix, previous, *event)
    except error as refused:
        raise EntryMalformedError(f"a number of the event is out of range: {refused}") from None
