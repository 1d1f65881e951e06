"""The ledger through its public door: what is signed is proved to anyone, and scans to those who made them alone."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import pytest_asyncio
from voketag.scan.v1 import ledger_pb2 as pb
from voketag.scan.v1 import ledger_pb2_grpc, scan_pb2

from mesh.clock import new_id
from mesh.local.process import Child
from mesh.local.valkey import ValkeyServer
from tests.fakes.keys import signer
from tests.integration.scan.calls import Stub, reason_of, verify
from tests.integration.scan.conftest import ONCE
from tests.integration.scan.test_scan_recorded import rows, start_journal
from tests.integration.scan.world import Batch, Database, Service, anywhere, connected
from tests.servers import start_valkey
from trust import merkle
from trust.checkpoint import Checkpoint, open_checkpoint
from trust.ledger import genesis, read_entry
from trust.logproof import LogProof
from trust.logproof import verify as proved
from trust.note import Verifier
from trust.tilepath import TilePath
from trust.tiles import root_from_tiles

if TYPE_CHECKING:
    Ledger = ledger_pb2_grpc.LedgerServiceAsyncStub

pytestmark = pytest.mark.asyncio(loop_scope="module")
ORIGIN = "voketag.com/scans"
SCANS = 300
FAR = (1 << 63) - 1


@dataclass(frozen=True)
class Logged:
    """A product with scans in a ledger that is signed for, and one scan's answer."""

    batch: Batch
    answer: scan_pb2.VerifyResponse
    size: int

    @property
    def token(self) -> str:
        return self.batch.tokens[0]


@pytest_asyncio.fixture(**ONCE)
async def valkey(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ValkeyServer]:
    server = await start_valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    await server.stop()


@pytest_asyncio.fixture(**ONCE)
async def journal(service: Service, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Child]:
    child = await start_journal(service, tmp_path_factory.mktemp("journal"))
    yield child
    await child.kill()


@pytest_asyncio.fixture(**ONCE)
async def ledger(service: Service) -> AsyncIterator["Ledger"]:
    async with grpc.aio.insecure_channel(service.target) as channel:
        stub: Any = ledger_pb2_grpc.LedgerServiceStub(channel)
        yield stub


async def signed(database: Database, size: int) -> int:
    """Waits until so many entries are signed for: the latest checkpoint's size."""
    query = "SELECT COALESCE(max(size), 0) FROM scan.ledger_checkpoints"
    async with connected(database.owner_dsn) as owner, asyncio.timeout(30):
        while (found := int(await owner.fetchval(query))) < size:
            await asyncio.sleep(0.05)
    return found


@pytest_asyncio.fixture(**ONCE)
async def logged(stub: Stub, database: Database, journal: Child) -> Logged:
    batch = await database.batch(2, state="COMPLETED")
    answers = [await verify(stub, batch.tokens[0]) for _ in range(2)]
    await rows(database, str(batch.product_ids[0]), 2)
    await signed(database, 2)
    await asyncio.gather(*(verify(stub, batch.tokens[1]) for _ in range(SCANS - 2)))
    await rows(database, str(batch.product_ids[1]), SCANS - 2)
    return Logged(batch, answers[1], await signed(database, SCANS))


async def checkpoint(ledger: "Ledger", size: int = 0) -> tuple[bytes, Checkpoint]:
    answer = await ledger.GetCheckpoint(pb.GetCheckpointRequest(size=size), metadata=anywhere())
    return answer.data, open_checkpoint(answer.data, [signer(ORIGIN).verifier], ORIGIN)


