"""Random and mutated tokens by the thousand: nothing breaks, and a wrong tag is answered as an unknown product is."""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import combinations
from typing import Any

import grpc
import pytest
import pytest_asyncio
from voketag.scan.v1 import scan_pb2

from tests.fakes.anchor import FakeAnchor
from tests.integration.scan.calls import UNKNOWN as UNKNOWN_CODE
from tests.integration.scan.calls import Stub
from tests.integration.scan.conftest import ONCE
from tests.integration.scan.mangled import MALFORMED, OURS, UNKNOWN, Mangler
from tests.integration.scan.strikes import SETTINGS
from tests.integration.scan.world import Batch, Database, Service, anywhere, stub_of
from tests.rank import likelihood
from tests.servers import ValkeyAddress
from trust.token import LENGTH

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHUNK, STREAMS = 500, 4
MANY = [
    pytest.param(20_000, id="20k"),
    pytest.param(1_000_000, id="1M", marks=[pytest.mark.long, pytest.mark.timeout(1_800)]),
]
ALIKE = 0.1
PRINTED = 5


@pytest_asyncio.fixture(**ONCE)
async def generous(
    database: Database, valkey: ValkeyAddress, anchor: FakeAnchor, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """A service that sets no limits worth mention."""
    service = Service(tmp_path_factory.mktemp("tokens"), database, valkey.url, anchor.target, **SETTINGS)
    await service.start()
    yield service
    await service.stop()


@pytest_asyncio.fixture(**ONCE)
async def stub(generous: Service) -> AsyncIterator[Stub]:
    async with grpc.aio.insecure_channel(generous.target) as channel:
        yield stub_of(channel)


@pytest_asyncio.fixture(**ONCE)
async def batch(database: Database) -> Batch:
    return await database.batch(200, state="COMPLETED")


async def judged(stub: Stub, texts: Sequence[str]) -> list[scan_pb2.TokenResult]:
    """The results of one stream."""

    async def frames() -> AsyncIterator[scan_pb2.VerifyStreamRequest]:
        yield scan_pb2.VerifyStreamRequest(header=scan_pb2.VerifyStreamHeader())
        for start in range(0, len(texts), CHUNK):
            chunk = scan_pb2.TokenChunk(sequence=start // CHUNK, tokens=texts[start : start + CHUNK])
            yield scan_pb2.VerifyStreamRequest(chunk=chunk)

    answers = [answer async for answer in stub.VerifyStream(frames(), metadata=anywhere())]
    return [result for answer in answers for result in answer.results]


def what(result: scan_pb2.TokenResult) -> str:
    """What a text is said to be."""
    if result.status == scan_pb2.TOKEN_STATUS_MALFORMED:
        return MALFORMED
    assert result.status == scan_pb2.TOKEN_STATUS_SCANNED
    return UNKNOWN if result.verdict == UNKNOWN_CODE else OURS


@pytest.mark.parametrize("count", MANY)
async def test_each_text_is_told_for_what_it_is(stub: Stub, generous: Service, batch: Batch, count: int) -> None:
    unknown: set[bytes] = set()

    async def stream(seed: int) -> None:
        mangler, left = Mangler(seed, batch.tokens), count // STREAMS
        while left:
            some = mangler.some(min(left, 20 * CHUNK))
            results = await judged(stub, [text for text, _ in some])
            wrong = [(text, of) for (text, of), got in zip(some, results, strict=True) if what(got) != of]
            assert not wrong, f"seed {seed}"
            unknown.update(result.SerializeToString() for result in results if what(result) == UNKNOWN)
            left -= len(some)

    async with asyncio.TaskGroup() as group:
        for seed in range(STREAMS):
            group.create_task(stream(seed))
    assert len(unknown) == 1, "byte for byte the same, whatever is wrong with it"
    log = generous.log.read_text()
    assert '"level":"error"' not in log.replace(" ", "")
    assert "Traceback" not in log


def verified(text: str) -> scan_pb2.VerifyRequest:
    return scan_pb2.VerifyRequest(token=text, explain=True)


DOORS: dict[str, Callable[[str], Any]] = {
    "Verify": verified,
    "LookupTag": lambda text: scan_pb2.LookupTagRequest(token=text),
    "GetReceipt": lambda text: scan_pb2.GetReceiptRequest(token=text),
    "GetPage": lambda text: scan_pb2.GetPageRequest(token=text),
}


async def shape(stub: Stub, door: str, text: str) -> tuple[Any, ...]:
    """All of an answer that a caller can see but the time and his own code: names of metadata, sizes, contents."""
    call = getattr(stub, door)(DOORS[door](text), metadata=anywhere())
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details(), str(error.trailing_metadata())
    names = [key for pairs in (await call.initial_metadata(), await call.trailing_metadata()) for key, _ in pairs]
    if "checked_at" in answer.DESCRIPTOR.fields_by_name:
        answer.ClearField("checked_at")
    data = answer.SerializeToString()
    for start in range(0, LENGTH, PRINTED):
        data = data.replace(text[start : start + PRINTED].encode(), b"-" * PRINTED)
    return names, re.sub(rb"\d", b"0", data)


@pytest.mark.parametrize("door", DOORS)
async def test_whatever_is_wrong_the_answer_is_the_same(stub: Stub, batch: Batch, door: str) -> None:
    mangler = Mangler(7, batch.tokens)
    wrong = [kind for kind, of in mangler.kinds.items() if of == UNKNOWN]
    shapes = {kind.__name__: [await shape(stub, door, kind()) for _ in range(5)] for kind in wrong}
    first = shapes["never_issued"][0]
    assert shapes == {name: [first] * 5 for name in shapes}


async def test_time_does_not_tell_them_apart_either(stub: Stub, batch: Batch) -> None:
    """Which of two came from which cannot be guessed: over the wire, calls in turn, whatever else the machine does.

    A product that does not exist is looked up once in two seconds: the first call costs a query, and takes the key.
    """
    mangler, dice = Mangler(11, batch.tokens), random.Random(11)
    missing = mangler.never_issued()
    kinds: dict[str, Callable[[], str]] = {
        "a tag of nothing": mangler.drawn,
        "a wrong tag of a product of ours": mangler.changed,
        "another ring's tag": mangler.of_another_ring,
        "a right tag of no product": lambda: missing,
    }
    took: dict[str, list[int]] = {name: [] for name in kinds}
    for _ in range(600):
        for name in dice.sample([*kinds], k=len(kinds)):
            request = scan_pb2.VerifyRequest(token=kinds[name]())
            begun = time.perf_counter_ns()
            await stub.Verify(request, metadata=anywhere())
            took[name].append(time.perf_counter_ns() - begun)
    told = {pair: likelihood(took[pair[0]], took[pair[1]]) for pair in combinations(kinds, 2)}
    print(told)
    assert all(abs(each - 0.5) < ALIKE for each in told.values()), told
