"""Exports that people wait for: what stands in them, who gets what, and what they leave behind."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from voketag.admin.v1 import export_pb2 as pb
from voketag.factory.v1 import factory_pb2
from voketag.mesh.v1 import access_pb2
from voketag.scan.v1 import scan_pb2

from tests.integration.admin.export_world import (
    FORMATS,
    KINDS,
    Exporter,
    Factory,
    exporter,
    locked,
    new_factory,
    read,
    report,
    scan,
)
from tests.integration.admin.world import Door, Ground, Person
from tests.integration.factory.world import eventually, reason_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"]
DAY = timedelta(days=1)
CHAINED = """
INSERT INTO audit_chain (number, source, audit_id, at, actor_kind, actor_id, actor_role, method, resource, request_id,
  address_prefix, result, detail)
VALUES ($1, 'factory', uuidv7(), now(), 'factory', $2, '', '/a/B', $3, NULL, '', 'OK', $4)
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def factory(ground: Ground) -> Factory:
    factory = await new_factory(ground, text="=HYPERLINK()", products=9)
    await scan(ground, factory, 5_005)
    await report(ground, factory, contact="+49 123")
    return factory


@pytest_asyncio.fixture(loop_scope="module")
async def ada(door: Door, admin: Person) -> Exporter:
    return await exporter(door, admin)


