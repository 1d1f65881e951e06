"""A factory's own weights: they count within two seconds, and the journal judges by those of the answer."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import pytest
import pytest_asyncio
from voketag.scan.v1 import scan_pb2

from mesh.local.valkey import ValkeyServer
from scan.risk import Weights
from tests.integration.scan.calls import GENUINE, Stub, verify
from tests.integration.scan.conftest import ONCE
from tests.integration.scan.test_scan_recorded import journal, rows
from tests.integration.scan.world import Database, anywhere, connected
from tests.servers import start_valkey

__all__ = ["journal"]
pytestmark = pytest.mark.asyncio(loop_scope="module")
ONE_CALLER_ABROAD = (*anywhere(), ("x-client-place", "US"))


@pytest_asyncio.fixture(**ONCE)
async def valkey(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ValkeyServer]:
    """One of its own: a journal takes whatever is in the stream."""
    server = await start_valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    await server.stop()


async def weigh(database: Database, weights: str | None) -> None:
    async with connected(database.owner_dsn) as owner:
        await owner.execute(
            "UPDATE factory.factories SET risk_weights = $2 WHERE factory_id = $1", database.factory_id, weights
        )


async def until_weighed_by(stub: Stub, token: str, version: str) -> scan_pb2.VerifyResponse:
    began = monotonic()
    while True:
        asked_at = monotonic()
        answer = await verify(stub, token, metadata=ONE_CALLER_ABROAD)
        if answer.risk.weights_version == version:
            return answer
        assert asked_at - began <= 2.5, "weights count within two seconds"
        await asyncio.sleep(0.1)


@pytest.mark.usefixtures("journal")
async def test_weights_change_the_answer_and_the_row_alike(stub: Stub, database: Database) -> None:
    batch = await database.batch(state="COMPLETED")
    token = batch.tokens[0]
    usual = await until_weighed_by(stub, token, "default-1")
    assert usual.verdict == GENUINE
    try:
        await weigh(database, Weights(version="strict-1", market=100, suspicious=30).to_json())
        strict = await until_weighed_by(stub, token, "strict-1")
        assert strict.verdict == scan_pb2.VERDICT_SUSPICIOUS
        assert strict.risk.total > usual.risk.total
        await weigh(database, Weights(version="lenient-1", market=0).to_json())
        lenient = await until_weighed_by(stub, token, "lenient-1")
        assert lenient.verdict == GENUINE
        await weigh(database, '{"copies": "many"}')
        await until_weighed_by(stub, token, "default-1")
    finally:
        await weigh(database, None)
    found = await rows(database, str(batch.product_ids[0]), 4)
    for answer in (usual, strict, lenient):
        version = answer.risk.weights_version
        mine = [row for row in found if row["weights_version"] == version]
        assert (answer.verdict, answer.risk.total) in {(row["verdict"], row["risk"]) for row in mine}
