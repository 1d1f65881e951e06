"""The fraud desk through its door: a product's line in time, and rulings that scans follow."""

import asyncio
from time import monotonic
from typing import Any
from uuid import uuid4

import grpc
import pytest
from voketag.mesh.v1 import access_pb2
from voketag.scan.v1 import scan_pb2

from mesh.clock import new_id
from tests.integration.admin.fraud import (
    CONFIRMED,
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
from tests.integration.scan.calls import BLOCKED, GENUINE, verify
from tests.integration.scan.test_scan_reports import a_report, send
from tests.integration.scan.world import Batch, anywhere, connected, stub_of

__all__ = ["auditor", "database", "desk", "stub", "support"]
pytestmark = pytest.mark.asyncio(loop_scope="module")
SEEN_SECONDS = 2.0


async def test_a_product_has_one_line_in_time(desk: Desk, auditor: Person, stub: Any) -> None:
    batch = await desk.database.batch(state="COMPLETED")
    token, product_id = batch.tokens[0], str(batch.product_ids[0])
    await verify(stub, token)
    await change_state(desk, batch, 2, note=ODD)
    case_id = str(await send(stub, a_report(token=token, country_code="BR")))
    await ask(desk.admin, "BlockProduct", product_id=product_id, note=ODD)
    await ask(desk.admin, "BlockBatch", batch_id=str(batch.batch_id), note="the whole lot")
    await ask(desk.admin, "BlockBatch", batch_id=str(batch.batch_id), note="no", lift=True)
    await until(stub, token, BLOCKED)
    looked_up = await stub.LookupTag(scan_pb2.LookupTagRequest(token=token), metadata=anywhere(), timeout=10)
    async with asyncio.timeout(20):
        while True:
            told = await pages(auditor, "GetProductTimeline", "entries", product_id=product_id, page_size=200)
            if len([entry for entry in told[0] if entry.WhichOneof("entry") == "scan"]) == looked_up.scan_count:
                break
            await asyncio.sleep(0.05)
    entries = [entry for entry in told[0][::-1] if entry.WhichOneof("entry") != "scan"]
    scan = next(entry.scan for entry in told[0][::-1] if entry.WhichOneof("entry") == "scan")
    assert (scan.verdict, scan.product_id, scan.scan_count, scan.risk) == (GENUINE, product_id, 1, 0)
    assert [entry.WhichOneof("entry") for entry in entries] == ["step", "report", "ruling", "ruling", "ruling"]
    step, report, block, of_batch, lifted = entries
    assert (step.step.from_state, step.step.to_state, step.step.note) == (1, 3, ODD)
    assert (report.report.case_id, report.report.state, report.report.country_code) == (case_id, OPEN, "BR")
    assert (block.ruling.block_product_id, block.ruling.note, block.ruling.ruled_by) == (
        *(product_id, ODD),
        desk.admin.user_id,
    )
    assert (of_batch.ruling.block_batch_id, lifted.ruling.lifts) == (str(batch.batch_id), True)
    in_pages = await pages(auditor, "GetProductTimeline", "entries", product_id=product_id, page_size=2)
    flat = [entry.entry_id for page in in_pages for entry in page]
    assert flat == [entry.entry_id for entry in told[0]] == sorted(flat, reverse=True)
    assert [entry.entry_time.ToNanoseconds() for entry in entries] == sorted(
        entry.entry_time.ToNanoseconds() for entry in entries
    )
    first = await ask(auditor, "GetProductTimeline", product_id=product_id, page_size=2)
    other = await desk.database.batch(state="COMPLETED")
    fields = {"product_id": str(other.product_ids[0]), "page_token": first.next_page_token}
    assert await refused(auditor, "GetProductTimeline", **fields) == "PAGE_TOKEN_INVALID"
    await ask(desk.admin, "BlockProduct", product_id=product_id, note="over", lift=True)


async def change_state(desk: Desk, batch: Batch, state: int, *, note: str) -> None:
    """As the factory leaves it."""
    async with connected(desk.database.owner_dsn) as owner, owner.transaction():
        change_id, product_id = new_id(), batch.product_ids[0]
        query = "INSERT INTO factory.product_changes VALUES ($1, $2, NULL, $3, 'key', $4, 1, 1, 1)"
        await owner.execute(query, desk.database.factory_id, change_id, state, note)
        query = "INSERT INTO factory.product_events VALUES ($1, $2, $3, 0, $4)"
        await owner.execute(query, product_id, new_id(), change_id, state)
        await owner.execute("UPDATE factory.products SET state = $2 WHERE product_id = $1", product_id, state)


async def until(stub: Any, token: str, verdict: int) -> None:
    """Until a scan has the verdict, which was asked for within two seconds."""
    began, somebody = monotonic(), anywhere()
    while True:
        asked_at = monotonic()
        if (await verify(stub, token, metadata=somebody)).verdict == verdict:
            assert asked_at - began <= SEEN_SECONDS
            return
        assert asked_at - began <= SEEN_SECONDS + 5
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(("method", "kid"), [("BlockProduct", 1), ("BlockBatch", 1), ("RevokeKid", 2)])
async def test_what_the_desk_rules_is_scanned_so_and_audited(
    desk: Desk, support: Person, stub: Any, method: str, kid: int
) -> None:
    batch = await desk.database.batch(state="COMPLETED", kid=kid)
    product_id, batch_id = str(batch.product_ids[0]), str(batch.batch_id)
    subjects: dict[str, tuple[dict[str, Any], str]] = {
        "BlockProduct": ({"product_id": product_id}, f"product/{product_id}"),
        "BlockBatch": ({"batch_id": batch_id}, f"batch/{batch_id}"),
        "RevokeKid": ({"kid": kid}, f"key/{kid}"),
    }
    of, subject = subjects[method]
    assert (await verify(stub, batch.tokens[0])).verdict == GENUINE
    request_id = str(uuid4())
    made = [await ask(desk.admin, method, **of, note=ODD, request_id=request_id) for _ in range(2)]
    assert made[0] == made[1]
    assert (made[0].ruling.ruled_by, made[0].ruling.note) == (desk.admin.user_id, ODD)
    await until(stub, batch.tokens[0], BLOCKED)
    assert await refused(desk.admin, method, **of, note="else", request_id=request_id) == "REQUEST_ID_REUSED"
    assert await refused(support, method, **of, note="x") == "ACCESS_DENIED"
    await ask(desk.admin, method, **of, note="back", lift=True)
    await until(stub, batch.tokens[0], GENUINE)
    assert await refused(desk.admin, method, **of, note="back", lift=True) == "RULING_NOT_FOUND"
    async with connected(desk.database.owner_dsn) as owner:
        query = (
            "SELECT actor_kind, actor_id, method, detail->>'note' FROM {}.audit"
            " WHERE result = 'OK' AND resource = $1 ORDER BY at"
        )
        here = await owner.fetch(query.format("admin"), subject)
        there = await owner.fetch(query.format("scan"), subject)
    name = f"/voketag.admin.v1.FraudService/{method}"
    assert [tuple(row) for row in here] == [("user", desk.admin.user_id, name, note) for note in (ODD, "back")]
    assert [tuple(row)[:2] for row in there] == [("service", "admin")] * 2


async def test_a_false_alarm_is_cleared(desk: Desk, support: Person, stub: Any) -> None:
    batch = await desk.database.batch(state="COMPLETED")
    token, product_id = batch.tokens[0], str(batch.product_ids[0])
    for _ in range(26):
        await verify(stub, token)
    case_id = str(await send(stub, a_report(token=token)))
    await ask(support, "UpdateFraudReport", case_id=case_id, state=CONFIRMED)
    await until(stub, token, scan_pb2.VERDICT_LIKELY_COPY)
    assert await refused(support, "ClearProduct", product_id=product_id, note="x") == "ACCESS_DENIED"
    await ask(desk.admin, "ClearProduct", product_id=product_id, note="We bought it and took it apart.")
    await until(stub, token, GENUINE)
    await ask(desk.admin, "ClearProduct", product_id=product_id, note="We were wrong.", lift=True)
    await until(stub, token, scan_pb2.VERDICT_LIKELY_COPY)


async def test_what_cannot_be_ruled(desk: Desk) -> None:
    nobody = str(new_id())
    for method, of, reason in (
        ("BlockProduct", {"product_id": nobody}, "PRODUCT_NOT_FOUND"),
        ("ClearProduct", {"product_id": nobody}, "PRODUCT_NOT_FOUND"),
        ("BlockBatch", {"batch_id": nobody}, "BATCH_NOT_FOUND"),
        ("RevokeKid", {"kid": 77}, "KEY_NOT_FOUND"),
        ("RevokeKid", {"kid": 256}, "VALIDATION_FAILED"),
        ("BlockProduct", {"product_id": ODD}, "VALIDATION_FAILED"),
        ("BlockBatch", {"batch_id": ""}, "VALIDATION_FAILED"),
    ):
        assert await refused(desk.admin, method, **of, note="x") == reason
        assert await refused(desk.admin, method, **of, note="") == "VALIDATION_FAILED"
        assert await refused(desk.admin, method, **of, note="x\0") == "VALIDATION_FAILED"
        assert await refused(desk.admin, method, **of, note="x" * 2001) == "VALIDATION_FAILED"


async def test_whoever_was_an_admin_rules_no_more(desk: Desk) -> None:
    fallen = await desk.door.add(desk.admin, access_pb2.ROLE_ADMIN)
    await desk.admin.update(fallen.user_id, ["role"], role=access_pb2.ROLE_SUPPORT)
    batch = await desk.database.batch(state="COMPLETED")
    fields = {"product_id": str(batch.product_ids[0]), "note": "x"}
    assert await refused(fallen, "BlockProduct", **fields) == "ACCESS_DENIED", "the token still says admin"
    await desk.admin.call("DisableUser", user_id=fallen.user_id)
    case = {"case_id": str(uuid4()), "note": "x"}
    assert await refused(fallen, "UpdateFraudReport", **case) == "ACCESS_DENIED"


async def test_a_ruling_that_scan_could_not_hear_is_made_when_asked_again(desk: Desk, stub: Any) -> None:
    batch = await desk.database.batch(state="COMPLETED")
    fields = {"product_id": str(batch.product_ids[0]), "note": "x", "request_id": str(uuid4())}
    await desk.scan.child.kill()
    assert await refused(desk.admin, "BlockProduct", **fields) == "DEPENDENCY_UNAVAILABLE"
    await desk.scan.stop()
    await desk.scan.start()
    async with asyncio.timeout(20):
        while True:
            try:
                await ask(desk.admin, "BlockProduct", **fields)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.05)
            else:
                break
    async with grpc.aio.insecure_channel(desk.scan.target) as channel:
        await until(stub_of(channel), batch.tokens[0], BLOCKED)
    await stub.LookupTag(scan_pb2.LookupTagRequest(token=batch.tokens[0]), wait_for_ready=True, timeout=20)


async def test_two_desks_at_once_make_one_ruling(desk: Desk) -> None:
    other = await desk.door.add(desk.admin, access_pb2.ROLE_ADMIN)
    batch = await desk.database.batch(state="COMPLETED")
    fields = {"product_id": str(batch.product_ids[0])}
    made = await asyncio.gather(
        *(ask(person, "BlockProduct", **fields, note=person.email) for person in (desk.admin, other) for _ in range(3))
    )
    assert len({answer.ruling.ruling_id for answer in made}) == 1
