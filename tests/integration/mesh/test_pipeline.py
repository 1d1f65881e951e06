"""The micro-batching connection against a real Valkey: order, batches, errors, cancellation, loss and return."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mesh.config import ValkeySettings
from mesh.errors import DependencyUnavailable
from mesh.local.valkey import ValkeyServer
from mesh.pipeline import BATCH_CALLS, Pipeline, ValkeyAwayError, ValkeyRefusedError
from mesh.presence import Presence
from tests.servers import PASSWORD, ValkeyAddress, start_valkey


@asynccontextmanager
async def opened(url: str, **options: float) -> AsyncIterator[Pipeline]:
    pipeline = Pipeline(ValkeySettings(valkey_url=url), Presence("Valkey"), **options)
    await pipeline.start()
    try:
        yield pipeline
    finally:
        await pipeline.close()


@pytest.fixture
async def pipeline(valkey: ValkeyAddress) -> AsyncIterator[Pipeline]:
    async with opened(valkey.url) as pipeline:
        yield pipeline


async def answering(pipeline: Pipeline, within: float = 10) -> None:
    async with asyncio.timeout(within):
        while True:
            try:
                assert await pipeline.call("PING") == b"PONG"
            except ValkeyAwayError:
                await asyncio.sleep(0.01)
            else:
                return


async def failing(pipeline: Pipeline, within: float = 10) -> None:
    async with asyncio.timeout(within):
        while True:
            try:
                await pipeline.call("PING")
            except ValkeyAwayError:
                return


async def echo(pipeline: Pipeline, text: str) -> None:
    assert await pipeline.call("ECHO", text) == text.encode()


async def test_each_call_gets_its_own_answer_in_batches_larger_than_the_limit(pipeline: Pipeline) -> None:
    await asyncio.gather(*[echo(pipeline, f"word {number}") for number in range(3 * BATCH_CALLS + 7)])


async def test_answers_larger_than_one_read(pipeline: Pipeline) -> None:
    large = "x" * 1_000_000
    await asyncio.gather(*[echo(pipeline, large + str(number)) for number in range(5)])


async def test_calls_of_one_turn_share_one_write(pipeline: Pipeline) -> None:
    async def calls() -> int:
        info = (await pipeline.call("INFO", "stats")).decode()
        return int(info.split("total_reads_processed:")[1].split()[0])

    before = await calls()
    await asyncio.gather(*[echo(pipeline, "x") for _ in range(200)])
    assert await calls() - before < 20


async def test_an_error_reply_fails_its_call_alone(pipeline: Pipeline) -> None:
    answers = await asyncio.gather(
        pipeline.call("ECHO", "a"), pipeline.call("NONSENSE"), pipeline.call("ECHO", "b"), return_exceptions=True
    )
    assert answers[0] == b"a"
    assert isinstance(answers[1], ValkeyRefusedError)
    assert "unknown command" in str(answers[1])
    assert answers[2] == b"b"


async def test_cancelled_callers_leave_the_others_their_answers(pipeline: Pipeline) -> None:
    tasks = [asyncio.create_task(echo(pipeline, f"word {number}")) for number in range(300)]
    await asyncio.sleep(0)  # every call is submitted, none is answered
    for task in tasks[::3]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results[::3])
    assert not any(results[1::3])
    assert not any(results[2::3])
    await echo(pipeline, "after")


async def test_a_wrong_password_is_told_apart(valkey: ValkeyAddress) -> None:
    settings = ValkeySettings(valkey_url=valkey.url.replace(valkey.url.split("@")[0], "redis://:wrong"))
    with pytest.raises(DependencyUnavailable) as caught:
        await Pipeline(settings, Presence("Valkey")).start()
    assert isinstance(caught.value.__cause__, ValkeyRefusedError)


async def test_password_apart_from_the_address_and_database(valkey: ValkeyAddress) -> None:
    url = f"redis://{valkey.url.split('@')[1].rsplit('/')[0]}/7"
    settings = ValkeySettings.model_validate({"valkey_url": url, "valkey_password": PASSWORD})
    pipeline = Pipeline(settings, Presence("Valkey"))
    await pipeline.start()
    assert b"db=7" in await pipeline.call("CLIENT", "INFO")
    await pipeline.close()


async def test_nobody_listens(unused_tcp_port: int) -> None:
    with pytest.raises(DependencyUnavailable):
        await Pipeline(ValkeySettings(valkey_url=f"redis://127.0.0.1:{unused_tcp_port}"), Presence("Valkey")).start()


async def test_calls_fail_after_close(valkey: ValkeyAddress) -> None:
    async with opened(valkey.url) as pipeline:
        await pipeline.call("PING")
    with pytest.raises(ValkeyAwayError):
        pipeline.call("PING")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ValkeyServer]:
    server = await start_valkey(tmp_path)
    yield server
    await server.stop()


async def test_killed_and_restarted_under_load(server: ValkeyServer) -> None:
    presence = Presence("Valkey under load")
    pipeline = Pipeline(ValkeySettings(valkey_url=server.url), presence)
    await pipeline.start()
    counted = 0
    stop = asyncio.Event()

    async def load() -> None:
        nonlocal counted
        while not stop.is_set():
            try:
                await pipeline.call("INCR", "counter")
                counted += 1
            except ValkeyAwayError:
                await asyncio.sleep(0.01)

    workers = [asyncio.create_task(load()) for _ in range(32)]

    async def going_on() -> None:
        before = counted
        async with asyncio.timeout(10):
            while counted < before + 100:
                await asyncio.sleep(0.01)

    for _ in range(2):
        await going_on()
        await server.kill()
        await failing(pipeline)
        assert not presence.is_here
        await server.start()
        await answering(pipeline)
        assert presence.is_here
    await going_on()
    stop.set()
    await asyncio.gather(*workers)
    assert int(await pipeline.call("GET", "counter")) >= counted > 0
    await pipeline.close()


async def test_a_hung_server_is_given_up_in_time(server: ValkeyServer) -> None:
    async with opened(server.url, timeout=0.1) as pipeline:
        pid = server.child.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(2):
                results = await asyncio.gather(*[pipeline.call("PING") for _ in range(50)], return_exceptions=True)
            assert all(isinstance(result, ValkeyAwayError) for result in results)
            with pytest.raises(ValkeyAwayError):  # at once, while the connection is being made anew
                pipeline.call("PING")
        finally:
            os.kill(pid, signal.SIGCONT)
        await answering(pipeline)
