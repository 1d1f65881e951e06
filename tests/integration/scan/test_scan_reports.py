"""ReportFraud through the public door: cases and notes, wrong input, repeats, and what is kept of a reporter."""

import asyncio
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from voketag.scan.v1 import scan_pb2

from mesh.clock import new_id
from tests.integration.scan.calls import Stub, reason_of
from tests.integration.scan.world import Database, anywhere, connected, token_of
from tests.servers import PASSWORD

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTACT = "ana.souza+voketag@example.com.br"
TODAY_ALONE = "DELETE FROM scan.salts WHERE day <> (now() AT TIME ZONE 'UTC')::date"
PHOTO = scan_pb2.FraudPhoto(sha256=bytes(range(32)), media_type="image/jpeg")


def a_report(**fields: Any) -> scan_pb2.ReportFraudRequest:
    some: dict[str, Any] = {"text": "The cap is loose.", "kind": scan_pb2.FRAUD_KIND_LOOKS_FAKE}
    return scan_pb2.ReportFraudRequest(**({"request_id": str(uuid4())} | some | fields))


async def send(stub: Stub, request: scan_pb2.ReportFraudRequest, metadata: Any = None) -> UUID:
    answer = await stub.ReportFraud(request, metadata=metadata or anywhere(), timeout=10)
    return UUID(answer.case_id)


async def refused(stub: Stub, request: scan_pb2.ReportFraudRequest) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send(stub, request)
    return reason_of(caught.value)


async def rows(database: Database, query: str, *values: object) -> list[Mapping[str, Any]]:
    async with connected(database.owner_dsn) as owner:
        return [dict(row) for row in await owner.fetch(query, *values)]


async def case(database: Database, case_id: UUID) -> list[Mapping[str, Any]]:
    """The reports of a case, oldest first, with their contacts."""
    return await rows(
        database,
        "SELECT * FROM scan.fraud_reports LEFT JOIN scan.report_contacts USING (report_id) "
        "WHERE case_id = $1 ORDER BY report_id",
        case_id,
    )


async def test_a_report_is_kept_whole_and_its_token_is_not(stub: Stub, database: Database) -> None:
    batch = await database.batch()
    request = a_report(token=batch.tokens[0], text="Смола\n\ttab", contact=CONTACT, photo=PHOTO, country_code="BR")
    case_id = await send(stub, request)
    assert case_id.version == 7
    [row] = await case(database, case_id)
    assert (row["report_id"], row["state"], row["kind"], row["text"]) == (case_id, "OPEN", "LOOKS_FAKE", request.text)
    assert (row["product_id"], row["code"], row["country_code"]) == (batch.product_ids[0], "", "BR")
    assert (row["photo_sha256"], row["photo_media_type"], row["contact"]) == (PHOTO.sha256, "image/jpeg", CONTACT)


async def test_a_report_may_be_on_something_that_is_no_code_of_ours(stub: Stub, database: Database) -> None:
    for token in ("", "typed nonsense, é", token_of(new_id()), token_of(new_id(), 9), "0" * 128):
        [row] = await case(database, await send(stub, a_report(token=token)))
        assert (row["product_id"], row["code"]) == (None, token)


async def test_typed_codes_of_ours_are_found(stub: Stub, database: Database) -> None:
    batch = await database.batch()
    [row] = await case(database, await send(stub, a_report(token=batch.tokens[0].lower())))
    assert row["product_id"] == batch.product_ids[0]


async def test_the_same_request_is_one_report_wherever_it_comes_from(stub: Stub, database: Database) -> None:
    request = a_report(token=(await database.batch()).tokens[0])
    cases = await asyncio.gather(*[send(stub, request) for _ in range(8)])
    assert len(set(cases)) == 1
    assert len(await case(database, cases[0])) == 1
    changed = scan_pb2.ReportFraudRequest.FromString(request.SerializeToString())
    changed.text += "!"
    assert await refused(stub, changed) == "REQUEST_ID_REUSED"
    assert await send(stub, request) == cases[0]
    audited = await rows(
        database, "SELECT * FROM scan.audit_rows WHERE request_id = $1::text::uuid", request.request_id
    )
    assert len(audited) == 1


async def test_a_cancelled_call_is_kept_once_by_its_repeat(stub: Stub, database: Database) -> None:
    requests = [a_report(token=(await database.batch()).tokens[0]) for _ in range(10)]
    for number, request in enumerate(requests):
        call = stub.ReportFraud(request, metadata=anywhere())
        await asyncio.sleep(number / 1000)
        call.cancel()
    for request in requests:
        assert len(await case(database, await send(stub, request))) == 1