def stamp(at: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(at)
    return message


async def refused(call: object) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call  # type: ignore[misc]
    return reason_of(error.value)


@pytest.mark.parametrize("form", FORMATS)
async def test_scans_are_whole_in_every_format(ada: Exporter, factory: Factory, form: str) -> None:
    rows = await ada.rows("scans", form, factory_id=str(factory.factory_id))
    assert len(rows) == 5_005
    assert len({row["scan_id"] for row in rows}) == 5_005
    assert {row["product_id"] for row in rows} == {str(factory.products[0])}
    assert {row["verdict"] for row in rows} == {n.removeprefix("VERDICT_") for n, v in scan_pb2.Verdict.items() if v}
    factors = {n.removeprefix("RISK_FACTOR_NAME_") for n, v in scan_pb2.RiskFactorName.items() if v}
    assert {row["leading_factor"] for row in rows} - {"", None} == factors
    risks = [None if row["risk"] in ("", None) else int(row["risk"]) for row in rows]
    assert {None, *range(100)} - {7} == set(risks)
    assert not {key for row in rows for key in row} & {"prefix_hmac", "device_hmac", "facts"}


@pytest.mark.parametrize("form", FORMATS)
async def test_products_are_whole_in_every_format(ada: Exporter, factory: Factory, form: str) -> None:
    rows = await ada.rows("products", form, factory_id=str(factory.factory_id))
    assert [row["product_id"] for row in rows] == list(map(str, factory.products))
    states = {name.removeprefix("PRODUCT_STATE_") for name, value in factory_pb2.ProductState.items() if value}
    assert {row["state"] for row in rows} == states
    attributes = [row["attributes"] for row in rows]
    found = attributes if form == "jsonl" else [json.loads(cell) for cell in attributes]
    assert found[:2] == [{"name": factory.text}, {}]
    assert {row["factory_name"] for row in rows} == {factory.text if form == "jsonl" else f"'{factory.text}"}


@pytest.mark.parametrize("form", FORMATS)
async def test_users_and_reports_are_whole_in_every_format(ada: Exporter, factory: Factory, form: str) -> None:
    person = ada.person
    users = {row["user_id"]: row for row in await ada.rows("users", form)}
    assert users[person.user_id]["email"] == person.email
    assert users[person.user_id]["role"] == "admin"
    assert not {key for row in users.values() for key in row} & {"password_hash", "password"}
    (row,) = await ada.rows("reports", form, factory_id=str(factory.factory_id))
    escape = "" if form == "jsonl" else "'"
    assert (row["text"], row["note"], row["contact"]) == (*[escape + factory.text] * 2, f"{escape}+49 123")
    assert (row["state"], row["kind"], row["product_id"]) == ("OPEN", "LOOKS_FAKE", str(factory.products[0]))


@pytest.mark.parametrize("form", FORMATS)
async def test_the_audit_log_is_whole_in_every_format(ground: Ground, ada: Exporter, form: str) -> None:
    factory = uuid4()
    async with ground.owner() as owner:
        first = await owner.fetchval("SELECT coalesce(max(number) + 1, 0) FROM audit_chain")
        for number, actor in enumerate((str(factory), "=1+1"), first):
            await owner.execute(CHAINED, number, actor, "=product/1", '{"name": ["=a", "b"]}')
    rows = [row for row in await ada.rows("audit", form) if int(row["number"]) >= first]
    escape = "" if form == "jsonl" else "'"
    assert [row["actor_id"] for row in rows] == [str(factory), f"{escape}=1+1"]
    assert {row["resource"] for row in rows} == {f"{escape}=product/1"}
    details = [row["detail"] if form == "jsonl" else json.loads(row["detail"]) for row in rows]
    assert details == [{"name": ["=a", "b"]}] * 2
    assert len(await ada.rows("audit", form, factory_id=str(factory))) == 1
    assert await ada.rows("audit", form, to_time=Timestamp(seconds=1)) == []


@pytest.mark.parametrize("form", ["csv", "xlsx"])
@pytest.mark.parametrize("text", FORMULAS)
async def test_no_text_becomes_a_formula(ground: Ground, ada: Exporter, text: str, form: str) -> None:
    factory = await new_factory(ground, text=text)
    await report(ground, factory, contact=text)
    which = {"factory_id": str(factory.factory_id)}
    person = await ada.person.create(
        name=text.strip(), email=f"-{uuid4().hex[:8]}@example.com", role=access_pb2.ROLE_FACTORY_MANAGER, **which
    )
    for kind in KINDS:
        cells = [str(cell) for row in await ada.rows(kind, form, **which) for cell in row.values() if cell]
        assert not [cell for cell in cells if cell[0] in "=+-@\t\r"], kind
    (user,) = await ada.rows("users", form, **which)
    assert (user["user_id"], user["name"], user["email"][:2]) == (person.user_id, f"'{text.strip()}", "'-")


async def test_a_time_narrows_what_is_exported(ground: Ground, ada: Exporter) -> None:
    factory = await new_factory(ground)
    for days in (0, 2, 4):
        await scan(ground, factory, 10 + days, ago=days * 86_400)
    which, now = {"factory_id": str(factory.factory_id)}, datetime.now(UTC)

    async def count(**times: Any) -> int:
        return len(await ada.rows("scans", **which, **times))

    assert await count() == 36
    assert await count(from_time=stamp(now - DAY)) == 10
    assert await count(to_time=stamp(now - DAY)) == 26
    assert await count(from_time=stamp(now - 3 * DAY), to_time=stamp(now - DAY)) == 12
    assert await count(from_time=stamp(now + DAY)) == 0


@pytest.mark.parametrize("form", FORMATS)
async def test_nothing_is_a_whole_file_too(ada: Exporter, form: str) -> None:
    file = await ada.export("scans", form, factory_id=str(uuid4()))
    assert read(file, form) == []
    assert (file == b"") == (form == "jsonl")


WRONG: dict[str, dict[str, Any]] = {
    "no kind": {"kind": 0},
    "unknown kind": {"kind": 99},
    "unknown format": {"format": 99},
    "a factory that is none": {"factory_id": "mine' OR 1=1 --"},
    "an end before the beginning": {"from_time": Timestamp(seconds=2), "to_time": Timestamp(seconds=1)},
    "an empty range": {"from_time": Timestamp(seconds=1), "to_time": Timestamp(seconds=1)},
    "a time that is none": {"from_time": Timestamp(seconds=2**60)},
    "nanoseconds that are none": {"to_time": Timestamp(seconds=1, nanos=-1)},
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=WRONG)
async def test_wrong_wishes_are_refused(ada: Exporter, fields: dict[str, Any]) -> None:
    call = ada.stub.Export(pb.ExportRequest(**({"kind": 2} | fields)), metadata=ada.person.metadata)
    assert await refused(call.read()) == "VALIDATION_FAILED"
    start = pb.StartExportRequest(**({"request_id": str(uuid4()), "kind": 2, **fields}))
    assert await refused(ada.stub.StartExport(start, metadata=ada.person.metadata)) == "VALIDATION_FAILED"
    if "kind" not in fields:
        wish = pb.DownloadExportRequest(**({"kind": "scans", **fields}))
        assert await refused(ada.stub.DownloadExport(wish, metadata=ada.person.metadata)) == "VALIDATION_FAILED"


async def test_managers_get_their_own_factory_and_no_other(
    ground: Ground, door: Door, admin: Person, factory: Factory
) -> None:
    other = await new_factory(ground)
    await scan(ground, other, 3)
    manager = await exporter(door, admin, "factory_manager", other)
    assert len(await manager.rows("scans")) == 3
    assert {row["factory_id"] for row in await manager.rows("products")} == {str(other.factory_id)}
    for kind in ("users", "reports", "audit"):
        assert await refused(manager.export(kind)) == "ACCESS_DENIED"
        assert await refused(manager.download(kind)) == "ACCESS_DENIED"
        assert await refused(manager.start(kind)) == "ACCESS_DENIED"
    for kind in ("scans", "products"):
        assert await refused(manager.export(kind, factory_id=str(factory.factory_id))) == "ACCESS_DENIED"
        assert await refused(manager.start(kind, factory_id=str(factory.factory_id))) == "ACCESS_DENIED"


async def test_contacts_are_for_admins(door: Door, admin: Person, factory: Factory) -> None:
    auditor = await exporter(door, admin, "auditor")
    (row,) = await auditor.rows("reports", "jsonl", factory_id=str(factory.factory_id))
    assert (row["text"], row["contact"]) == (factory.text, None)
    assert b"+49 123" not in await auditor.export("reports")


@pytest.mark.parametrize("role", ["support", "factory_operator"])
async def test_others_export_nothing(door: Door, admin: Person, factory: Factory, role: str) -> None:
    person = await exporter(door, admin, role, factory if role == "factory_operator" else None)
    assert await refused(person.export("scans")) == "ACCESS_DENIED"
    assert await refused(person.download("scans")) == "ACCESS_DENIED"
    assert await refused(person.start("scans")) == "ACCESS_DENIED"


@pytest.mark.parametrize("form", FORMATS)
async def test_a_small_one_is_answered_at_once(ada: Exporter, factory: Factory, form: str) -> None:
    body = await ada.download("products", form, factory_id=str(factory.factory_id))
    assert len(read(body.data, form)) == len(factory.products)
    assert body.content_type in {
        "text/csv",
        "application/jsonl",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    }


async def test_a_large_one_is_to_be_ordered(ground: Ground, ada: Exporter) -> None:
    factory = await new_factory(ground)
    await scan(ground, factory, 12_000)
    assert await refused(ada.download("scans", factory_id=str(factory.factory_id))) == "EXPORT_TOO_LARGE"


async def exporting(ground: Ground) -> int:
    """How many cursors of exports are open."""
    async with ground.owner() as owner:
        return int(
            await owner.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'voketag_admin'"
                " AND state = 'idle in transaction'"
            )
        )


