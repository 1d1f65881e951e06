"""Cases of fraud reports at the desk: states, assignees, notes, and whoever works on one at the same time."""

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
import pytest
from voketag.mesh.v1 import access_pb2

from tests.integration.admin.fraud import (
    CONFIRMED,
    DISMISSED,
    INVESTIGATING,
    ODD,
    OPEN,
    Desk,
    ask,
    auditor,
    database,
    desk,
    pages,
    refused,
    stub,
    support,
)
from tests.integration.admin.world import Person
from tests.integration.factory.world import eventually
from tests.integration.scan.calls import reason_of
from tests.integration.scan.test_scan_reports import a_report, send
from tests.integration.scan.world import connected
from tests.servers import PASSWORD

__all__ = ["auditor", "database", "desk", "stub", "support"]
pytestmark = pytest.mark.asyncio(loop_scope="module")
STATE = "SELECT state FROM scan.fraud_reports WHERE report_id = $1"
WAITS_CUT = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND usename = 'voketag_admin' AND datname = current_database()
"""
REACHED: dict[int, tuple[Any, ...]] = {
    OPEN: (),
    INVESTIGATING: (INVESTIGATING,),
    CONFIRMED: (CONFIRMED,),
    DISMISSED: (DISMISSED,),
}
LEGAL: dict[int, set[int]] = {
    OPEN: {INVESTIGATING, CONFIRMED, DISMISSED},
    INVESTIGATING: {OPEN, CONFIRMED, DISMISSED},
    CONFIRMED: {INVESTIGATING},
    DISMISSED: {INVESTIGATING},
}


async def opened(desk: Desk, stub: Any, **fields: Any) -> str:
    batch = await desk.database.batch(state="COMPLETED")
    return str(await send(stub, a_report(token=batch.tokens[0], **fields)))


@pytest.mark.parametrize("before", LEGAL)
async def test_a_case_goes_where_it_may(desk: Desk, support: Person, stub: Any, before: int) -> None:
    for after in LEGAL:
        case_id = await opened(desk, stub)
        for state in REACHED[before]:
            await ask(support, "UpdateFraudReport", case_id=case_id, state=state)
        if after == before or after in LEGAL[before]:
            told = (await ask(support, "UpdateFraudReport", case_id=case_id, state=after)).report
            assert told.state == after
        else:
            reason = await refused(support, "UpdateFraudReport", case_id=case_id, state=after, note="x")
            assert reason == "REPORT_STATE_CONFLICT"
            told = (await ask(support, "GetFraudReport", case_id=case_id)).report
            assert (told.state, len(told.notes)) == (before, 0), "nothing of it was done"


async def test_notes_are_added_with_their_author_and_never_changed(
    desk: Desk, support: Person, auditor: Person, stub: Any
) -> None:
    case_id = await opened(desk, stub, text=ODD.replace("\t", " "))
    request_id = str(uuid4())
    for _ in range(2):
        await ask(support, "UpdateFraudReport", case_id=case_id, note=ODD, request_id=request_id)
    answer = await ask(desk.admin, "UpdateFraudReport", case_id=case_id, note="Seen too.", state=INVESTIGATING)
    told = (await ask(auditor, "GetFraudReport", case_id=case_id)).report
    assert told == answer.report
    assert [(note.author_id, note.text) for note in told.notes] == [
        (support.user_id, ODD),
        (desk.admin.user_id, "Seen too."),
    ]
    assert (told.text, told.report_count, told.state) == (ODD.replace("\t", " "), 1, INVESTIGATING)
    assert await refused(support, "UpdateFraudReport", case_id=case_id, note="else", request_id=request_id) == (
        "REQUEST_ID_REUSED"
    )
    dsn = f"postgresql://voketag_admin@{desk.database.owner_dsn.rpartition('@')[2]}"
    connection = await asyncpg.connect(dsn, password=PASSWORD)
    try:
        for statement in ("UPDATE admin.case_notes SET text = 'x'", "DELETE FROM admin.case_notes"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_case_is_given_to_somebody_who_works_here(desk: Desk, support: Person, stub: Any) -> None:
    case_id = await opened(desk, stub)
    given = await ask(desk.admin, "UpdateFraudReport", case_id=case_id, assignee_id=support.user_id)
    assert given.report.assignee_id == support.user_id
    auditor = await desk.door.add(desk.admin, access_pb2.ROLE_AUDITOR)
    gone = await desk.door.add(desk.admin, access_pb2.ROLE_SUPPORT)
    await desk.admin.call("DisableUser", user_id=gone.user_id)
    for assignee, reason in (
        (str(uuid4()), "USER_NOT_FOUND"),
        (auditor.user_id, "USER_STATE_CONFLICT"),
        (gone.user_id, "USER_STATE_CONFLICT"),
        (ODD, "VALIDATION_FAILED"),
    ):
        fields = {"case_id": case_id, "assignee_id": assignee, "state": CONFIRMED, "note": "x"}
        assert await refused(support, "UpdateFraudReport", **fields) == reason
    told = (await ask(support, "GetFraudReport", case_id=case_id)).report
    assert (told.assignee_id, told.state, len(told.notes)) == (support.user_id, OPEN, 0)
    taken = await ask(support, "UpdateFraudReport", case_id=case_id, assignee_id="")
    assert taken.report.assignee_id == ""
    async with connected(desk.database.owner_dsn) as owner:
        query = "SELECT detail->'assignee_id' FROM admin.audit WHERE result = 'OK' AND resource = $1 ORDER BY audit_id"
        found = [row[0] for row in await owner.fetch(query, f"fraud_case/{case_id}")]
    assert [json.loads(detail) for detail in found] == [
        {"before": None, "after": support.user_id},
        {"before": support.user_id, "after": None},
    ]


async def test_cases_are_listed_by_state_product_and_assignee(
    desk: Desk, support: Person, auditor: Person, stub: Any
) -> None:
    batch = await desk.database.batch(state="COMPLETED")
    product_id = str(batch.product_ids[0])
    cases = [str(await send(stub, a_report(token=batch.tokens[0]))) for _ in range(6)][::-1]
    worker = await desk.door.add(desk.admin, access_pb2.ROLE_SUPPORT)
    for case_id in cases[:2]:
        await ask(support, "UpdateFraudReport", case_id=case_id, assignee_id=worker.user_id)
    await ask(support, "UpdateFraudReport", case_id=cases[0], state=DISMISSED)
    await ask(support, "UpdateFraudReport", case_id=cases[5], assignee_id=worker.user_id)
    await ask(support, "UpdateFraudReport", case_id=cases[5], assignee_id="")
    for fields, expected in (
        ({"product_id": product_id}, cases),
        ({"product_id": product_id, "state": OPEN}, cases[1:]),
        ({"assignee_id": worker.user_id}, cases[:2]),
        ({"assignee_id": worker.user_id, "state": DISMISSED}, cases[:1]),
        ({"product_id": product_id, "unassigned": True}, cases[2:]),
        ({"product_id": product_id, "state": CONFIRMED}, []),
        ({"assignee_id": worker.user_id, "unassigned": True}, []),
        ({"product_id": str(uuid4())}, []),
    ):
        wanted: dict[str, Any] = fields
        found = await pages(auditor, "ListFraudReports", "reports", page_size=2, **wanted)
        assert [case.case_id for page in found for case in page] == expected, fields
    token = (await ask(auditor, "ListFraudReports", product_id=product_id, page_size=2)).next_page_token
    assert await refused(auditor, "ListFraudReports", page_token=token) == "PAGE_TOKEN_INVALID"
    assert await refused(support, "ListFraudReports", product_id=product_id, page_token=token) == "PAGE_TOKEN_INVALID"


async def test_who_decides_otherwise_at_the_same_time_is_told(desk: Desk, support: Person, stub: Any) -> None:
    for _ in range(3):
        case_id = await opened(desk, stub)
        decisions = await asyncio.gather(
            *(
                ask(person, "UpdateFraudReport", case_id=case_id, state=state, note="mine")
                for person, state in ((support, CONFIRMED), (desk.admin, DISMISSED))
            ),
            return_exceptions=True,
        )
        lost = [one for one in decisions if isinstance(one, grpc.aio.AioRpcError)]
        (won,) = [one for one in decisions if not isinstance(one, BaseException)]
        assert [reason_of(one) for one in lost] == ["REPORT_STATE_CONFLICT"]
        told = (await ask(support, "GetFraudReport", case_id=case_id)).report
        assert (told.state, len(told.notes)) == (won.report.state, 1)


async def test_what_cannot_be_done_with_a_case(desk: Desk, support: Person, auditor: Person, stub: Any) -> None:
    case_id = await opened(desk, stub)
    for wrong in (
        {},
        {"note": "x" * 2001},
        {"note": "\0"},
        {"state": 9},
        {"state": CONFIRMED, "case_id": "x"},
        {"state": CONFIRMED, "request_id": "x"},
        {"assignee_id": "x"},
    ):
        fields: dict[str, Any] = {"case_id": case_id} | wrong
        assert await refused(support, "UpdateFraudReport", **fields) == "VALIDATION_FAILED", wrong
    assert await refused(support, "UpdateFraudReport", case_id=str(uuid4()), note="x") == "CASE_NOT_FOUND"
    assert await refused(auditor, "UpdateFraudReport", case_id=case_id, note="x") == "ACCESS_DENIED"


async def test_what_broke_off_after_scan_had_it_is_finished(desk: Desk, support: Person, stub: Any) -> None:
    case_id = await opened(desk, stub)
    fields = {"case_id": case_id, "state": CONFIRMED, "note": "sure", "request_id": str(uuid4())}
    dsn = desk.database.owner_dsn
    async with connected(dsn) as owner, connected(dsn) as watcher, owner.transaction():
        # The audit of admin cannot be written: scan commits, and admin does not.
        await owner.execute("LOCK TABLE admin.audit IN ACCESS EXCLUSIVE MODE")
        call = asyncio.create_task(ask(support, "UpdateFraudReport", **fields))

        async def cut() -> bool:
            return bool(await watcher.fetchval(WAITS_CUT))

        assert await eventually(cut)
        assert await watcher.fetchval(STATE, case_id) == "CONFIRMED"
        with pytest.raises(grpc.aio.AioRpcError):
            await call
    told = (await ask(support, "GetFraudReport", case_id=case_id)).report
    assert (told.state, len(told.notes)) == (CONFIRMED, 0)
    told = (await ask(support, "UpdateFraudReport", **fields)).report
    assert (told.state, [note.text for note in told.notes]) == (CONFIRMED, ["sure"])
    assert told.change_time.ToDatetime() - told.report_time.ToDatetime() < timedelta(minutes=5)
