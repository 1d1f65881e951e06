"""What is logged is signed and handed to Anchor, whoever is away; and signing makes no news of its own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from admin.audit_keeping import audit_keeping
from mesh import database
from mesh.clock import SystemClock
from mesh.ledger import Ledger
from mesh.local.secrets import AUDIT_ORIGIN, Secrets
from tests.databases import Databases
from tests.fakes.final_anchor import FinalAnchor
from tests.integration.admin.audit_world import Kept, as_owner, as_service, values, write
from tests.integration.admin.world import Ground
from trust.checkpoint import Checkpoint, open_checkpoint
from trust.note import Signer

NOTES = "SELECT size, root, note, submitted_at FROM admin.ledger_checkpoints ORDER BY size"


@pytest.fixture
async def ground(databases: Databases, tmp_path: Path) -> AsyncIterator[Ground]:
    secrets = Secrets(tmp_path / "secrets", lambda count: b"\x07" * count)
    secrets.make()
    async with databases.clone("factory", "scan", "anchor", "admin") as cloned:
        yield Ground(cloned, secrets, tmp_path)


@pytest.fixture
def kept(ground: Ground) -> Kept:
    return Kept(ground.database, Signer.from_text(ground.secrets.audit_key.read_text()), Ledger(AUDIT_ORIGIN))


@pytest.fixture
async def anchor() -> AsyncIterator[FinalAnchor]:
    anchor = FinalAnchor(at_once=False)  # type: ignore[abstract]
    await anchor.start()
    yield anchor
    await anchor.stop()


@asynccontextmanager
async def keeping(ground: Ground, anchor: FinalAnchor) -> AsyncIterator[CollectorRegistry]:
    settings = ground.settings(
        anchor_target=anchor.target, audit_collect_seconds=0.02, audit_checkpoint_seconds=0.1, database_pool_max=5
    )
    registry = CollectorRegistry()
    async with (
        await database.connect(settings, schema="admin") as pool,
        audit_keeping(settings, pool, SystemClock(), registry),
    ):
        yield registry


async def until(holds: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():
            await asyncio.sleep(0.02)


async def test_what_is_logged_is_signed_and_anchored_once(ground: Ground, kept: Kept, anchor: FinalAnchor) -> None:
    async with as_owner(kept.database) as owner, keeping(ground, anchor):
        for size in (3, 7):
            async with as_service(kept.database, "factory") as connection, connection.transaction():
                await write(connection, *(values(number) for number in range(3 if size == 3 else 4)))

            async def submitted(size: int = size) -> Any:
                return await owner.fetchval(
                    "SELECT bool_or(size = $1 AND submitted_at IS NOT NULL) FROM admin.ledger_checkpoints", size
                )

            await until(submitted)
        rows = await owner.fetch(NOTES)
        assert [row["size"] for row in rows] == [3, 7]
        for row in rows:
            checkpoint = open_checkpoint(row["note"], [kept.signer.verifier], AUDIT_ORIGIN)
            assert checkpoint == Checkpoint(AUDIT_ORIGIN, row["size"], row["root"])
            request = anchor.submitted[str(checkpoint.subject_id())]
            assert (request.root, request.size) == (row["root"], row["size"])
    status, said = await kept.verify()
    assert status == 0, said


async def test_a_submission_of_its_own_is_logged_and_no_reason_for_another(
    ground: Ground, kept: Kept, anchor: FinalAnchor
) -> None:
    async with as_owner(kept.database) as owner, as_service(kept.database, "anchor") as connection:
        own = values(actor_kind="service", actor_id="admin", method="/voketag.anchor.v1.AnchorService/SubmitRoot")
        async with keeping(ground, anchor):
            await write(connection, values())
            await until(lambda: owner.fetchval("SELECT count(*) = 1 FROM admin.ledger_checkpoints"))
            await write(connection, own)
            await until(lambda: owner.fetchval("SELECT count(*) = 2 FROM admin.audit_chain"))
            async with as_service(kept.database, "admin") as reader:
                assert await kept.collector(None)._sql.audit_is_news(reader, signed=1) is False
            await write(connection, values())
            await until(lambda: owner.fetchval("SELECT bool_or(size = 3) FROM admin.ledger_checkpoints"))
        assert [row["size"] for row in await owner.fetch(NOTES)] == [1, 3]


async def test_checkpoints_wait_for_an_anchor_that_is_away(ground: Ground, kept: Kept, anchor: FinalAnchor) -> None:
    await anchor.stop()
    async with as_owner(kept.database) as owner, keeping(ground, anchor) as registry:
        for size in (1, 2):
            async with as_service(kept.database, "scan") as connection:
                await write(connection, values())
            await until(
                lambda size=size: owner.fetchval(  # type: ignore[misc]
                    "SELECT bool_or(size = $1) FROM admin.ledger_checkpoints", size
                )
            )
        assert not anchor.submitted
        await anchor.start()
        await until(lambda: owner.fetchval("SELECT bool_and(submitted_at IS NOT NULL) FROM admin.ledger_checkpoints"))
        assert len(anchor.submitted) == 2
        assert registry.get_sample_value("voketag_audit_collected_total", {"source": "scan"}) == 2
        assert registry.get_sample_value("voketag_audit_faults_total") == 0


async def test_a_log_that_was_tampered_with_is_not_signed_for(ground: Ground, kept: Kept, anchor: FinalAnchor) -> None:
    async with as_owner(kept.database) as owner, as_service(kept.database, "scan") as connection:
        async with keeping(ground, anchor):
            await write(connection, values())
            await until(lambda: owner.fetchval("SELECT count(*) FROM admin.ledger_checkpoints"))
        await owner.execute("UPDATE admin.ledger_tiles SET hashes = set_byte(hashes, 3, get_byte(hashes, 3) # 1)")
        async with keeping(ground, anchor) as registry:
            await write(connection, values())

            async def told() -> bool:
                return bool(registry.get_sample_value("voketag_audit_faults_total"))

            await until(told)
        assert await owner.fetchval("SELECT count(*) FROM admin.ledger_checkpoints") == 1
        assert await owner.fetchval("SELECT count(*) FROM admin.audit_chain") == 1
