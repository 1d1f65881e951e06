"""What staff rule of products, batches and keys: scans follow within two seconds, whoever rules, dies or asks again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic, time
from typing import Any
from uuid import uuid4

import grpc
import orjson
import pytest
import pytest_asyncio
from voketag.scan.v1 import ruling_pb2, ruling_pb2_grpc, scan_pb2

from mesh.client import peer
from mesh.clock import SystemClock, new_id
from mesh.identity import ServiceTokens
from mesh.local.secrets import Secrets
from mesh.local.valkey import ValkeyServer
from scan.risk import DEFAULT_WEIGHTS, assess, facts_from_json
from tests.fakes.anchor import FakeAnchor
from tests.integration.scan.calls import BLOCKED, GENUINE, F, P, Stub, outcomes, reason_of, verify
from tests.integration.scan.conftest import ONCE
from tests.integration.scan.test_scan_cases import CONFIRMED, LIKELY_COPY, decision, reports_factor, until_looks
from tests.integration.scan.test_scan_recorded import journal, rows
from tests.integration.scan.test_scan_reports import a_report, send
from tests.integration.scan.test_scan_watch import Tenant, secrets, tenant, valkey
from tests.integration.scan.world import Batch, Database, Service, anywhere, connected, stub_of

__all__ = ["journal", "secrets", "tenant", "valkey"]
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("journal")]
SEEN_SECONDS = 2.0
SOMEBODY = str(uuid4())
ODD = '=HYPERLINK("x")\'; DROP TABLE scan.rulings; --\n<b>ç</b> {risk}'


@pytest_asyncio.fixture(**ONCE)
async def service(
    database: Database,
    valkey: ValkeyServer,
    anchor: FakeAnchor,
    secrets: Secrets,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Service]:
    folder: Path = tmp_path_factory.mktemp("scan")
    settings = {"VOKETAG_JWKS": secrets.jwks.read_text(), "VOKETAG_REPORTS_TOLD_SECONDS": "0.1"}
    service = Service(folder, database, valkey.url, anchor.target, **settings)
    await service.start()
    yield service
    await service.stop()


@pytest_asyncio.fixture(**ONCE)
async def desk(service: Service, secrets: Secrets) -> AsyncIterator[grpc.aio.Channel]:
    tokens = ServiceTokens("admin", secrets.identity("admin").read_text(), SystemClock())
    async with peer(service.target, tokens=tokens, service="scan") as channel:
        yield channel


async def rule(desk: grpc.aio.Channel, *, metadata: Any = (), **fields: Any) -> ruling_pb2.Ruling:
    request = ruling_pb2.RuleRequest(**({"request_id": str(uuid4()), "note": "seen", "ruled_by": SOMEBODY} | fields))
    stub: Any = ruling_pb2_grpc.RulingServiceStub(desk)
    answer: ruling_pb2.RuleResponse = await stub.Rule(request, metadata=metadata, timeout=10)
    return answer.ruling


async def ruled(desk: grpc.aio.Channel, **request: Any) -> ruling_pb2.Ruling:
    """As `rule`, again while the service or its connections are away."""
    request.setdefault("request_id", str(uuid4()))
    async with asyncio.timeout(20):
        while True:
            try:
                return await rule(desk, **request)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
            await asyncio.sleep(0.05)


async def refused(desk: grpc.aio.Channel, **fields: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await rule(desk, **fields)
    return reason_of(error.value)


async def until(stub: Stub, token: str, verdict: int) -> scan_pb2.VerifyResponse:
    """The first scan with the verdict, which was asked for within two seconds."""
    began, somebody = monotonic(), anywhere()
    while True:
        asked_at = monotonic()
        if (answer := await verify(stub, token, metadata=somebody)).verdict == verdict:
            assert asked_at - began <= SEEN_SECONDS
            return answer
        assert asked_at - began <= SEEN_SECONDS + 5
        await asyncio.sleep(0.01)


def lifecycle(answer: scan_pb2.VerifyResponse) -> str:
    codes = [one.code for one in answer.risk.factors if one.name == scan_pb2.RISK_FACTOR_NAME_LIFECYCLE]
    return codes[0] if codes else ""


@pytest.mark.parametrize("of", ["product", "batch"])
async def test_what_is_blocked_stays_so_until_it_is_taken_back(
    of: str, stub: Stub, desk: grpc.aio.Channel, database: Database
) -> None:
    batch, other = await database.batch(2, state="COMPLETED"), await database.batch(state="COMPLETED")
    subject = {f"block_{of}_id": str(batch.batch_id if of == "batch" else batch.product_ids[0])}
    for token in (*batch.tokens, *other.tokens):
        assert (await verify(stub, token)).verdict == GENUINE
    ruling = await rule(desk, note=ODD, **subject)
    assert (ruling.note, ruling.ruled_by, ruling.lifts) == (ODD, SOMEBODY, False)
    answer = await until(stub, batch.tokens[0], BLOCKED)
    assert (outcomes(answer)[:2], lifecycle(answer)) == ([P, F], "blocked")
    assert (await stub.LookupTag(scan_pb2.LookupTagRequest(token=batch.tokens[0]))).verdict == BLOCKED
    await sets_state(database, batch, 5)
    await until(stub, batch.tokens[0], BLOCKED)
    await sets_state(database, batch, 2)
    assert (await verify(stub, batch.tokens[0])).verdict == BLOCKED, "a factory takes back no ruling"
    assert (await verify(stub, other.tokens[0])).verdict == GENUINE
    expected = BLOCKED if of == "batch" else GENUINE
    await until(stub, batch.tokens[1], expected)
    again = await rule(desk, **subject)
    assert again == ruling, "it stands, and who ruled first and why is what is told"
    lifted = await rule(desk, lift=True, **subject)
    assert (lifted.lifts, lifted.ruling_id > ruling.ruling_id) == (True, True)
    assert lifecycle(await until(stub, batch.tokens[0], GENUINE)) != "blocked"
    assert await refused(desk, lift=True, **subject) == "RULING_NOT_FOUND"


async def sets_state(database: Database, batch: Batch, state: int) -> None:
    """As the factory changes it."""
    async with connected(database.owner_dsn) as owner, owner.transaction():
        query = "UPDATE factory.products SET state = $2 WHERE product_id = $1"
        await owner.execute(query, batch.product_ids[0], state)
        await owner.execute("SELECT pg_notify('factory_cards', $1)", str(batch.product_ids[0]))


async def test_a_revoked_key_blocks_its_codes_alone(stub: Stub, desk: grpc.aio.Channel, database: Database) -> None:
    batch, other = await database.batch(state="COMPLETED", kid=2), await database.batch(state="COMPLETED")
    assert (await verify(stub, batch.tokens[0])).verdict == GENUINE
    await rule(desk, revoke_kid=2)
    try:
        answer = await until(stub, batch.tokens[0], BLOCKED)
        assert (outcomes(answer)[:2], lifecycle(answer)) == ([F, P], "revoked")
        assert (await verify(stub, other.tokens[0])).verdict == GENUINE
        late = await database.batch(state="COMPLETED", kid=2)
        assert (await verify(stub, late.tokens[0])).verdict == BLOCKED
    finally:
        await rule(desk, revoke_kid=2, lift=True)
    await until(stub, batch.tokens[0], GENUINE)
    assert await refused(desk, revoke_kid=200) == "KEY_NOT_FOUND"


async def test_what_a_cleared_product_was_charged_with_counts_no_more(
    stub: Stub, desk: grpc.aio.Channel, database: Database
) -> None:
    batch = await database.batch(state="COMPLETED")
    token, product_id = batch.tokens[0], str(batch.product_ids[0])
    for place in ("BR,-23.5,-46.6", "DE,52.5,13.4", "JP,35.7,139.7") * 6:
        await verify(stub, token, metadata=(*anywhere(), ("x-client-place", place)))
    case_id = await send(stub, a_report(token=token))
    staff = stub_of(desk)
    await staff.SetReportState(decision(case_id, CONFIRMED), timeout=10)
    charged = await until(stub, token, LIKELY_COPY)
    await rule(desk, clear_product_id=product_id)
    cleared = await until(stub, token, GENUINE)
    assert cleared.scan_count > charged.scan_count, "what was counted is not forgotten"
    assert not (await reports_factor(stub, token)).score
    await rule(desk, clear_product_id=product_id, lift=True)
    await until(stub, token, LIKELY_COPY)
    await rule(desk, clear_product_id=product_id)
    await until(stub, token, GENUINE)
    await staff.SetReportState(decision(case_id, CONFIRMED), timeout=10)
    await until_looks(stub, token, LIKELY_COPY)  # somebody looked again
    await rule(desk, clear_product_id=product_id)
    await until(stub, token, GENUINE)
    found = await rows(database, product_id, 24)
    under = [row for row in found if orjson.loads(row["facts"]).get("cleared")]
    assert under, "the row says what its scan was cleared of"
    for row in found:
        assert assess(facts_from_json(row["facts"]), DEFAULT_WEIGHTS).total == row["risk"], "it is judged anew alike"


async def test_sessions_before_a_clearing_alone_are_left_out(
    stub: Stub, desk: grpc.aio.Channel, database: Database
) -> None:
    batch = await database.batch(state="COMPLETED")
    token, product_id = batch.tokens[0], str(batch.product_ids[0])
    await crowd(stub, token)
    await until(stub, token, scan_pb2.VERDICT_SUSPICIOUS)
    ruling = await rule(desk, clear_product_id=product_id)
    answer = await until(stub, token, GENUINE)
    assert not [factor for factor in answer.risk.factors if factor.name == scan_pb2.RISK_FACTOR_NAME_COPIES]
    while time() < ruling.ruling_time.seconds + 1:  # sessions are told apart by the second
        await asyncio.sleep(0.05)
    await crowd(stub, token)
    await until(stub, token, scan_pb2.VERDICT_SUSPICIOUS)


async def crowd(stub: Stub, token: str) -> None:
    for _ in range(26):
        await verify(stub, token, metadata=(*anywhere(), ("x-client-place", "BR,-23.5,-46.6")))


async def test_desks_at_once_and_requests_that_come_twice(
    stub: Stub, desk: grpc.aio.Channel, database: Database
) -> None:
    batch = await database.batch(state="COMPLETED")
    subject = {"block_product_id": str(batch.product_ids[0])}
    made = await asyncio.gather(*(rule(desk, **subject, note=f"desk {number}") for number in range(8)))
    assert len({ruling.ruling_id for ruling in made}) == 1
    request_id = str(uuid4())
    lifted = [await rule(desk, request_id=request_id, lift=True, **subject) for _ in range(2)]
    assert lifted[0] == lifted[1]
    assert await refused(desk, request_id=request_id, **subject) == "REQUEST_ID_REUSED"
    await until(stub, batch.tokens[0], GENUINE)
    outcomes_ = await asyncio.gather(
        *(rule(desk, **subject, lift=bool(number % 2)) for number in range(8)), return_exceptions=True
    )
    assert all(isinstance(one, ruling_pb2.Ruling) or reason_of(one) == "RULING_NOT_FOUND" for one in outcomes_)  # type: ignore[arg-type]
    async with connected(database.owner_dsn) as owner:
        query = "SELECT lifts, ended_by FROM scan.rulings WHERE subject = $1 ORDER BY ruled_at, ruling_id"
        found = await owner.fetch(query, f"product/{batch.product_ids[0]}")
        in_force = [row for row in found if not row["lifts"] and row["ended_by"] is None]
        audited = await owner.fetchval(
            "SELECT count(*) FROM scan.audit WHERE result = 'OK' AND resource = $1", f"product/{batch.product_ids[0]}"
        )
    assert (len(in_force) <= 1, audited) == (True, len(found))
    await until(stub, batch.tokens[0], BLOCKED if in_force else GENUINE)


async def test_a_ruling_outlives_whoever_took_it(
    stub: Stub, desk: grpc.aio.Channel, database: Database, service: Service
) -> None:
    batch = await database.batch(state="COMPLETED")
    await verify(stub, batch.tokens[0])
    request = {"request_id": str(uuid4()), "block_product_id": str(batch.product_ids[0])}
    ruling = await rule(desk, **request)
    await service.child.kill()
    await service.start()
    async with grpc.aio.insecure_channel(service.target) as channel:
        assert (await verify(stub_of(channel), batch.tokens[0])).verdict == BLOCKED
    assert await ruled(desk, **request) == ruling
    await stub.LookupTag(scan_pb2.LookupTagRequest(token=batch.tokens[0]), wait_for_ready=True, timeout=20)


async def test_notices_that_were_missed_are_made_up_for(stub: Stub, desk: grpc.aio.Channel, database: Database) -> None:
    batch = await database.batch(state="COMPLETED")
    assert (await verify(stub, batch.tokens[0])).verdict == GENUINE
    async with connected(database.owner_dsn) as owner:
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND query LIKE 'SELECT 1%'"
        await owner.execute(query, database.name)
    await ruled(desk, block_product_id=str(batch.product_ids[0]))  # connections of the pool may be among them
    await until(stub, batch.tokens[0], BLOCKED)


async def test_what_no_desk_may_rule(stub: Stub, desk: grpc.aio.Channel, service: Service, tenant: Tenant) -> None:
    nobody = str(new_id())
    for field, reason in (
        ("block_product_id", "PRODUCT_NOT_FOUND"),
        ("clear_product_id", "PRODUCT_NOT_FOUND"),
        ("block_batch_id", "BATCH_NOT_FOUND"),
    ):
        assert await refused(desk, **{field: nobody}) == reason
        assert await refused(desk, **{field: "x"}) == "VALIDATION_FAILED"
        assert await refused(desk, **{field: "' OR 1=1 --"}) == "VALIDATION_FAILED"
    for wrong in ({"note": ""}, {"note": "x" * 2001}, {"note": "\0"}, {"request_id": "x"}, {"ruled_by": ""}):
        assert await refused(desk, **({"block_product_id": nobody} | wrong)) == "VALIDATION_FAILED", wrong
    assert await refused(desk) == "VALIDATION_FAILED"
    assert await refused(desk, revoke_kid=256) == "VALIDATION_FAILED"
    async with grpc.aio.insecure_channel(service.target) as channel:
        assert await refused(channel, revoke_kid=1) == "CREDENTIALS_MISSING"
        assert await refused(channel, revoke_kid=1, metadata=(("x-api-key", tenant.key),)) == "ACCESS_DENIED"
