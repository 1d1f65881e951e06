"""Half-sent requests, idle streams and cancelled streams, over and over: the server answers others and keeps nothing.

Rounds of each kind go on for a while, through Envoy too; a level is what a process holds between rounds.
"""

import asyncio
import gc
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from voketag.scan.v1 import scan_pb2

from mesh.edge.configuration import Address, EdgeSettings, render
from mesh.local.envoy import EnvoyServer
from mesh.local.ports import LOOPBACK
from tests.fakes.anchor import FakeAnchor
from tests.integration.scan.calls import Stub, verify
from tests.integration.scan.conftest import ONCE
from tests.integration.scan.strikes import SETTINGS
from tests.integration.scan.world import Batch, Database, Service, anywhere, stub_of
from tests.processes import Held, held
from tests.servers import ValkeyAddress, free_port

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("scan abuse")]

PATIENCE_SECONDS, LOOK_SECONDS = 30, 0.5
SLOW, IDLE, CANCELLED = 200, 1_000, 400
STREAMS_A_CHANNEL = 100
WARM_ROUNDS = 3
LEVEL_BYTES, LEVEL_FILES, LEVEL_THREADS = 40_000_000, 60, 4
"""Garbage of some 30 MB is there before the collector looks, closed connections for a while, and threads that gRPC
started when it had too few.
"""
SPANS = [
    pytest.param(0, id="short"),
    pytest.param(600, id="10min", marks=[pytest.mark.long, pytest.mark.timeout(900)]),
]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
EMPTY_SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
HALVES = [
    b"",
    PREFACE[:11],
    PREFACE,
    PREFACE + EMPTY_SETTINGS[:5],
    PREFACE + EMPTY_SETTINGS + b"\x00\x00\x40\x01\x04\x00\x00\x00\x01" + b"\x82",  # 64 bytes of HEADERS, one sent
    PREFACE + EMPTY_SETTINGS + b"\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82",  # HEADERS that CONTINUATION never follows
    b"GET /r/x HTTP/1.1\r\nHost: a",
    b"POST /api/verify/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{",
]
HEADER = scan_pb2.VerifyStreamRequest(header=scan_pb2.VerifyStreamHeader())


@dataclass
class Ground:
    """A door for gRPC, the processes behind it, and codes."""

    target: str
    pids: Sequence[int]
    batch: Batch

    def held(self) -> list[Held]:
        return [held(pid) for pid in self.pids]


@asynccontextmanager
async def edge(folder: Path, service: Service) -> AsyncIterator[tuple[str, int]]:
    """Envoy before the scan service: its public door and its process."""
    public, internal, admin = (Address(LOOPBACK, free_port()) for _ in range(3))
    upstreams = dict.fromkeys(("scan", "factory", "anchor", "admin"), Address(LOOPBACK, service.port))
    settings = EdgeSettings(public=public, internal=internal, admin=admin, upstreams=upstreams)
    config = folder / "envoy.yaml"
    config.write_text(render(settings))
    envoy = EnvoyServer(config, admin.port, log=folder / "envoy.log", ports=(public.port, internal.port))
    async with envoy:
        assert envoy.child.pid is not None
        yield f"{public.host}:{public.port}", envoy.child.pid


@pytest_asyncio.fixture(**ONCE, params=["direct", "edge"])
async def ground(
    database: Database,
    valkey: ValkeyAddress,
    anchor: FakeAnchor,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Ground]:
    folder = tmp_path_factory.mktemp("abuse")
    service = Service(folder, database, valkey.url, anchor.target, **SETTINGS)
    await service.start()
    assert service.child.pid is not None
    batch = await database.batch(20, state="COMPLETED")
    async with AsyncExitStack() as stack:
        target, pids = service.target, [service.child.pid]
        if request.param == "edge":
            target, pid = await stack.enter_async_context(edge(folder, service))
            pids.append(pid)
        yield Ground(target, pids, batch)
    await service.stop()


@asynccontextmanager
async def channel_to(target: str) -> AsyncIterator[grpc.aio.Channel]:
    """A connection of its own."""
    async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield channel


async def others_are_served(ground: Ground) -> None:
    async with channel_to(ground.target) as channel:
        for token in ground.batch.tokens[:5]:
            assert (await verify(stub_of(channel), token)).recorded


