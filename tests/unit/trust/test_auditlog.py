"""Entries of the audit log: one layout, one line, and a hash that every field is in."""

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from trust.auditlog import AuditEntry, LogRow, checkpoint_to_json, row_from_json, row_to_json
from trust.exported import Export, ExportMalformedError
from trust.ledger import EntryMalformedError, State, extend, genesis

ENTRY = AuditEntry(
    source="factory",
    audit_id=UUID("0192f0c2-0000-7000-8000-000000000001"),
    time=datetime(2026, 3, 4, 5, 6, 7, 89, UTC),
    actor_kind="user",
    actor_id="0192f0c2-0000-7000-8000-000000000002",
    actor_role="admin",
    method="/voketag.factory.v1.AccountService/UpdateFactory",
    resource="factory/7",
    request_id=UUID("0192f0c2-0000-7000-8000-000000000003"),
    address_prefix="10.0.0.0/24",
    result="OK",
    detail='{"name": {"before": "Fábrica", "after": "工場"}}',
)
PREVIOUS = genesis("voketag.com/audit")
OTHER: dict[str, Any] = {
    "audit_id": UUID(int=9),
    "time": datetime(2026, 3, 4, 5, 6, 7, 90, UTC),
    "request_id": None,
}


def laid_out(previous: bytes) -> bytes:
    """The layout of docs/encodings.md, by a few lines apart from trust/."""
    texts = ["factory", "user", "0192f0c2-0000-7000-8000-000000000002", "admin"]
    texts += ["/voketag.factory.v1.AccountService/UpdateFactory", "factory/7"]
    parts = [text.encode() for text in texts]
    parts += [bytes.fromhex("0192f0c2000070008000000000000003"), b"10.0.0.0/24", b"OK"]
    parts.append('{"name": {"before": "Fábrica", "after": "工場"}}'.encode())
    micros = 1772600767000089
    head = bytes.fromhex("56544c01") + previous + bytes.fromhex("0192f0c2000070008000000000000001")
    return head + micros.to_bytes(8, "big") + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def test_an_entry_is_laid_out_as_documented() -> None:
    assert ENTRY.bytes_after(PREVIOUS) == laid_out(PREVIOUS)
    assert ENTRY.hash_after(PREVIOUS) == sha256(b"\0" + laid_out(PREVIOUS)).digest()


@pytest.mark.parametrize("field", AuditEntry._fields)
def test_every_field_is_in_the_hash(field: str) -> None:
    other = ENTRY._replace(**{field: OTHER.get(field, "something else")})
    assert other.hash_after(PREVIOUS) != ENTRY.hash_after(PREVIOUS)
    assert ENTRY.hash_after(bytes(32)) != ENTRY.hash_after(PREVIOUS)


def test_text_does_not_move_between_fields() -> None:
    one = ENTRY._replace(actor_kind="ab", actor_id="c")
    assert one.hash_after(PREVIOUS) != ENTRY._replace(actor_kind="a", actor_id="bc").hash_after(PREVIOUS)


@pytest.mark.parametrize("entry", [ENTRY, ENTRY._replace(request_id=None, time=datetime(1969, 1, 1, tzinfo=UTC))])
def test_a_line_holds_the_entry(entry: AuditEntry) -> None:
    row = LogRow(7, PREVIOUS, entry)
    line = row_to_json(row)
    assert line.isascii()
    assert "\n" not in line
    assert row_from_json(json.loads(line)) == row


WRONG: dict[str, dict[str, Any]] = {
    "no number": {"number": None},
    "negative": {"number": -1},
    "number of text": {"number": "1"},
    "short hash": {"previous": "00"},
    "hash that is none": {"previous": "x" * 64},
    "id that is none": {"audit_id": "x"},
    "time that is none": {"time": "yesterday"},
    "time without its offset": {"time": "2026-01-01T00:00:00"},
    "detail that is no text": {"detail": {}},
    "nothing": {"result": None},
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=WRONG)
def test_other_lines_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(EntryMalformedError):
        row_from_json(json.loads(row_to_json(LogRow(0, PREVIOUS, ENTRY))) | fields)
    with pytest.raises(EntryMalformedError):
        row_from_json({})


def test_what_has_no_bytes_is_refused() -> None:
    with pytest.raises(EntryMalformedError):
        ENTRY._replace(detail="\ud800").bytes_after(PREVIOUS)
    with pytest.raises(EntryMalformedError):
        ENTRY.bytes_after(b"short")


async def test_an_export_gives_the_tree_of_its_entries(tmp_path: Path) -> None:
    entries = [ENTRY._replace(detail=str(number)) for number in range(300)]
    state, lines = State.empty("voketag.com/audit"), list[str]()
    for number, entry in enumerate(entries):
        lines.append(row_to_json(LogRow(number, state.last, entry)))
        state = extend(state, [entry]).state
    path = tmp_path / "log"
    path.write_text("\n".join([*lines, checkpoint_to_json(b"a note\n")]) + "\n")
    export = Export(path)
    assert await export.size() == 300
    assert [len(await export.tile(0, index)) // 32 for index in range(3)] == [256, 44, 0]
    assert (await export.tile(0, 1)).endswith(state.last)
    assert len(await export.tile(1, 0)) == 32
    assert [note async for note in export.checkpoints(0)] == [b"a note\n"]
    found = [row async for page in export.rows(298) for row in page]
    assert [row.event for row in found] == entries[298:]
    path.write_text("{}\n")
    with pytest.raises(ExportMalformedError, match="line 1 "):
        Export(path)
