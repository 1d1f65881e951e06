"""A time-stamp authority beside the chain: a real one, and what it may do wrong."""

import asyncio
import hashlib
import subprocess
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from prometheus_client import CollectorRegistry
from voketag.anchor.v1 import anchor_pb2 as pb

from anchor.authority import Authority, AuthorityUnavailableError, StampRefusedError
from anchor.evidence import TimeStamp
from anchor.metrics import Metrics
from anchor.stamp_journal import StampJournal
from anchor.stamper import Stamper
from anchor.submission import Location, Progress
from anchor.target import Policy
from anchor.target_journal import LeaseLostError
from anchor.window import WindowPolicy, Windows
from mesh.clock import Clock, SystemClock, new_id
from mesh.config import DatabaseSettings
from mesh.timestamps import Authorities
from tests.fakes.clock import HandClock
from tests.fakes.time_stamp_authority import Issuer, TimeStampAuthority, query
from tests.integration.anchor.processes import outcome, running
from tests.integration.anchor.world import World

POLICY = Policy.parse("all chain tsa")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TimeStampAuthority]:
    async with TimeStampAuthority(tmp_path, Issuer.make()) as server:
        yield server


class StampWorld:
    """A stamper that goes round by round."""

    def __init__(self, pool: "asyncpg.Pool[Any]", server: TimeStampAuthority, clock: Clock | None = None) -> None:
        self.journal = StampJournal(pool, "tsa")
        trusted = Authorities.from_pem(server.certificates)
        authority = Authority(server.url, trusted, clock or SystemClock(), timeout_seconds=5)
        windows = Windows(self.journal, WindowPolicy(0, 1000, targets=POLICY))
        self.stamper = Stamper(self.journal, windows, authority, Metrics(CollectorRegistry()))

    async def round(self) -> bool:
        fence = await self.journal.acquire(new_id(), 1000)
        assert fence is not None
        try:
            return await self.stamper.round(fence)
        finally:
            await self.journal.release(fence)


@pytest.fixture
def stamping(pool: "asyncpg.Pool[Any]", server: TimeStampAuthority, world: World) -> StampWorld:
    world.configure(targets=POLICY)
    return StampWorld(pool, server)


async def progress(world: World, submission: Any) -> Progress:
    return (await world.find(submission)).progress


async def test_a_root_is_final_with_its_transaction_and_its_stamp(
    world: World, stamping: StampWorld, server: TimeStampAuthority, tmp_path: Path
) -> None:
    submissions = await world.submit(3)
    await world.reach("final")
    assert await progress(world, submissions[0]) is Progress.SUBMITTED
    assert await world.store.evidence(await world.find(submissions[0])) == []
    before = datetime.now(UTC) - timedelta(seconds=1)
    assert await stamping.round()
    assert await progress(world, submissions[0]) is Progress.FINAL
    await world.assert_anchored_once(submissions)
    anchor = await world.find(submissions[0])
    place, stamp = await world.store.evidence(anchor)
    assert (place.target, place.proof) == ("chain", anchor.location)
    assert stamp.target == "tsa"
    assert isinstance(stamp.proof, TimeStamp)
    proof = await world.proofs.of(anchor)
    assert proof is not None
    said = Authorities.from_pem(server.certificates).check(stamp.proof.response, proof.anchor_root)
    assert before <= said == stamp.proof.time <= datetime.now(UTC)
    await asyncio.to_thread(assert_openssl_agrees, tmp_path, proof.anchor_root, stamp.proof.response, server)


def assert_openssl_agrees(folder: Path, root: bytes, response: bytes, server: TimeStampAuthority) -> None:
    for name, content in (("root", root), ("stamp", response), ("trusted", server.certificates)):
        (folder / name).write_bytes(content)
    command = ("openssl", "ts", "-verify", "-data", "root", "-in", "stamp", "-CAfile", "trusted")
    assert b"Verification: OK" in subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout


async def test_the_stamp_may_come_first(world: World, stamping: StampWorld, server: TimeStampAuthority) -> None:
    """The stamper closes the window; the chain's submitter finds the tree owed."""
    [submission] = await world.submit()
    assert await stamping.round()
    assert server.asked == 1
    assert await progress(world, submission) is Progress.SUBMITTED
    await world.reach("final")
    assert await progress(world, submission) is Progress.FINAL
    assert await stamping.round()
    assert server.asked == 1


