"""What an older version has written is all there for a newer one."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from anchor.store import MIGRATIONS, Store
from anchor.submission import Progress
from mesh.clock import new_id
from mesh.config import DatabaseSettings
from mesh.database import connect
from mesh.migrate import migrate
from tests.databases import Databases
from trust.canonical import SubjectKind

STATES = ("built", "signed", "sent", "mined", "final")
TREE = "INSERT INTO anchor.trees (root, size, first_position) VALUES ($1, 1, $2) RETURNING tree_id"
TRANSACTION = """
INSERT INTO anchor.transactions (tree_id, state, chain_kind, chain_id, contract, sender, nonce, hash, block_number,
    fence, mined_at, final_at)
VALUES ($1, $2, 'evm', 1, '0x01', '0x02', $3, $4::bytea, CASE WHEN $4 IS NULL THEN NULL ELSE 7 END, 1,
    CASE WHEN $4 IS NULL THEN NULL ELSE now() END, CASE WHEN $2 = 'final' THEN now() END)
"""
SUBMISSION = """
INSERT INTO anchor.submissions (submission_id, subject_id, tree_id, size, leaf_index, kind, root)
VALUES (gen_random_uuid(), gen_random_uuid(), $1, 5, 0, 1, $2) RETURNING subject_id
"""
PENDING = """
INSERT INTO anchor.submissions (submission_id, subject_id, size, kind, root)
VALUES (gen_random_uuid(), gen_random_uuid(), 5, 1, decode(repeat('09', 32), 'hex')) RETURNING subject_id
"""
ATTEMPT = """
INSERT INTO anchor.attempts (tree_id, number, nonce, hash, raw, max_fee, priority_fee)
VALUES ($1, 1, $2, $3, '\\x00', 1, 1)
"""


async def old_tree(owner: Any, number: int, state: str) -> Any:
    """A tree as versions with one target wrote it; its one submission's subject."""
    root = bytes([number]) * 32
    tree_id = await owner.fetchval(TREE, root, 1 if state == "final" else None)
    placed = state in ("mined", "final")
    nonce = None if state == "built" else number
    await owner.execute(TRANSACTION, tree_id, state, nonce, root if placed else None)
    if nonce is not None:
        await owner.execute(ATTEMPT, tree_id, nonce, root)
    return await owner.fetchval(SUBMISSION, tree_id, root)


@pytest.fixture
async def older(databases: Databases, tmp_path: Path) -> Any:
    """A database as version 0007 left it, the owner's connection to it, and a store on it for later."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for file in sorted(MIGRATIONS.glob("*.sql")):
        if file.name < "0008":
            shutil.copy(file, folder)
    async with databases.clone() as database:
        owner = await asyncpg.connect(database.dsn)
        await migrate(owner, schema="anchor", folder=folder)
        yield owner, database.settings("anchor")
        await owner.close()


async def test_trees_of_one_target_keep_their_states_positions_and_places(
    older: tuple[Any, DatabaseSettings],
) -> None:
    owner, settings = older
    subjects = [await old_tree(owner, number, state) for number, state in enumerate(STATES, 1)]
    waiting = await owner.fetchval(PENDING)
    await migrate(owner, schema="anchor", folder=MIGRATIONS)
    async with await connect(settings, schema="anchor") as pool:
        store = Store(pool, new_id)
        found = [await store.find(SubjectKind.BATCH, subject) for subject in subjects]
        submitted = Progress.SUBMITTED
        assert [each and each.progress for each in found] == [submitted] * 3 + [Progress.MINED, Progress.FINAL]
        assert [bool(each and each.location) for each in found] == [False, False, False, True, True]
        assert found[-1] is not None
        assert found[-1].final_time is not None
        [(position, anchor)] = await store.final_after(0, 10)
        assert (position, anchor) == (1, found[-1])
        between = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
        last = UUID(int=2**128 - 1)
        page = await store.page(before=last, progress=None, batch_ids=None, between=between, limit=9)
        assert {each.submission.subject_id for each in page} == {waiting, *subjects}
        registration = await store.registration(bytes([2]) * 32)
        assert len(registration.attempts) == 1
    stamps = await owner.fetch("SELECT target, state FROM anchor.stamps ORDER BY tree_id")
    assert [tuple(row) for row in stamps] == [("chain", "waiting")] * 3 + [("chain", "mined"), ("chain", "final")]


async def test_a_submitter_of_the_version_before_goes_on_beside_the_new_schema(
    older: tuple[Any, DatabaseSettings],
) -> None:
    """It knows no targets and no stamps, and takes positions itself."""
    owner, settings = older
    await migrate(owner, schema="anchor", folder=MIGRATIONS)
    subject = await old_tree(owner, 1, "sent")
    await owner.execute("UPDATE anchor.trees SET first_position = 1")
    await owner.execute(
        "UPDATE anchor.transactions SET state = 'mined', hash = $1, block_number = 7, mined_at = now()", bytes(32)
    )
    await owner.execute("UPDATE anchor.transactions SET state = 'final', final_at = now()")
    async with await connect(settings, schema="anchor") as pool:
        [(position, anchor)] = await Store(pool, new_id).final_after(0, 10)
        assert (position, anchor.submission.subject_id, anchor.progress) == (1, subject, Progress.FINAL)
