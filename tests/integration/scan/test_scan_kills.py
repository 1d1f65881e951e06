"""Rounds of kill -9 of two servers, the writer, Valkey and PostgreSQL while callers scan.

A round is its seed: `pytest tests/integration/scan/test_scan_kills.py -k seed7`.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.fakes.keys import signer
from tests.integration.anchor.processes import outcome
from tests.integration.scan.strikes import (
    Callers,
    Stand,
    assert_on_record,
    schedule,
    standing,
    until_journalled_and_signed,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("scan kills")]

SHORT, LONG = 0, 10
SEEDS = range(1, 31)
SHORT_SEEDS = (5, 23)
ROUNDS = [
    *[pytest.param(seed, SHORT, id=f"short-seed{seed}") for seed in SHORT_SEEDS],
    *[pytest.param(seed, LONG, id=f"seed{seed}", marks=pytest.mark.long) for seed in SEEDS],
]
PRODUCTS = 400
KEY = signer("voketag.com/scans").verifier.to_text()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stand]:
    async with standing(tmp_path_factory.mktemp("scan-kills")) as stand:
        yield stand


@pytest.mark.parametrize(("seed", "more"), ROUNDS)
async def test_no_scan_on_record_is_lost_or_doubled_whoever_dies(stand: Stand, seed: int, more: int) -> None:
    batch = await stand.database.batch(PRODUCTS, state="COMPLETED")
    callers = Callers(stand.stubs, batch)
    await callers.until_normal()
    async with callers.calling():
        await stand.strike_all(schedule(seed, more), callers.recorded)
        await callers.until_normal()
    await until_journalled_and_signed(stand)
    print(f"{len(callers.recorded)} scans on record, {callers.open} open, {callers.degraded} degraded")
    await assert_on_record(stand, callers)
    assert callers.degraded, "nobody noticed anything"
    status, said = await outcome("scan", "audit", "--key", KEY, env=stand.services[0].environment)
    assert status == 0, said
