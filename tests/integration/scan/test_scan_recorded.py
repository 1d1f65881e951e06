"""A scan from its call to its row: the journal says what the caller was told."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from voketag.scan.v1 import scan_pb2

from mesh.local.process import Child
from mesh.local.valkey import ValkeyServer
from scan.factors import FactorName
from tests.integration.scan.calls import GENUINE, Stub, verify
from tests.integration.scan.conftest import ONCE
from tests.integration.scan.world import Database, Service, anywhere, connected
from tests.servers import start_valkey

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(**ONCE)
async def valkey(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ValkeyServer]:
    """One of its own: a journal takes whatever is in the stream, and other tests' services would fill it."""
    server = await start_valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    await server.stop()


async def start_journal(service: Service, folder: Path) -> Child:
    command = [sys.executable, "-m", "scan", "journal"]
    environment = {**service.environment, "VOKETAG_METRICS_PORT": "0"}
    child = Child("scan journal", command, log=folder / "journal.log", env=environment)
    await child.start()
    return child


@pytest.fixture
async def journal(service: Service, tmp_path: Path) -> AsyncIterator[Child]:
    child = await start_journal(service, tmp_path)
    yield child
    await child.kill()


async def rows(database: Database, product_id: str, count: int) -> list[Any]:
    """The product's events once there are so many, in the order of the ledger."""
    query = "SELECT * FROM scan.events WHERE product_id = $1::uuid ORDER BY ledger_index"
    async with connected(database.owner_dsn) as owner, asyncio.timeout(20):
        while len(found := await owner.fetch(query, product_id)) < count:
            await asyncio.sleep(0.05)
    return found


async def test_the_journal_says_what_the_caller_was_told(stub: Stub, database: Database, journal: Child) -> None:
    batch = await database.batch(state="COMPLETED")
    answers = []
    for _ in range(3):
        request = scan_pb2.VerifyRequest(token=batch.tokens[0], explain=True)
        answers.append(await stub.Verify(request, metadata=anywhere(), timeout=10))
    for row, answer in zip(await rows(database, str(batch.product_ids[0]), 3), answers, strict=True):
        assert answer.recorded
        assert (row["verdict"], row["risk"]) == (answer.verdict, answer.risk.total)
        assert (row["risk_version"], row["weights_version"]) == (answer.risk.version, answer.risk.weights_version)
        scores = {FactorName(name): score for name, score in orjson.loads(row["factors"]).items()}
        told = {name.removeprefix("RISK_FACTOR_NAME_").lower(): number for name, number in FACTORS.items()}
        for factor in answer.risk.factors:
            name = next(name for name, number in told.items() if number == factor.name)
            assert scores[FactorName(name)] == (factor.score if factor.HasField("score") else None)
        assert row["batch_id"] == batch.batch_id
        assert row["factory_id"] == database.factory_id
        assert len(row["prefix_hmac"]) == len(row["device_hmac"]) == 16
    assert len(answers[0].risk.factors) == len(FactorName)


FACTORS = dict(scan_pb2.RiskFactorName.items()[1:])


async def test_names_of_callers_are_of_the_day_and_tell_no_address(
    stub: Stub, database: Database, journal: Child
) -> None:
    batch, here = await database.batch(state="COMPLETED"), anywhere()
    for metadata in (here, here, anywhere()):
        assert (await verify(stub, batch.tokens[0], metadata=metadata)).verdict == GENUINE
    first, second, third = await rows(database, str(batch.product_ids[0]), 3)
    assert first["prefix_hmac"] == second["prefix_hmac"] != third["prefix_hmac"]
    assert first["device_hmac"] == second["device_hmac"] != third["device_hmac"]
    kept = b"".join(value for row in (first, second, third) for value in row if isinstance(value, bytes))
    assert here[0][1].encode() not in kept


async def test_a_scan_abroad_says_so_and_is_recorded_with_its_country(
    stub: Stub, database: Database, journal: Child
) -> None:
    batch = await database.batch(state="COMPLETED")
    for place, outside in (("BR,-23.55,-46.63", False), ("US", True)):
        request = scan_pb2.VerifyRequest(token=batch.tokens[0], explain=True)
        answer = await stub.Verify(request, metadata=(*anywhere(), ("x-client-place", place)), timeout=10)
        market = next(each for each in answer.risk.factors if each.name == scan_pb2.RISK_FACTOR_NAME_MARKET)
        assert (market.code, market.evidence["market"]) == ("abroad" if outside else "inside", "BR")
        assert bool(market.score) is outside
    found = await rows(database, str(batch.product_ids[0]), 2)
    assert [row["country"] for row in found] == ["BR", "US"]
    assert [row["risk"] > 0 for row in found] == [False, True]