async def test_the_public_gets_the_evidence(
    world: World, stamping: StampWorld, server: TimeStampAuthority, public: Any
) -> None:
    [submission] = await world.submit()
    await world.reach("final")
    request = pb.GetProofRequest(batch_id=str(submission.subject_id))
    assert not (await public.GetProof(request)).evidence
    await stamping.round()
    answer = await public.GetProof(request)
    place, stamp = answer.evidence
    assert place.location == answer.anchor.location
    assert (stamp.target, stamp.WhichOneof("proof")) == ("tsa", "time_stamp")
    trusted = Authorities.from_pem(server.certificates)
    assert trusted.check(stamp.time_stamp.response, answer.proof.anchor_root) == stamp.time_stamp.time.ToDatetime(UTC)


def other_nonce(question: bytes) -> bytes:
    """The same imprint in a question of somebody else's, as in an answer that was overheard."""
    again = query(b"anything")
    at, length = again.index(hashlib.sha256(b"anything").digest()), 32
    imprint = question.index(again[at - 19 : at]) + 19
    return again[:at] + question[imprint : imprint + length] + again[at + length :]


def other_imprint(question: bytes) -> bytes:
    """The same nonce over other bytes."""
    head = query(b"anything")
    at = head.index(hashlib.sha256(b"anything").digest())
    imprint = question.index(head[at - 19 : at]) + 19
    return question[:imprint] + bytes(32) + question[imprint + 32 :]


def unavailable(server: TimeStampAuthority) -> None:
    server.status = 503


def without_meaning(server: TimeStampAuthority) -> None:
    server.reply = lambda _: b"<html>welcome</html>"


def endless(server: TimeStampAuthority) -> None:
    server.reply = lambda answer: answer + bytes(1_000_000)


def cut(server: TimeStampAuthority) -> None:
    server.reply = lambda answer: answer[:-1]


def with_another_nonce(server: TimeStampAuthority) -> None:
    server.change = other_nonce


def with_another_imprint(server: TimeStampAuthority) -> None:
    server.change = other_imprint


def with_a_stranger_s_key(server: TimeStampAuthority) -> None:
    server.use(Issuer.make())


def forged(server: TimeStampAuthority) -> None:
    server.reply = lambda answer: answer[:-1] + bytes([answer[-1] ^ 1])


def mend(server: TimeStampAuthority) -> None:
    server.status = 200
    server.change = server.reply = lambda same: same
    server.use(server.issuer)


FAULTS: list[tuple[Callable[[TimeStampAuthority], None], type[Exception], str]] = [
    (unavailable, AuthorityUnavailableError, "HTTP 503"),
    (without_meaning, StampRefusedError, "no answer of a time-stamp authority"),
    (endless, StampRefusedError, "no answer of a time-stamp authority"),
    (cut, StampRefusedError, "no answer of a time-stamp authority"),
    (with_another_nonce, StampRefusedError, "Nonce mismatch"),
    (with_another_imprint, StampRefusedError, "Mismatch between messages"),
    (with_a_stranger_s_key, StampRefusedError, "unable to get local issuer certificate"),
    (forged, StampRefusedError, "not used"),
]


@pytest.mark.parametrize(("fault", "error", "why"), FAULTS, ids=[fault.__name__ for fault, _, _ in FAULTS])
async def test_what_an_authority_does_wrong_is_not_kept_and_holds_up_no_chain(
    world: World,
    stamping: StampWorld,
    server: TimeStampAuthority,
    fault: Callable[[TimeStampAuthority], None],
    error: type[Exception],
    why: str,
) -> None:
    [submission] = await world.submit()
    fault(server)
    with pytest.raises(error, match=why):
        await stamping.round()
    await world.reach("final")
    assert await progress(world, submission) is Progress.SUBMITTED
    assert await world.pool.fetchval("SELECT count(*) FROM stamps WHERE evidence IS NOT NULL") == 0
    mend(server)
    assert await stamping.round()
    assert await progress(world, submission) is Progress.FINAL
    await world.assert_anchored_once([submission])


async def test_an_authority_that_refuses_is_named_with_its_reason(
    pool: "asyncpg.Pool[Any]", world: World, tmp_path: Path
) -> None:
    await world.submit()
    async with TimeStampAuthority(tmp_path, Issuer.make(), digests="sha512") as server:
        with pytest.raises(StampRefusedError, match="the authority refused: Message digest algorithm is not supported"):
            await StampWorld(pool, server).round()


async def test_a_certificate_that_has_expired(pool: "asyncpg.Pool[Any]", world: World, tmp_path: Path) -> None:
    await world.submit()
    async with TimeStampAuthority(tmp_path, Issuer.make(expired=True)) as server:
        with pytest.raises(StampRefusedError, match="certificate has expired"):
            await StampWorld(pool, server).round()