async def test_neighbours_report_a_product_once_a_day(stub: Stub, database: Database) -> None:
    batch, other = await database.batch(2), await database.batch()
    here, there = anywhere(), anywhere()
    first = await send(stub, a_report(token=batch.tokens[0]), here)
    neighbour = ((here[0][0], here[0][1].replace("::1", ":7::9")),)
    again = await send(
        stub, a_report(token=batch.tokens[0].lower(), text="Another look", contact="+55 11 99999-0000"), neighbour
    )
    assert again == first
    opened, note = await case(database, first)
    assert (opened["state"], note["state"], note["text"]) == ("OPEN", None, "Another look")
    assert (opened["contact"], note["contact"]) == (None, "+55 11 99999-0000")
    assert await send(stub, a_report(token=batch.tokens[0]), there) != first
    assert await send(stub, a_report(token=batch.tokens[1]), here) != first
    assert await send(stub, a_report(token=other.tokens[0]), here) != first
    codeless = {await send(stub, a_report(), here) for _ in range(2)}
    assert len(codeless) == 2
    typed = {await send(stub, a_report(token="nonsense"), here) for _ in range(2)}
    assert len(typed) == 1


async def test_two_reports_at_once_open_one_case(stub: Stub, database: Database) -> None:
    token, here = (await database.batch()).tokens[0], anywhere()
    cases = await asyncio.gather(*[send(stub, a_report(token=token), here) for _ in range(10)])
    assert len(set(cases)) == 1
    assert len(await case(database, cases[0])) == 10


async def test_after_a_day_it_is_another_case_and_a_new_day_makes_none(stub: Stub, database: Database) -> None:
    token, here = (await database.batch()).tokens[0], anywhere()
    first = await send(stub, a_report(token=token), here)
    async with connected(database.owner_dsn) as owner:
        await owner.execute(f"{TODAY_ALONE}; UPDATE scan.salts SET day = day - 1")  # as if midnight had just passed
        assert await send(stub, a_report(token=token), here) == first
        await owner.execute("UPDATE scan.fraud_reports SET reported_at = reported_at - interval '24 hours'")
    assert await send(stub, a_report(token=token), here) != first


async def test_salts_of_the_day_before_yesterday_are_destroyed(stub: Stub, database: Database) -> None:
    await send(stub, a_report())
    async with connected(database.owner_dsn) as owner:
        await owner.execute(TODAY_ALONE)
        old = await owner.fetchval("UPDATE scan.salts SET day = day - 2 RETURNING salt")
        await send(stub, a_report())
        salts = [row["salt"] for row in await owner.fetch("SELECT salt FROM scan.salts")]
    assert salts
    assert old not in salts


async def test_requests_are_forgotten_after_a_day_and_not_before(stub: Stub, database: Database) -> None:
    request, other = a_report(), a_report()
    case_id = await send(stub, request)
    await send(stub, other)
    age = "UPDATE scan.idempotency SET created_at = now() - $2::interval WHERE request_id = $1::uuid"
    service = await asyncpg.connect(database.scan_dsn, password=PASSWORD)
    try:
        async with connected(database.owner_dsn) as owner:
            await owner.execute(age, request.request_id, timedelta(hours=24))
            await owner.execute(age, other.request_id, timedelta(hours=26))
        assert await service.fetchval("SELECT scan.forget_requests(0)") == 0
        assert await service.fetchval("SELECT scan.forget_requests(10)") == 1
        assert await service.fetchval("SELECT scan.forget_requests(10)") == 0
    finally:
        await service.close()
    assert await send(stub, request) == case_id
    assert await send(stub, other) != case_id


async def test_nothing_says_where_a_report_came_from(stub: Stub, database: Database) -> None:
    here = anywhere()
    case_id = await send(stub, a_report(token=(await database.batch()).tokens[0], contact=CONTACT), here)
    [row] = await case(database, case_id)
    [audited] = await rows(database, "SELECT * FROM scan.audit_rows WHERE resource = $1", f"fraud_case/{case_id}")
    assert (audited["actor_kind"], audited["actor_id"], audited["address_prefix"]) == ("public", "", "")
    assert json.loads(audited["detail"])["kind"] == "LOOKS_FAKE"
    prefix = here[0][1].removesuffix("::1")
    kept = [*row.values(), *audited.values()]
    assert not [value for value in kept if prefix in str(value)]
    assert CONTACT not in str(audited)