async def failing(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason_of(caught.value)


async def test_the_log_says_who_signs(ledger: "Ledger", logged: Logged) -> None:
    key = await ledger.GetLogKey(pb.GetLogKeyRequest(), metadata=anywhere())
    assert (key.origin, list(key.keys)) == (ORIGIN, [signer(ORIGIN).verifier.to_text()])
    assert Verifier.from_text(key.keys[0]) == signer(ORIGIN).verifier


async def test_who_scanned_can_prove_that_it_was_logged(ledger: "Ledger", logged: Logged) -> None:
    for token in (logged.token, logged.token.lower()):
        request = pb.GetScanProofRequest(token=token, scan_id=logged.answer.scan_id)
        answer = await ledger.GetScanProof(request, metadata=anywhere())
        _, event = read_entry(answer.entry)
        assert event.product_id == logged.batch.product_ids[0].bytes
        assert (event.verdict, event.risk_total) == (logged.answer.verdict, logged.answer.risk.total)
        proof = answer.proof
        text = LogProof(answer.entry, proof.index, tuple(proof.path), proof.checkpoint.encode())
        assert proved(text, [signer(ORIGIN).verifier], ORIGIN).size >= SCANS
        assert LogProof.parse(answer.tlog_proof.encode()) == text
        assert proof.leaf_hash == merkle.leaf_hash(answer.entry)


async def test_nobody_else_learns_of_a_scan(ledger: "Ledger", logged: Logged, database: Database) -> None:
    scan_id = logged.answer.scan_id
    stranger = (await database.batch(state="COMPLETED")).tokens[0]
    wrong = logged.token[:-2] + ("00" if logged.token[-2:] != "00" else "10")
    for token in (logged.batch.tokens[1], stranger, wrong, "x", "x" * 128):
        request = pb.GetScanProofRequest(token=token, scan_id=scan_id)
        assert await failing(ledger.GetScanProof(request, metadata=anywhere())) == "NOT_LOGGED"
    unknown = pb.GetScanProofRequest(token=logged.token, scan_id=str(new_id()))
    assert await failing(ledger.GetScanProof(unknown, metadata=anywhere())) == "NOT_LOGGED"
    early = pb.GetScanProofRequest(token=logged.token, scan_id=scan_id, size=1)
    assert await failing(ledger.GetScanProof(early, metadata=anywhere())) == "NOT_LOGGED"


async def test_a_scan_is_proved_once_it_is_forgotten(ledger: "Ledger", logged: Logged, database: Database) -> None:
    request = pb.GetScanProofRequest(token=logged.token, scan_id=logged.answer.scan_id, size=logged.size)
    before = await ledger.GetScanProof(request, metadata=anywhere())
    async with connected(database.owner_dsn) as owner:
        product = logged.batch.product_ids[0]
        assert await owner.fetchval("SELECT scan.forget($1, ARRAY[$2::uuid])", product, logged.answer.scan_id) == 1
    assert await ledger.GetScanProof(request, metadata=anywhere()) == before


async def test_any_entry_is_proved_by_its_number(ledger: "Ledger", logged: Logged) -> None:
    note, latest = await checkpoint(ledger, logged.size)
    for index in (0, 1, 255, 256, logged.size - 1):
        request = pb.GetInclusionProofRequest(index=index, size=logged.size)
        proof = (await ledger.GetInclusionProof(request, metadata=anywhere())).proof
        assert proof.checkpoint.encode() == note
        assert merkle.verify_inclusion(proof.leaf_hash, index, latest.size, list(proof.path), latest.root)


async def test_an_old_checkpoint_is_kept_to(ledger: "Ledger", logged: Logged, database: Database) -> None:
    async with connected(database.owner_dsn) as owner:
        first = int(await owner.fetchval("SELECT min(size) FROM scan.ledger_checkpoints"))
    assert first < SCANS
    (_, old), (_, new) = await checkpoint(ledger, first), await checkpoint(ledger)
    request = pb.GetConsistencyProofRequest(from_size=first)
    answer = await ledger.GetConsistencyProof(request, metadata=anywhere())
    assert (answer.from_size, answer.to_size) == (old.size, new.size)
    assert merkle.verify_consistency(old.size, new.size, old.root, new.root, list(answer.path))
    for sizes in ((0, 0), (0, first), (first, first)):
        request = pb.GetConsistencyProofRequest(from_size=sizes[0], to_size=sizes[1])
        assert not (await ledger.GetConsistencyProof(request, metadata=anywhere())).path


async def test_the_tree_can_be_built_from_its_tiles(ledger: "Ledger", logged: Logged) -> None:
    _, latest = await checkpoint(ledger, logged.size)
    tiles = {}
    for level, index, width in ((0, 0, 256), (0, 1, logged.size - 256), (1, 0, 1)):
        call = ledger.GetTile(pb.GetTileRequest(name=TilePath(level, index, width).text()[5:]), metadata=anywhere())
        tiles[level, index] = (await call).data
        assert len(tiles[level, index]) == 32 * width
        cached = dict(await call.initial_metadata())["cache-control"]
        assert ("immutable" in cached) == (width == 256)
    assert root_from_tiles(latest.size, lambda level, index: tiles[level, index]) == latest.root
    first = pb.GetInclusionProofRequest(index=0, size=logged.size)
    assert (await ledger.GetInclusionProof(first, metadata=anywhere())).proof.leaf_hash == tiles[0, 0][:32]
    assert tiles[0, 0][:32] != genesis(ORIGIN)


@pytest.mark.parametrize(
    "name", ["0/001", "0/002", "0/001.p/255", "1/000", "2/000.p/1", "8/000.p/1", "63/000", "64/000"]
)
async def test_no_tile_of_what_is_not_signed_for(ledger: "Ledger", logged: Logged, name: str) -> None:
    assert await failing(ledger.GetTile(pb.GetTileRequest(name=name), metadata=anywhere())) == "NOT_LOGGED"


@pytest.mark.parametrize(
    "name", ["0/000.p/257", "0/x000/000", "00/000", "0/" + "x999/" * 6 + "999", "0/000.p/256"], ids=range(5)
)
async def test_a_name_that_no_tile_has_names_none(ledger: "Ledger", logged: Logged, name: str) -> None:
    assert await failing(ledger.GetTile(pb.GetTileRequest(name=name), metadata=anywhere())) == "NOT_LOGGED"


@pytest.mark.parametrize(
    "name", ["", "0", "0/", "0/1", "-1/000", "a/000", "0/000.p/0", "entries/000", "0/000\n", "x" * 5000]
)
async def test_a_name_that_is_none_is_refused(ledger: "Ledger", logged: Logged, name: str) -> None:
    assert await failing(ledger.GetTile(pb.GetTileRequest(name=name), metadata=anywhere())) == "VALIDATION_FAILED"


@pytest.mark.parametrize("size", [1 << 40, FAR])
async def test_nothing_is_proved_of_trees_that_are_not_there(ledger: "Ledger", logged: Logged, size: int) -> None:
    calls = [
        ledger.GetCheckpoint(pb.GetCheckpointRequest(size=size), metadata=anywhere()),
        ledger.GetInclusionProof(pb.GetInclusionProofRequest(size=size), metadata=anywhere()),
        ledger.GetInclusionProof(pb.GetInclusionProofRequest(index=size), metadata=anywhere()),
        ledger.GetConsistencyProof(pb.GetConsistencyProofRequest(from_size=size), metadata=anywhere()),
        ledger.GetConsistencyProof(pb.GetConsistencyProofRequest(from_size=1, to_size=size), metadata=anywhere()),
    ]
    assert {await failing(call) for call in calls} == {"NOT_LOGGED"}


async def test_requests_that_break_the_contract_are_refused(ledger: "Ledger", logged: Logged) -> None:
    scan_id = logged.answer.scan_id
    calls = [
        ledger.GetCheckpoint(pb.GetCheckpointRequest(size=FAR + 1), metadata=anywhere()),
        ledger.GetInclusionProof(pb.GetInclusionProofRequest(index=FAR + 1), metadata=anywhere()),
        ledger.GetInclusionProof(pb.GetInclusionProofRequest(size=FAR + 1), metadata=anywhere()),
        ledger.GetConsistencyProof(pb.GetConsistencyProofRequest(from_size=3, to_size=2), metadata=anywhere()),
        ledger.GetConsistencyProof(pb.GetConsistencyProofRequest(from_size=FAR + 1), metadata=anywhere()),
        ledger.GetScanProof(pb.GetScanProofRequest(token="", scan_id=scan_id), metadata=anywhere()),
        ledger.GetScanProof(pb.GetScanProofRequest(token="x" * 129, scan_id=scan_id), metadata=anywhere()),
        ledger.GetScanProof(pb.GetScanProofRequest(token=logged.token), metadata=anywhere()),
        ledger.GetScanProof(pb.GetScanProofRequest(token=logged.token, scan_id="x"), metadata=anywhere()),
    ]
    assert {await failing(call) for call in calls} == {"VALIDATION_FAILED"}


async def test_one_caller_s_questions_are_bounded(ledger: "Ledger", logged: Logged) -> None:
    here = anywhere()
    calls = [ledger.GetLogKey(pb.GetLogKeyRequest(), metadata=here) for _ in range(600)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert refused
    assert {reason_of(error) for error in refused} == {"RATE_LIMITED"}


async def test_cancelled_questions_leave_the_door_open(ledger: "Ledger", logged: Logged) -> None:
    for _ in range(50):
        call = ledger.GetInclusionProof(pb.GetInclusionProofRequest(index=1), metadata=anywhere())
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    assert (await checkpoint(ledger))[1].size >= SCANS
