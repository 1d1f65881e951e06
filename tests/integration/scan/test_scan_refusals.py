"""Refused calls that would have changed what Scan says are in the audit; the public's are not, nor is any scan."""

from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from voketag.scan.v1 import scan_pb2, scan_pb2_grpc

from mesh.client import peer
from mesh.clock import SystemClock
from mesh.identity import ServiceTokens
from mesh.local.secrets import Secrets
from tests.integration.scan.calls import Stub, reason_of
from tests.integration.scan.test_scan_rulings import desk, refused, service
from tests.integration.scan.test_scan_watch import secrets, valkey
from tests.integration.scan.world import Database, Service, anywhere, connected
from tests.refusals import AT_ONCE, Refusal, refusals

__all__ = ["desk", "secrets", "service", "valkey"]
pytestmark = pytest.mark.asyncio(loop_scope="module")


async def logged(database: Database, actor_id: str) -> list[Refusal]:
    async with connected(database.owner_dsn) as owner:
        return await refusals(owner, "scan", actor_id)


async def failing(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return reason_of(error.value)


async def test_what_staff_may_not_change_is_logged(desk: grpc.aio.Channel, database: Database) -> None:
    before = len(await logged(database, "admin"))
    product, request_id = str(uuid4()), str(uuid4())
    fields = {"request_id": request_id, "clear_product_id": product, "lift": True}
    assert await refused(desk, metadata=anywhere(), **fields) == "PRODUCT_NOT_FOUND"
    staff: Any = scan_pb2_grpc.ScanServiceStub(desk)
    case = scan_pb2.SetReportStateRequest(
        request_id=str(uuid4()), case_id=str(uuid4()), state=scan_pb2.REPORT_STATE_INVESTIGATING
    )
    assert await failing(staff.SetReportState(case)) == "CASE_NOT_FOUND"
    ruling, report = (await logged(database, "admin"))[before:]
    assert (ruling.actor, ruling.method, ruling.resource) == ("service:admin", "Rule", f"product/{product}")
    assert (ruling.request_id, ruling.result) == (UUID(request_id), "PRODUCT_NOT_FOUND")
    assert ruling.prefix.endswith("/48")
    assert (report.method, report.resource) == ("SetReportState", f"fraud_case/{case.case_id}")


async def test_another_service_is_named_and_its_flood_has_ten_rows(
    service: Service, secrets: Secrets, database: Database
) -> None:
    tokens = ServiceTokens("factory", secrets.identity("factory").read_text(), SystemClock())
    async with peer(service.target, tokens=tokens, service="scan") as channel:
        for _ in range(3 * AT_ONCE):
            assert await refused(channel, revoke_kid=1) == "ACCESS_DENIED"
    found = await logged(database, "factory")
    assert [(row.method, row.result) for row in found] == [("Rule", "ACCESS_DENIED")] * AT_ONCE


async def test_the_public_writes_no_refusal(stub: Stub, database: Database) -> None:
    report = scan_pb2.ReportFraudRequest(request_id="none")
    assert await failing(stub.ReportFraud(report, metadata=anywhere())) == "VALIDATION_FAILED"
    assert await failing(stub.Verify(scan_pb2.VerifyRequest(token="x"), metadata=anywhere())) == "TOKEN_MALFORMED"
    async with connected(database.owner_dsn) as owner:
        count = "SELECT count(*) FROM scan.audit WHERE actor_kind = 'public' AND result <> 'OK'"
        assert await owner.fetchval(count) == 0
