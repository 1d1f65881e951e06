"""Reports reach the risk of scans, and what staff decide of them does; through whatever is lost in between."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from redis.asyncio import Redis
from voketag.scan.v1 import scan_pb2

from mesh.client import peer
from mesh.clock import SystemClock
from mesh.identity import ServiceTokens
from mesh.local.secrets import Secrets
from mesh.local.valkey import ValkeyServer
from tests.fakes.anchor import FakeAnchor
from tests.integration.scan.calls import GENUINE, Stub, reason_of, verify
from tests.integration.scan.conftest import ONCE
from tests.integration.scan.test_scan_recorded import journal
from tests.integration.scan.test_scan_reports import a_report, send
from tests.integration.scan.test_scan_watch import Tenant, secrets, tenant, valkey
from tests.integration.scan.world import Database, Service, anywhere, connected, stub_of

__all__ = ["journal", "secrets", "tenant", "valkey"]
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("journal")]
LIKELY_COPY = scan_pb2.VERDICT_LIKELY_COPY
OPEN, CONFIRMED = scan_pb2.REPORT_STATE_OPEN, scan_pb2.REPORT_STATE_CONFIRMED
DISMISSED = scan_pb2.REPORT_STATE_DISMISSED


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
async def staff(service: Service, secrets: Secrets) -> AsyncIterator[Stub]:
    tokens = ServiceTokens("admin", secrets.identity("admin").read_text(), SystemClock())
    async with peer(service.target, tokens=tokens, service="scan") as channel:
        yield stub_of(channel)


def decision(case_id: object, state: Any, **more: Any) -> scan_pb2.SetReportStateRequest:
    fields = {"request_id": str(uuid4()), "case_id": str(case_id), "state": state} | more
    return scan_pb2.SetReportStateRequest(**fields)


async def reports_factor(stub: Stub, token: str) -> scan_pb2.RiskFactor:
    request = scan_pb2.VerifyRequest(token=token, explain=True)
    answer = await stub.Verify(request, metadata=anywhere(), timeout=10)
    return next(one for one in answer.risk.factors if one.name == scan_pb2.RISK_FACTOR_NAME_REPORTS)


async def until_looks(stub: Stub, token: str, verdict: int) -> None:
    """Until a code has the verdict, its history looked at."""
    async with asyncio.timeout(20):
        while True:
            seen = await stub.LookupTag(scan_pb2.LookupTagRequest(token=token), metadata=anywhere(), timeout=10)
            if (seen.verdict, seen.degraded) == (verdict, False):
                return
            await asyncio.sleep(0.05)


async def test_reports_weigh_and_a_confirmed_one_makes_a_likely_copy(
    stub: Stub, staff: Stub, database: Database
) -> None:
    batch = await database.batch(state="COMPLETED")
    token = batch.tokens[0]
    assert not (await reports_factor(stub, token)).score
    case_id = await send(stub, a_report(token=token))
    await send(stub, a_report(token=token))
    weighed = await reports_factor(stub, token)
    assert (weighed.score, weighed.evidence["open"], weighed.evidence["confirmed"]) == (40, "2", "0")
    request = decision(case_id, CONFIRMED, note="Bought one: the hologram is printed.")
    decided = await staff.SetReportState(request, timeout=10)
    assert (decided.case.state, decided.case.note, decided.case.report_count) == (CONFIRMED, request.note, 1)
    answer = await verify(stub, token)
    assert (answer.verdict, answer.risk.total >= 70) == (LIKELY_COPY, True)
    await staff.SetReportState(decision(case_id, DISMISSED), timeout=10)
    assert (await verify(stub, token)).verdict == GENUINE
    again = await staff.SetReportState(request, timeout=10)
    assert again.case.state == DISMISSED, "a repeat changes nothing, and tells the case as it is"
    async with connected(database.owner_dsn) as owner:
        state = "detail->'state'->>'before', detail->'state'->>'after'"
        query = f"SELECT actor_id, {state} FROM scan.audit WHERE result = 'OK' AND resource = $1 AND method LIKE $2"
        found = await owner.fetch(f"{query} ORDER BY audit_id", f"fraud_case/{case_id}", "%SetReportState")
    assert [tuple(row) for row in found] == [("admin", "OPEN", "CONFIRMED"), ("admin", "CONFIRMED", "DISMISSED")]


async def test_what_was_not_told_or_was_lost_is_mended(
    stub: Stub, staff: Stub, database: Database, valkey: ValkeyServer
) -> None:
    batch = await database.batch(state="COMPLETED")
    token = batch.tokens[0]
    case_id = await send(stub, a_report(token=token))
    async with connected(database.owner_dsn) as owner:
        # As a process leaves it that dies after its commit.
        await owner.execute("UPDATE scan.fraud_reports SET state = 'CONFIRMED' WHERE report_id = $1", case_id)
    await until_looks(stub, token, LIKELY_COPY)
    async with Redis.from_url(valkey.url) as client:
        await client.flushall()
        await client.function_flush()
    await until_looks(stub, token, LIKELY_COPY)
    await valkey.kill()
    await staff.SetReportState(decision(case_id, DISMISSED), timeout=10)
    await valkey.start()
    await until_looks(stub, token, GENUINE)


async def test_cases_are_listed_by_page_and_filter(stub: Stub, staff: Stub, database: Database) -> None:
    batch = await database.batch(state="COMPLETED")
    cases = [str(await send(stub, a_report(token=batch.tokens[0], country_code="BR"))) for _ in range(5)]
    await staff.SetReportState(decision(cases[1], CONFIRMED), timeout=10)
    mine = scan_pb2.ListReportsRequest(product_id=str(batch.product_ids[0]), page_size=2)
    found: list[scan_pb2.ReportCase] = []
    pages = 0
    while True:
        page = await staff.ListReports(mine, timeout=10)
        found += page.cases
        pages += 1
        if not page.next_page_token:
            break
        mine.page_token = page.next_page_token
    assert ([case.case_id for case in found], pages) == (cases[::-1], 3)
    assert (found[0].country_code, found[0].text, found[0].product_id) == ("BR", "The cap is loose.", mine.product_id)
    for state, expected in ((CONFIRMED, [cases[1]]), (OPEN, [cases[4], cases[3], cases[2], cases[0]])):
        request = scan_pb2.ListReportsRequest(product_id=mine.product_id, state=state)
        assert [case.case_id for case in (await staff.ListReports(request, timeout=10)).cases] == expected
    mine.state = OPEN
    with pytest.raises(grpc.aio.AioRpcError) as other_filter:
        await staff.ListReports(mine, timeout=10)
    assert reason_of(other_filter.value) == "PAGE_TOKEN_INVALID"


async def test_what_is_refused(stub: Stub, staff: Stub, tenant: Tenant) -> None:
    case_id = await send(stub, a_report())

    async def reason(caller: Stub, request: Any, metadata: Any = ()) -> str:
        call = caller.ListReports if isinstance(request, scan_pb2.ListReportsRequest) else caller.SetReportState
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(request, metadata=metadata, timeout=10)
        return reason_of(refused.value)

    assert await reason(staff, decision(uuid4(), CONFIRMED)) == "CASE_NOT_FOUND"
    wrong: list[dict[str, Any]] = [
        {"state": 0},
        {"state": 9},
        {"case_id": "x"},
        {"request_id": ""},
        {"note": "x" * 2001},
    ]
    for fields in (*wrong, {"note": "\0"}):
        request = decision(**({"case_id": case_id, "state": CONFIRMED} | fields))
        assert await reason(staff, request) == "VALIDATION_FAILED", fields
    for page in ({"page_size": 201}, {"page_size": -1}, {"state": 9}, {"product_id": "x"}, {"page_token": "x" * 501}):
        listing: Any = page
        assert await reason(staff, scan_pb2.ListReportsRequest(**listing)) == "VALIDATION_FAILED", page
    assert await reason(staff, scan_pb2.ListReportsRequest(page_token="x")) == "PAGE_TOKEN_INVALID"
    factory = (("x-api-key", tenant.key),)
    for asked in (scan_pb2.ListReportsRequest(), decision(case_id, CONFIRMED)):
        assert await reason(stub, asked) == "CREDENTIALS_MISSING"
        assert await reason(stub, asked, factory) == "ACCESS_DENIED"
    first = decision(case_id, CONFIRMED)
    await staff.SetReportState(first, timeout=10)
    first.state = DISMISSED
    assert await reason(staff, first) == "REQUEST_ID_REUSED"