async def test_a_contact_is_erased_and_the_report_stays(stub: Stub, database: Database) -> None:
    token, here = (await database.batch()).tokens[0], anywhere()
    case_id = await send(stub, a_report(token=token, contact=CONTACT), here)
    await send(stub, a_report(token=token, contact=CONTACT, text="Once more"), here)
    other = await send(stub, a_report(token=token, contact=CONTACT))
    before = await case(database, case_id)
    service = await asyncpg.connect(database.scan_dsn, password=PASSWORD)
    try:
        assert await service.fetchval("SELECT scan.erase_report_contacts($1)", case_id) == 2
        assert await service.fetchval("SELECT scan.erase_report_contacts($1)", case_id) == 0
    finally:
        await service.close()
    assert await case(database, case_id) == [{**row, "contact": None} for row in before]
    assert (await case(database, other))[0]["contact"] == CONTACT
    left = "SELECT 1 FROM scan.idempotency WHERE resource_id = ANY($1::uuid[])"
    assert not await rows(database, left, [row["report_id"] for row in before])
    audited = await rows(
        database, "SELECT * FROM scan.audit WHERE method = 'erase_report_contacts' AND resource = $1",
        f"fraud_case/{case_id}",
    )  # fmt: skip
    assert [row["actor_id"] for row in audited] == ["voketag_scan"] * 2


async def test_the_services_role_changes_and_removes_nothing(database: Database) -> None:
    service = await asyncpg.connect(database.scan_dsn, password=PASSWORD)
    try:
        for statement in (
            "UPDATE scan.fraud_reports SET text = ''",
            "DELETE FROM scan.fraud_reports",
            "DELETE FROM scan.report_contacts",
            "SELECT * FROM scan.report_contacts",
            "UPDATE scan.audit SET detail = '{}'",
            "DELETE FROM scan.audit",
            "DELETE FROM scan.idempotency",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await service.execute(statement)
    finally:
        await service.close()


async def test_admin_reads_who_changed_what_and_no_report(database: Database) -> None:
    async with connected(database.owner_dsn) as owner:
        await owner.execute("SET ROLE voketag_admin")
        await owner.fetch("SELECT * FROM scan.audit_rows")
        for statement in (
            "SELECT * FROM scan.audit",
            "SELECT * FROM scan.fraud_reports",
            "SELECT * FROM scan.report_contacts",
            "SELECT scan.turn_report_salts()",
            "SELECT scan.erase_report_contacts(gen_random_uuid())",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await owner.execute(statement)


WRONG: dict[str, dict[str, Any]] = {
    "no request id": {"request_id": ""},
    "request id that is no UUID": {"request_id": "1"},
    "no text": {"text": ""},
    "white space": {"text": " \n\t "},
    "much text": {"text": "é" * 2001},
    "NUL in the text": {"text": "a\0b"},
    "control character in the text": {"text": "a\x1bb"},
    "no kind": {"kind": 0},
    "unknown kind": {"kind": 99},
    "long code": {"token": "0" * 129},
    "NUL in the code": {"token": "a\0"},
    "contact that is none": {"contact": "call me"},
    "contact with a line break": {"contact": "a@b.c\nd"},
    "long contact": {"contact": "a" * 200 + "@example.com"},
    "short telephone number": {"contact": "12345"},
    "hash of another length": {"photo": scan_pb2.FraudPhoto(sha256=bytes(31), media_type="image/png")},
    "no hash": {"photo": scan_pb2.FraudPhoto(media_type="image/png")},
    "no media type": {"photo": scan_pb2.FraudPhoto(sha256=bytes(32))},
    "other media type": {"photo": scan_pb2.FraudPhoto(sha256=bytes(32), media_type="text/html")},
    "country in lower case": {"country_code": "br"},
    "country by name": {"country_code": "Brasil"},
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=WRONG)
async def test_reports_outside_the_contract_are_refused(stub: Stub, database: Database, fields: dict[str, Any]) -> None:
    assert await refused(stub, a_report(**fields)) == "VALIDATION_FAILED"


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "x"},
        {"text": "é" * 2000},
        {"text": "\n x \n"},
        {"contact": "+55 (11) 99999-0000"},
        {"contact": "josé@exemplo.com.br"},
        {"request_id": str(uuid4()).upper()},
    ],
)
async def test_reports_at_the_edges_of_the_contract_are_kept(stub: Stub, fields: dict[str, Any]) -> None:
    assert (await send(stub, a_report(**fields))).version == 7


async def test_unknown_fields_are_ignored(stub: Stub) -> None:
    request = scan_pb2.ReportFraudRequest.FromString(a_report().SerializeToString() + b"\x9a\x06\x01x")
    assert (await send(stub, request)).version == 7


async def test_a_neighbourhood_that_reports_and_reports_is_told_to_wait(stub: Stub) -> None:
    here = anywhere()
    results = await asyncio.gather(*[send(stub, a_report(), here) for _ in range(30)], return_exceptions=True)
    late = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert 9 <= len(late) <= 10
    assert {reason_of(error) for error in late} == {"RATE_LIMITED"}
    status, retry = rpc_status.from_call(late[0]), error_details_pb2.RetryInfo()
    assert any(detail.Unpack(retry) for detail in status.details)
    assert 0 < retry.retry_delay.seconds <= 60
