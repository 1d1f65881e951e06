"""Each way of being degraded under load, and back: verdicts go on, say what they rest on, and lose no scan told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import pytest
import pytest_asyncio

from mesh.local.server import Server
from tests.crashes import crash, frozen
from tests.integration.scan.calls import N, P
from tests.integration.scan.strikes import (
    NORMAL,
    PATIENCE_SECONDS,
    Callers,
    Seen,
    Stand,
    assert_on_record,
    standing,
    until_journalled_and_signed,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("scan degraded")]

PRODUCTS, ANSWERS, LONGEST_SECONDS = 20, 50, 5
WAYS = {
    "Valkey": Seen((P, P, N, P), degraded=True, recorded=True),
    "PostgreSQL": Seen((P, P, P, P), degraded=True, recorded=True),
    "Valkey and PostgreSQL": Seen((P, P, N, P), degraded=True, recorded=False),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stand]:
    async with standing(tmp_path_factory.mktemp("scan-degraded")) as stand:
        yield stand


@asynccontextmanager
async def killed(server: Server) -> AsyncIterator[None]:
    await crash(server)
    yield
    await server.start()


@asynccontextmanager
async def hung(server: Server) -> AsyncIterator[None]:
    with frozen(server):
        yield


async def known(stand: Stand) -> Callers:
    """Callers whose products both servers have seen."""
    await Callers(stand.stubs, await stand.database.batch(state="COMPLETED")).until_normal()
    callers = Callers(stand.stubs, await stand.database.batch(PRODUCTS, state="COMPLETED"))
    async with callers.calling(), asyncio.timeout(PATIENCE_SECONDS):
        while callers.seen[NORMAL] < 5 * PRODUCTS:
            await asyncio.sleep(0.01)
    return callers


@pytest.mark.parametrize("away", WAYS)
@pytest.mark.parametrize("how", [killed, hung])
async def test_verdicts_go_on_and_what_is_on_record_stays(
    stand: Stand, away: str, how: Callable[[Server], AbstractAsyncContextManager[None]]
) -> None:
    callers = await known(stand)
    async with callers.calling():
        async with AsyncExitStack() as parts, asyncio.timeout(PATIENCE_SECONDS):
            for name, server in (("Valkey", stand.valkey), ("PostgreSQL", stand.postgres)):
                if name in away:
                    await parts.enter_async_context(how(server))
            while callers.seen[WAYS[away]] < ANSWERS:
                await asyncio.sleep(0.01)
        await callers.until_normal()
    print(away, how.__name__, callers.seen, callers.longest)
    assert not callers.failed
    assert callers.longest < LONGEST_SECONDS
    assert {seen.outcomes for seen in callers.seen} <= {(P, P, P, P), (P, P, N, P)}
    assert all(seen.degraded for seen in callers.seen if N in seen.outcomes or not seen.recorded)
    if WAYS[away].recorded:
        assert callers.open < len(callers.recorded) / 10
    await until_journalled_and_signed(stand)
    await assert_on_record(stand, callers)
