"""The audit log at its door: pages, filters, exports and proofs, for admins and auditors alone."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
import pytest_asyncio
from voketag.admin.v1 import audit_pb2, audit_pb2_grpc, auth_pb2
from voketag.mesh.v1 import access_pb2

from admin.audit import AuditLog, Filter
from admin.store import Store
from mesh import database as databases_of
from mesh.identity import Principal
from mesh.ledger import Ledger
from mesh.local.secrets import AUDIT_ORIGIN, Secrets
from mesh.paging import PageTokens
from tests.databases import Databases
from tests.integration.admin.audit_world import Kept, as_service, lines, put, values, write
from tests.integration.admin.conftest import ONCE
from tests.integration.admin.test_people import refused
from tests.integration.admin.world import Door, Ground, Person, new_address
from trust import merkle
from trust.checkpoint import open_checkpoint
from trust.ledger import State
from trust.note import Signer

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROWS = 400
FACTORY = "0190c8a0-0000-7000-8000-0000000000f1"


@pytest_asyncio.fixture(**ONCE)
async def ground(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    import os

    folder = tmp_path_factory.mktemp("audit")
    secrets = Secrets(folder / "secrets", os.urandom)
    secrets.make()
    async with databases.clone("factory", "scan", "anchor", "admin") as database:
        yield Ground(database, secrets, folder)


@pytest_asyncio.fixture(**ONCE)
async def kept(ground: Ground) -> Kept:
    signer = Signer.from_text(ground.secrets.audit_key.read_text())
    kept = Kept(ground.database, signer, Ledger(AUDIT_ORIGIN))
    await kept.fill(ROWS, turns=2)
    return kept


@pytest_asyncio.fixture(loop_scope="module")
async def auditor(door: Door, admin: Person, kept: Kept) -> Person:
    return await door.add(admin, access_pb2.ROLE_AUDITOR)


def log(person: Person) -> Any:
    return audit_pb2_grpc.AuditServiceStub(person.door.channel)


async def page(person: Person, *, size: int = 0, token: str = "", **wanted: Any) -> audit_pb2.ListEntriesResponse:
    request = audit_pb2.ListEntriesRequest(page_size=size, page_token=token, filter=audit_pb2.AuditFilter(**wanted))
    answer: audit_pb2.ListEntriesResponse = await log(person).ListEntries(request, metadata=person.metadata)
    return answer


async def every(person: Person, *, size: int = 1000, **wanted: Any) -> list[audit_pb2.AuditEntry]:
    found: list[audit_pb2.AuditEntry] = []
    token = ""
    while True:
        answer = await page(person, size=size, token=token, **wanted)
        found += answer.entries
        token = answer.next_page_token
        if not token:
            return found


async def exported(person: Person, **fields: Any) -> list[dict[str, Any]]:
    request = audit_pb2.ExportEntriesRequest(**fields)
    pieces = [piece.lines async for piece in log(person).ExportEntries(request, metadata=person.metadata)]
    return [json.loads(line) for piece in pieces for line in piece.splitlines()]


async def test_what_people_do_is_there_with_role_and_changes(kept: Kept, door: Door, admin: Person) -> None:
    user = await admin.create(name="Before")
    request_id = str(uuid4())
    await admin.update(user.user_id, ["role"], role=access_pb2.ROLE_AUDITOR, request_id=request_id)
    await admin.update(user.user_id, ["role"], role=access_pb2.ROLE_AUDITOR, request_id=request_id)
    async with as_service(kept.database, "admin") as own:
        await kept.collect(own)
    update, create = await every(admin, resource=f"user/{user.user_id}")
    assert (update.service, update.method) == ("admin", "/voketag.admin.v1.UserService/UpdateUser")
    assert (update.actor_kind, update.actor_id, update.actor_role) == ("user", admin.user_id, "admin")
    assert (update.request_id, update.result) == (request_id, "OK")
    assert update.address_prefix.endswith("/24")
    assert json.loads(update.detail) == {"role": {"before": "support", "after": "auditor"}}
    assert json.loads(create.detail)["role"] == "support"
    assert abs(update.time.ToDatetime(UTC) - datetime.now(UTC)) < timedelta(minutes=5)
    assert user.email not in create.detail
    assert "Before" not in create.detail


async def test_pages_go_on_where_they_ended_the_newest_first(auditor: Person) -> None:
    whole = await every(auditor)
    assert len(whole) >= ROWS
    times = [(entry.time.ToNanoseconds(), entry.number) for entry in whole]
    assert times == sorted(times, reverse=True)
    assert [entry.number for entry in await every(auditor, size=37)] == [entry.number for entry in whole]
    assert 0 < len((await page(auditor)).entries) <= 100  # fewer where details are large


FILTERS: dict[str, dict[str, Any]] = {
    "actor": {"actor": "user:00000000-0000-0000-0000-000000000001"},
    "method": {"method": "/voketag.admin.v1.UserService/UpdateUser"},
    "resource": {"resource": "user/00000000-0000-0000-0000-000000000003"},
    "service": {"service": "scan"},
    "result": {"result": "OK"},
    "nothing": {"result": "ACCESS_DENIED", "service": "anchor"},
    "all": {
        "actor": "user:00000000-0000-0000-0000-000000000001",
        "method": "/voketag.admin.v1.UserService/UpdateUser",
        "resource": "user/00000000-0000-0000-0000-000000000003",
        "service": "factory",
        "result": "OK",
    },
}


@pytest.mark.parametrize("wanted", FILTERS.values(), ids=FILTERS)
async def test_filters_give_what_fits_and_nothing_else(auditor: Person, wanted: dict[str, Any]) -> None:
    whole = await every(auditor)
    fitting = [
        entry.number
        for entry in whole
        if all(
            wanted.get(name, value) == value
            for name, value in {
                "actor": f"{entry.actor_kind}:{entry.actor_id}",
                "method": entry.method,
                "resource": entry.resource,
                "service": entry.service,
                "result": entry.result,
            }.items()
        )
    ]
    assert [entry.number for entry in await every(auditor, size=7, **wanted)] == fitting
    lines = await exported(auditor, filter=audit_pb2.AuditFilter(**wanted))
    assert [line["number"] for line in lines] == sorted(fitting)


async def test_a_page_that_has_looked_at_enough_is_short_and_goes_on(kept: Kept) -> None:
    somebody = Principal("user", "somebody")
    async with await databases_of.connect(kept.database.settings("admin"), schema="admin") as pool:
        logs = [AuditLog(Store(pool), kept.ledger, PageTokens(bytes(32)), looked_at=most) for most in (9, 10_000)]
        for wanted in (
            Filter(),
            Filter(result="OK"),
            Filter(source="scan", method="/voketag.admin.v1.UserService/UpdateUser"),
            Filter(source="anchor", actor_kind="user", actor_id=str(UUID(int=1))),
            Filter(source="scan", result="OK"),
        ):
            walked = []
            for log in logs:
                numbers: list[int] = []
                token, pages = "", 0
                while pages == 0 or token:
                    found, token = await log.page(somebody, wanted, page_size=20, page_token=token)
                    numbers += [each.number for each in found]
                    pages += 1
                walked.append((numbers, pages))
            [(few, pages), (all_at_once, whole)] = walked
            assert few == all_at_once
            assert pages > whole


async def test_times_bound_what_is_listed(auditor: Person) -> None:
    whole = await every(auditor)
    first, last = whole[-50].time, whole[50].time
    between = await every(auditor, size=20, from_time=first, to_time=last)
    times = [entry.time.ToNanoseconds() for entry in whole]
    expected = [n for n in times if first.ToNanoseconds() <= n < last.ToNanoseconds()]
    assert [entry.time.ToNanoseconds() for entry in between] == expected
    assert expected
    assert not (await page(auditor, from_time=last, to_time=first)).entries


async def test_page_tokens_are_good_for_their_caller_and_filter_alone(auditor: Person, admin: Person) -> None:
    token = (await page(auditor, size=2, service="scan")).next_page_token
    assert token
    assert await refused(page(admin, size=2, token=token, service="scan")) == "PAGE_TOKEN_INVALID"
    for other in ({"service": "factory"}, {}, {"service": "scan", "result": "OK"}):
        assert await refused(page(auditor, size=2, token=token, **other)) == "PAGE_TOKEN_INVALID"
    for wrong in ("x", token[:-2], "A" * 40, "'; DROP TABLE audit_chain; --"):
        assert await refused(page(auditor, token=wrong, service="scan")) == "PAGE_TOKEN_INVALID"


WRONG: dict[str, dict[str, Any]] = {
    "page too large": {"size": 1001},
    "page below nothing": {"size": -1},
    "actor without a kind": {"actor": "somebody"},
    "actor that is a statement": {"actor": "' OR true; --"},
    "huge actor": {"actor": "user:" + "x" * 300},
    "huge method": {"method": "x" * 257},
    "huge resource": {"resource": "x" * 257},
    "unknown service": {"service": "mesh"},
    "huge result": {"result": "x" * 65},
    "a time that is none": {"from_time": {"seconds": 2**62}},
    "nanoseconds that are none": {"to_time": {"nanos": -1}},
    "huge token": {"token": "x" * 513},
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=WRONG)
async def test_what_makes_no_sense_is_refused(auditor: Person, fields: dict[str, Any]) -> None:
    assert await refused(page(auditor, **fields)) == "VALIDATION_FAILED"


async def test_hostile_text_is_text(auditor: Person) -> None:
    assert not (await page(auditor, resource="' OR '1'='1")).entries
    assert not (await page(auditor, actor="user:%")).entries


async def test_nobody_else_reads_the_log(door: Door, admin: Person, kept: Kept) -> None:
    support = await door.add(admin, access_pb2.ROLE_SUPPORT)
    manager = await door.add(admin, access_pb2.ROLE_FACTORY_MANAGER, factory_id=FACTORY)
    operator = await door.add(admin, access_pb2.ROLE_FACTORY_OPERATOR, factory_id=FACTORY)
    stub: Any = audit_pb2_grpc.AuditServiceStub(door.channel)
    calls = {
        "ListEntries": audit_pb2.ListEntriesRequest(),
        "GetEntry": audit_pb2.GetEntryRequest(),
        "GetAuditCheckpoint": audit_pb2.GetAuditCheckpointRequest(),
        "GetAuditInclusionProof": audit_pb2.GetAuditInclusionProofRequest(),
        "GetAuditConsistencyProof": audit_pb2.GetAuditConsistencyProofRequest(),
    }
    for method, request in calls.items():
        for person in (support, manager, operator):
            assert await refused(getattr(stub, method)(request, metadata=person.metadata)) == "ACCESS_DENIED"
        assert await refused(getattr(stub, method)(request)) == "CREDENTIALS_MISSING"
    for person in (support, manager, operator):
        assert await refused(exported(person)) == "ACCESS_DENIED"
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.ExportEntries(audit_pb2.ExportEntriesRequest()).read()
    address = (("x-client-address", new_address()),)
    await door.auth.GetJwks(auth_pb2.GetJwksRequest(), metadata=address)


async def test_an_entry_is_found_by_its_number(auditor: Person) -> None:
    entry = (await page(auditor, size=1)).entries[0]
    answer = await log(auditor).GetEntry(audit_pb2.GetEntryRequest(number=entry.number), metadata=auditor.metadata)
    assert answer.entry == entry
    for number in (10**9, 2**63 - 1):
        request = audit_pb2.GetEntryRequest(number=number)
        assert await refused(log(auditor).GetEntry(request, metadata=auditor.metadata)) == "NOT_LOGGED"
    request = audit_pb2.GetEntryRequest(number=2**64 - 1)
    assert await refused(log(auditor).GetEntry(request, metadata=auditor.metadata)) == "VALIDATION_FAILED"


async def test_proofs_lead_to_what_was_signed(kept: Kept, auditor: Person) -> None:
    stub, metadata = log(auditor), auditor.metadata
    latest = await stub.GetAuditCheckpoint(audit_pb2.GetAuditCheckpointRequest(), metadata=metadata)
    assert latest.keys[0] == kept.signer.verifier.to_text()
    checkpoint = open_checkpoint(latest.checkpoint.encode(), [kept.signer.verifier], AUDIT_ORIGIN)
    assert latest.anchor_id == str(checkpoint.subject_id())
    first = ROWS // 2
    for number, size in ((0, 0), (first - 1, first), (first, 0), (checkpoint.size - 1, checkpoint.size)):
        request = audit_pb2.GetAuditInclusionProofRequest(number=number, size=size)
        proof = await stub.GetAuditInclusionProof(request, metadata=metadata)
        signed = open_checkpoint(proof.checkpoint.encode(), [kept.signer.verifier], AUDIT_ORIGIN)
        assert signed.size == (size or checkpoint.size)
        assert proof.leaf_hash == merkle.leaf_hash(proof.entry)
        assert merkle.verify_inclusion(proof.leaf_hash, number, signed.size, tuple(proof.path), signed.root)
    between = audit_pb2.GetAuditConsistencyProofRequest(from_size=first)
    path = await stub.GetAuditConsistencyProof(between, metadata=metadata)
    old = await stub.GetAuditCheckpoint(audit_pb2.GetAuditCheckpointRequest(size=first), metadata=metadata)
    root = open_checkpoint(old.checkpoint.encode(), [kept.signer.verifier], AUDIT_ORIGIN).root
    assert merkle.verify_consistency(first, checkpoint.size, root, checkpoint.root, tuple(path.path))
    refusals: tuple[tuple[Any, Any, str], ...] = (
        (stub.GetAuditCheckpoint, audit_pb2.GetAuditCheckpointRequest(size=first + 1), "NOT_LOGGED"),
        (stub.GetAuditInclusionProof, audit_pb2.GetAuditInclusionProofRequest(number=10**9), "NOT_LOGGED"),
        (stub.GetAuditInclusionProof, audit_pb2.GetAuditInclusionProofRequest(number=first, size=first), "NOT_LOGGED"),
        (stub.GetAuditConsistencyProof, between_sizes(1, 10**9), "NOT_LOGGED"),
        (stub.GetAuditConsistencyProof, between_sizes(3, 2), "VALIDATION_FAILED"),
    )
    for call, asked, reason in refusals:
        assert await refused(call(asked, metadata=metadata)) == reason


def between_sizes(old: int, new: int) -> audit_pb2.GetAuditConsistencyProofRequest:
    return audit_pb2.GetAuditConsistencyProofRequest(from_size=old, to_size=new)


async def test_an_export_is_verified_by_anyone_who_has_the_key(kept: Kept, auditor: Person, tmp_path: Path) -> None:
    found = await exported(auditor)
    put(tmp_path / "log.jsonl", found)
    since = tmp_path / "since"
    status, said = await kept.verify(str(tmp_path / "log.jsonl"), "--since", str(since))
    assert status == 0, said
    assert "clean" in said
    entries = [line for line in found if "number" in line]
    assert [line["number"] for line in entries] == list(range(len(entries)))
    assert [line["checkpoint"].splitlines()[1] for line in found if "checkpoint" in line][:2] == ["200", "400"]
    assert found[200]["checkpoint"].startswith(AUDIT_ORIGIN)
    assert await exported(auditor, first=len(entries) - 3) == found[found.index(entries[-3]) :]
    assert await exported(auditor, first=10**9) == []
    assert since.read_text().startswith(AUDIT_ORIGIN)
    assert len(lines(tmp_path / "log.jsonl")) == len(found)
    assert State.empty(AUDIT_ORIGIN).last.hex() == found[0]["previous"]


async def test_a_page_of_long_details_ends_early_and_loses_none(kept: Kept, auditor: Person) -> None:
    long = json.dumps({"x": "y" * 60_000})
    async with as_service(kept.database, "anchor") as connection, as_service(kept.database, "admin") as own:
        await write(connection, *(values(number, resource="long/1", detail=long) for number in range(40)))
        await kept.collect(own)
    first = await page(auditor, size=1000, resource="long/1")
    assert 0 < len(first.entries) < 40
    assert first.ByteSize() < 2 * 1024 * 1024
    found = await every(auditor, resource="long/1")
    assert len({entry.number for entry in found}) == len(found) == 40


async def test_an_export_that_is_left_holds_nothing_open(kept: Kept, auditor: Person) -> None:
    async with as_service(kept.database, "scan") as connection, as_service(kept.database, "admin") as own:
        await write(connection, *(values(number, detail=json.dumps({"x": "y" * 4000})) for number in range(3000)))
        await kept.collect(own)
        call = log(auditor).ExportEntries(audit_pb2.ExportEntriesRequest(), metadata=auditor.metadata)
        await call.read()
        call.cancel()
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in %'"
        async with auditor.door.ground.owner() as owner:
            for _ in range(200):
                if not await owner.fetchval(query):
                    break
            assert (await page(auditor, size=1)).entries


async def test_a_refusal_is_chained_and_found_by_its_result(door: Door, kept: Kept, admin: Person) -> None:
    auditor = await door.add(admin, access_pb2.ROLE_AUDITOR)
    assert await refused(auditor.call("DisableUser", user_id=admin.user_id)) == "ACCESS_DENIED"
    async with as_service(kept.database, "admin") as own:
        await kept.collect(own)
    (entry,) = await every(auditor, actor=f"user:{auditor.user_id}", result="ACCESS_DENIED")
    assert (entry.method, entry.detail) == ("/voketag.admin.v1.UserService/DisableUser", "{}")
    assert (entry.resource, entry.actor_role) == (f"user/{admin.user_id}", "auditor")
    assert entry not in await every(auditor, actor=f"user:{auditor.user_id}", result="OK")