async def test_whoever_goes_away_half_way_holds_nothing(ground: Ground, door: Door, admin: Person) -> None:
    factory = await new_factory(ground)
    await scan(ground, factory, 60_000)
    person = await exporter(door, admin)
    for _ in range(6):  # more than the places there are
        call = person.stream("scans", "jsonl", factory_id=str(factory.factory_id))
        assert (await call.read()).data
        call.cancel()

        async def none_left() -> bool:
            return await exporting(ground) == 0

        assert await eventually(none_left)
    assert len(await person.rows("scans", factory_id=str(factory.factory_id))) == 60_000


async def test_places_for_exports_are_few_and_other_calls_go_on(
    ground: Ground, door: Door, admin: Person, factory: Factory
) -> None:
    person = await exporter(door, admin)
    async with locked(ground, "audit"):  # an export begins with its audit row
        calls = [person.stream("scans", factory_id=str(factory.factory_id)) for _ in range(4)]
        reading = [asyncio.create_task(call.read()) for call in calls]

        async def all_in() -> bool:
            return await refused_or_none(person, factory) == "RATE_LIMITED"

        assert await eventually(all_in)
        assert await person.person.me()
        for call in calls:
            call.cancel()
        await asyncio.gather(*reading, return_exceptions=True)

    async def let_in() -> bool:
        return await refused_or_none(person, factory) == ""

    assert await eventually(let_in)


async def refused_or_none(person: Exporter, factory: Factory) -> str:
    """Why one more is not let in; one that waits for the lock is cancelled."""
    call = person.stream("scans", factory_id=str(factory.factory_id))
    try:
        await asyncio.wait_for(call.read(), 0.5)
    except grpc.aio.AioRpcError as error:
        return reason_of(error)
    except TimeoutError:
        return ""
    finally:
        call.cancel()
    return ""


async def test_who_exported_what_is_audited(ground: Ground, ada: Exporter, factory: Factory) -> None:
    await ada.export("products", factory_id=str(factory.factory_id))
    await ada.download("scans", "jsonl", to_time=Timestamp(seconds=1))
    async with ground.owner() as owner:
        rows = await owner.fetch(
            "SELECT method, resource, detail FROM audit WHERE result = 'OK' AND actor_id = $1"
            " AND method LIKE '%ExportService%' ORDER BY audit_id",
            ada.person.user_id,
        )
    assert [(row["method"].rpartition("/")[2], row["resource"]) for row in rows] == [
        ("Export", "export/products"),
        ("DownloadExport", "export/scans"),
    ]
    assert json.loads(rows[0]["detail"])["factory_id"] == str(factory.factory_id)