async def half_sent(ground: Ground) -> None:
    """Connections that begin and do not go on."""
    host, _, port = ground.target.partition(":")
    writers: list[asyncio.StreamWriter] = []
    for number in range(SLOW):
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(HALVES[number % len(HALVES)])
        writers.append(writer)
    await others_are_served(ground)
    for writer in writers:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def held_open(stop: asyncio.Event) -> AsyncIterator[scan_pb2.VerifyStreamRequest]:
    """A header, and nothing more."""
    yield HEADER
    await stop.wait()


async def idle(ground: Ground) -> None:
    """Streams that are opened and left; through Envoy most are refused, for all come from one address."""
    async with AsyncExitStack() as stack:
        calls: list[Any] = []
        stop = asyncio.Event()
        for _ in range(IDLE // STREAMS_A_CHANNEL):
            stub = stub_of(await stack.enter_async_context(channel_to(ground.target)))
            calls += [stub.VerifyStream(held_open(stop), metadata=anywhere()) for _ in range(STREAMS_A_CHANNEL)]
        await others_are_served(ground)
        ended = Counter([str(await call.code()) for call in calls if call.done()])
        assert len(ground.pids) > 1 or ended.total() < IDLE / 2, ended  # a busy machine may lose connections
        stop.set()
        for call in calls:
            call.cancel()
        await asyncio.gather(*[call.code() for call in calls])


async def cancelled(ground: Ground) -> None:
    """Streams that are cut off before, between and within chunks and their answers."""

    async def one(stub: Stub, number: int) -> None:
        call = stub.VerifyStream(metadata=anywhere())
        await call.write(HEADER)
        for sequence in range(number % 4):
            chunk = scan_pb2.TokenChunk(sequence=sequence, tokens=ground.batch.tokens)
            await call.write(scan_pb2.VerifyStreamRequest(chunk=chunk))
        if number % 3 and number % 4:
            await call.read()
        call.cancel()

    async with channel_to(ground.target) as channel:
        await asyncio.gather(*[one(stub_of(channel), n) for n in range(CANCELLED)], return_exceptions=True)
    await others_are_served(ground)


async def settled(ground: Ground) -> list[Held]:
    """What is held once no files are closed any more."""
    gc.collect()  # of this process: calls keep their connections
    now = ground.held()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            then = now
            await asyncio.sleep(LOOK_SECONDS)
            now = ground.held()
            if [each.files for each in then] == [each.files for each in now]:
                return now


async def returned(ground: Ground, level: Sequence[Held]) -> list[Held]:
    """What is held once it is as before, or after all patience: a busy machine is slow to close connections."""
    gc.collect()
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        now = ground.held()
        if time.monotonic() > until or all(
            after.files <= before.files + LEVEL_FILES for before, after in zip(level, now, strict=True)
        ):
            return now
        await asyncio.sleep(LOOK_SECONDS)


async def again(abuse: Callable[[Ground], Awaitable[None]], ground: Ground, seconds: float) -> int:
    """WARM_ROUNDS of it and for so many seconds: how many rounds those were."""
    begun, rounds = time.monotonic(), 0
    while rounds < WARM_ROUNDS or time.monotonic() - begun < seconds:
        await abuse(ground)
        rounds += 1
    return rounds


def within(level: Sequence[Held], now: Sequence[Held]) -> bool:
    """Whether no process holds more than it did, but for what comes and goes."""
    return all(
        after.resident - before.resident < LEVEL_BYTES
        and after.files - before.files <= LEVEL_FILES
        and after.threads - before.threads <= LEVEL_THREADS
        for before, after in zip(level, now, strict=True)
    )


@pytest.mark.parametrize("seconds", SPANS)
@pytest.mark.parametrize("abuse", [half_sent, idle, cancelled])
async def test_nothing_is_kept(ground: Ground, abuse: Callable[[Ground], Awaitable[None]], seconds: int) -> None:
    await again(abuse, ground, seconds / 10)  # by then what is remembered of callers is as much as ever
    level = await settled(ground)
    rounds = await again(abuse, ground, seconds)
    last = await returned(ground, level)
    for _ in range(WARM_ROUNDS):  # garbage comes and goes: what leaks stays
        if within(level, last):
            break
        await abuse(ground)
        last = await returned(ground, level)
    print(abuse.__name__, rounds, level, last)
    assert within(level, last)
