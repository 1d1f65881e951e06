"""`voketag audit-log verify`: whatever the database's owner, or whoever has an export, did to the log is named."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from admin.audit import AuditLog, Filter
from admin.store import Store
from mesh import database as databases_of
from mesh.ledger import Ledger
from mesh.local.secrets import AUDIT_ORIGIN
from mesh.paging import PageTokens
from tests.databases import Database, Databases
from tests.fakes.keys import signer
from tests.integration.admin.audit_world import Kept, as_owner, as_service, lines, put
from trust.checkpoint import Checkpoint, sign_checkpoint
from trust.note import Signer

ROWS = 600
Lines = list[dict[str, Any]]


@pytest.fixture
async def database(databases: Databases) -> AsyncIterator[Database]:
    async with databases.clone("factory", "scan", "anchor", "admin") as database:
        yield database


@pytest.fixture
async def kept(database: Database) -> Kept:
    kept = Kept(database, signer(AUDIT_ORIGIN), Ledger(AUDIT_ORIGIN))
    await kept.fill(ROWS, turns=3)
    return kept


@pytest.fixture
async def export(kept: Kept, tmp_path: Path) -> Path:
    async with await databases_of.connect(kept.database.settings("admin"), schema="admin") as pool:
        log = AuditLog(Store(pool), kept.ledger, PageTokens(bytes(32)))
        path = tmp_path / "log.jsonl"
        path.write_bytes(b"".join([piece async for piece in log.export(Filter(), 0)]))
    return path


OLDEST = "SELECT audit_id FROM factory.audit ORDER BY position LIMIT 1"
REWRITE = """
UPDATE scan.audit SET detail = '{"name": "forged"}' WHERE position = 30;
DELETE FROM admin.audit_chain; DELETE FROM admin.ledger_tiles; DELETE FROM admin.ledger;
DELETE FROM admin.audit_cursors
"""
SWAP = """
UPDATE admin.audit_chain SET number = 9999 WHERE number = 10;
UPDATE admin.audit_chain SET number = 10 WHERE number = 400;
UPDATE admin.audit_chain SET number = 400 WHERE number = 9999
"""
INSERT = """
CREATE TEMP TABLE one AS SELECT * FROM admin.audit_chain WHERE number = 20;
UPDATE one SET number = 600, audit_id = uuidv7();
INSERT INTO admin.audit_chain SELECT * FROM one
"""
CUT = """
DELETE FROM admin.audit_chain WHERE number >= 512;
DELETE FROM admin.ledger_tiles WHERE level = 0 AND number = 2;
UPDATE admin.ledger SET size = 512
"""
SLIPPED_IN = """
INSERT INTO anchor.audit (audit_id, at, actor_kind, actor_id, method, resource, address_prefix, detail, xid)
VALUES (uuidv7(), now(), '', '', '', '', '', '{}', '1')
"""
DAMAGES: dict[str, tuple[str, list[str]]] = {
    "edited": ("UPDATE admin.audit_chain SET detail = '{}' WHERE number = 120", ["ENTRY_EDITED 120 (event "]),
    "another actor": ("UPDATE admin.audit_chain SET actor_id = 'x' WHERE number = 7", ["ENTRY_EDITED 7 (event "]),
    "another time": (
        "UPDATE admin.audit_chain SET at = at + interval '1 us' WHERE number = 599",
        ["ENTRY_EDITED 599 (event "],
    ),
    "another role": ("UPDATE admin.audit_chain SET actor_role = '' WHERE number = 0", ["ENTRY_EDITED 0 (event "]),
    "deleted": ("DELETE FROM admin.audit_chain WHERE number BETWEEN 100 AND 149", ["ENTRY_MISSING 100-149: "]),
    "deleted at the end": ("DELETE FROM admin.audit_chain WHERE number >= 590", ["ENTRY_MISSING 590-599: "]),
    "swapped": (
        SWAP,
        ["ENTRY_MOVED 10 (event ", "ENTRY_MOVED 400 (event "],
    ),
    "inserted": (
        INSERT,
        ["ENTRY_INSERTED 600 (event "],
    ),
    "tile": (
        "UPDATE admin.ledger_tiles SET hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1) WHERE level = 1",
        ["TILE_WRONG level 1 tile 0: "],
    ),
    "checkpoint": (
        "UPDATE admin.ledger_checkpoints SET note = set_byte(note, 2, get_byte(note, 2) # 1) WHERE size = 200",
        ["CHECKPOINT_REFUSED 0"],
    ),
    "end cut off": (
        CUT,
        ["CHECKPOINT_AHEAD 600: ", "ROW_INSERTED "],
    ),
    "row edited": (
        f"UPDATE factory.audit SET detail = '{{}}' WHERE audit_id = ({OLDEST})",
        ["ROW_EDITED factory "],
    ),
    "row deleted": (f"DELETE FROM factory.audit WHERE audit_id = ({OLDEST})", ["ROW_MISSING factory "]),
    "row inserted": (
        SLIPPED_IN,
        ["ROW_INSERTED anchor "],
    ),
}


@pytest.mark.parametrize(("damage", "named"), DAMAGES.values(), ids=DAMAGES)
async def test_damage_in_the_database_is_named(kept: Kept, damage: str, named: list[str]) -> None:
    assert (await kept.verify())[0] == 0
    async with as_owner(kept.database) as owner:
        await owner.execute(damage)
    status, said = await kept.verify()
    assert status == 1, said
    for text in named:
        assert text in said, said


async def test_a_log_made_anew_is_not_the_one_that_was_signed(kept: Kept) -> None:
    async with as_owner(kept.database) as owner, as_service(kept.database, "admin") as own:
        await owner.execute(REWRITE)
        await kept.collect(own)
    status, said = await kept.verify()
    assert status == 1, said
    assert "CHECKPOINT_WRONG 200" in said or "CHECKPOINT_WRONG 400" in said, said
    assert "ROW_" not in said, "rows and entries agree"


async def test_a_log_that_was_signed_anew_is_a_fork(kept: Kept, tmp_path: Path) -> None:
    since = tmp_path / "since"
    assert (await kept.verify("--since", str(since)))[0] == 0
    async with as_owner(kept.database) as owner, as_service(kept.database, "admin") as own:
        await owner.execute(f"{REWRITE}; DELETE FROM admin.ledger_checkpoints")
        await kept.collect(own)
        await kept.ledger.sign(own, kept.signer, datetime.now(UTC))
    assert (await kept.verify())[0] == 0, "whoever has the key and kept nothing is taken in"
    status, said = await kept.verify("--since", str(since))
    assert status == 1, said
    assert "FORKED 600" in said


async def test_the_log_alone_is_verified_when_asked(kept: Kept) -> None:
    async with as_owner(kept.database) as owner:
        await owner.execute("DELETE FROM factory.audit")
    assert (await kept.verify())[0] == 1
    status, said = await kept.verify("--log-only")
    assert status == 0, said


def edit(number: int, **fields: Any) -> Callable[[Lines], None]:
    return lambda found: found[place(found, number)].update(fields)


def delete(first: int, last: int) -> Callable[[Lines], None]:
    def act(found: Lines) -> None:
        del found[place(found, first) : place(found, last) + 1]

    return act


def swap(one: int, other: int) -> Callable[[Lines], None]:
    def act(found: Lines) -> None:
        a, b = place(found, one), place(found, other)
        found[a], found[b] = found[b] | {"number": one}, found[a] | {"number": other}

    return act


def insert(number: int) -> Callable[[Lines], None]:
    def act(found: Lines) -> None:
        at = place(found, number)
        found.insert(at + 1, found[at] | {"detail": "{}", "audit_id": "0190c8a0-0000-7000-8000-00000000abcd"})

    return act


def place(found: Lines, number: int) -> int:
    return next(at for at, line in enumerate(found) if line.get("number") == number)


FORGED: dict[str, tuple[Callable[[Lines], None], list[str]]] = {
    "edited": (edit(120, detail="{}"), ["ENTRY_EDITED 120 (event "]),
    "another result": (edit(0, result="ACCESS_DENIED"), ["ENTRY_EDITED 0 (event "]),
    "the last one edited": (edit(599, method="x"), ["CHECKPOINT_WRONG 600: ", "last that fits is of 400"]),
    "deleted": (delete(100, 100), ["ENTRY_MISSING 100: "]),
    "many deleted": (delete(100, 149), ["ENTRY_MISSING 100-149: "]),
    "the end cut off": (delete(580, 599), ["CHECKPOINT_AHEAD 600: "]),
    "swapped": (swap(10, 400), ["ENTRY_MOVED 10 (event ", "ENTRY_MOVED 400 (event "]),
    "inserted": (insert(33), ["ENTRY_INSERTED 33 (event "]),
    "a checkpoint edited": (
        lambda found: found[200].update(checkpoint=found[200]["checkpoint"].replace("200", "201", 1)),
        ["CHECKPOINT_REFUSED 0"],
    ),
}


@pytest.mark.parametrize(("forge", "named"), FORGED.values(), ids=FORGED)
async def test_a_forged_export_is_found_out(
    kept: Kept, export: Path, forge: Callable[[Lines], None], named: list[str]
) -> None:
    found = lines(export)
    forge(found)
    put(export, found)
    status, said = await kept.verify(str(export))
    assert status == 1, said
    for text in named:
        assert text in said, said


async def test_an_export_is_clean_and_holds_a_checkpoint_got_another_way(
    kept: Kept, export: Path, tmp_path: Path
) -> None:
    async with as_service(kept.database, "admin") as own:
        signed = await kept.ledger.signed(own, 400)
    assert signed is not None
    note = tmp_path / "note"
    note.write_bytes(signed.note)
    status, said = await kept.verify(str(export), "--checkpoint", str(note))
    assert status == 0, said
    note.write_bytes(sign_checkpoint(Checkpoint(AUDIT_ORIGIN, 300, bytes(32)), kept.signer))
    status, said = await kept.verify(str(export), "--checkpoint", str(note))
    assert status == 1, said
    assert "FORKED 300" in said
    note.write_bytes(sign_checkpoint(Checkpoint("another.log", 300, bytes(32)), signer("another.log")))
    status, said = await kept.verify(str(export), "--checkpoint", str(note))
    assert status == 2, said


async def test_what_cannot_be_verified_is_not_called_clean(kept: Kept, export: Path) -> None:
    whole = export.read_text()
    for text in ("nothing", "[]", '{"number": 0}', "\x00", '{"number": 1e400}', "[" * 10_000):
        export.write_text(f"{whole}{text}\n")
        status, said = await kept.verify(str(export))
        assert status == 2, said
        assert f"line {whole.count(chr(10)) + 1} " in said
    put(export, [line | {"number": 10**18} if line.get("number") == 5 else line for line in lines_of(whole)])
    assert (await kept.verify(str(export)))[0] == 2
    assert (await kept.verify(str(export), key=False))[0] == 2
    export.write_text("")
    status, said = await kept.verify(str(export))
    assert (status, "0 entries" in said) == (0, True), "of nothing there is nothing to find"


def lines_of(text: str) -> Lines:
    import json

    return [json.loads(line) for line in text.splitlines()]


async def test_another_key_signs_nothing_here(kept: Kept, export: Path) -> None:
    other = Kept(kept.database, Signer.generate(AUDIT_ORIGIN), kept.ledger)
    for options in ([], [str(export)]):
        status, said = await other.verify(*options)
        assert status == 1, said
        assert "CHECKPOINT_REFUSED" in said