async def test_a_time_that_is_not_ours(pool: "asyncpg.Pool[Any]", world: World, server: TimeStampAuthority) -> None:
    """Ours is in 1970 here: one of the two is wrong, and nothing is kept."""
    await world.submit()
    with pytest.raises(StampRefusedError, match="its time is 20"):
        await StampWorld(pool, server, HandClock()).round()


async def test_an_authority_that_hangs(world: World, stamping: StampWorld, server: TimeStampAuthority) -> None:
    [submission] = await world.submit()
    server.hangs = True
    trusted = Authorities.from_pem(server.certificates)
    hasty = Authority(server.url, trusted, SystemClock(), timeout_seconds=0.2)
    with pytest.raises(AuthorityUnavailableError, match="TimeoutError"):
        await hasty.stamp(submission.root)


async def test_an_authority_that_is_gone(server: TimeStampAuthority) -> None:
    trusted = Authorities.from_pem(server.certificates)
    gone = Authority("http://127.0.0.1:1/", trusted, SystemClock(), timeout_seconds=5)
    with pytest.raises(AuthorityUnavailableError, match="cannot be reached"):
        await gone.stamp(bytes(32))


async def test_while_anchoring_is_frozen_nothing_is_asked(
    world: World, stamping: StampWorld, server: TimeStampAuthority
) -> None:
    await world.submit()
    await world.reach("final")
    await world.pool.execute("UPDATE control SET frozen = true")
    assert await stamping.round()
    assert server.asked == 0
    await world.pool.execute("UPDATE control SET frozen = false")
    assert await stamping.round()
    assert server.asked == 1


async def test_a_stamp_that_was_not_kept_is_asked_for_again(
    world: World, stamping: StampWorld, server: TimeStampAuthority
) -> None:
    """Between answer and commit the lease goes to another process: the first one writes nothing."""
    [submission] = await world.submit()
    await world.reach("final")
    fence = await stamping.journal.acquire(new_id(), 1000)
    assert fence is not None
    answers: list[bytes] = []

    def usurp(answer: bytes) -> bytes:
        answers.append(answer)
        return answer

    server.reply = usurp
    await world.pool.execute("UPDATE lease SET fence = fence + 1 WHERE name = 'submitter:tsa'")
    with pytest.raises(LeaseLostError):
        await stamping.stamper.round(fence)
    assert await progress(world, submission) is Progress.SUBMITTED
    await world.pool.execute("UPDATE lease SET expires_at = now() - interval '1 second'")
    assert await stamping.round()
    evidence = await world.store.evidence(await world.find(submission))
    assert len(answers) == 2
    assert [each.proof.response for each in evidence if isinstance(each.proof, TimeStamp)] == answers[1:]
    assert sum(isinstance(each.proof, Location) for each in evidence) == 1


def environment(database: DatabaseSettings, server: TimeStampAuthority, folder: Path, **changes: str) -> dict[str, str]:
    """Of a stamper that looks often."""
    trusted = folder / "trusted.pem"
    trusted.write_bytes(server.certificates)
    values = {
        "database_url": database.database_url,
        "database_password": database.database_password.get_secret_value(),
        "tsa_url": server.url,
        "tsa_certificates": str(trusted),
        "policy": "all chain tsa",
        "poll_seconds": "0.05",
        "window_seconds": "0",
    }
    return {f"VOKETAG_{name.upper()}": value for name, value in (values | changes).items()}


async def test_the_process_stamps_through_an_outage(
    world: World, stamping: StampWorld, server: TimeStampAuthority, database: DatabaseSettings, tmp_path: Path
) -> None:
    [submission] = await world.submit()
    unavailable(server)
    async with running("anchor", "stamp", env=environment(database, server, tmp_path)) as process:
        async with asyncio.timeout(60):
            while server.asked < 3:
                await asyncio.sleep(0.05)
            mend(server)
            await world.reach("final")
            while await progress(world, submission) is not Progress.FINAL:
                await asyncio.sleep(0.05)
        process.terminate()
        async with asyncio.timeout(20):
            assert await process.wait() == 0


@pytest.mark.parametrize(
    ("changes", "status", "why"),
    [
        ({"target": "polygon"}, 2, "is not `tsa`"),
        ({"policy": "any chain tsa"}, 2, "time stamps alone could meet the policy"),
        ({"tsa_certificates": "/nowhere"}, 1, "is not certificates in PEM"),
        ({"tsa_certificates": "/dev/null"}, 1, "is not certificates in PEM"),
    ],
)
async def test_wrong_settings(
    database: DatabaseSettings,
    server: TimeStampAuthority,
    tmp_path: Path,
    changes: dict[str, str],
    status: int,
    why: str,
) -> None:
    found, said = await outcome("anchor", "stamp", env=environment(database, server, tmp_path, **changes))
    assert (found, why in said) == (status, True), said
