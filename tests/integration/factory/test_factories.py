"""Factories by people: opened, found, changed, kept out and let in again; and by whom not."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from voketag.factory.v1 import (
    account_pb2,
    account_pb2_grpc,
    factory_pb2,
    factory_pb2_grpc,
    lifecycle_pb2,
    lifecycle_pb2_grpc,
    table_pb2,
    table_pb2_grpc,
)

from mesh import audit
from mesh.client import with_api_key
from tests.fakes.people import access_token
from tests.integration.factory.world import (
    Customer,
    Door,
    Ground,
    Import,
    audit_detail,
    eventually,
    reason_of,
    rows,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


def mask(*paths: str) -> dict[str, list[str]]:
    return {"paths": list(paths)}


async def audits(ground: Ground, resource: str) -> list[tuple[str, dict[str, Any]]]:
    """The method and the detail of each audit row of a resource, oldest first."""
    async with ground.owner() as owner:
        found = await owner.fetch(
            "SELECT * FROM audit WHERE result = 'OK' AND resource = $1 ORDER BY audit_id", resource
        )
    return [(row["method"].rpartition("/")[2], audit_detail(row)) for row in found]


async def test_a_factory_is_opened_found_and_changed(ground: Ground, door: Door) -> None:
    async with door.person("admin") as admin:
        opened = (await admin.call("CreateFactory", name="Fábrica Nova")).factory
        assert (opened.state, opened.priority, list(opened.markets)) == (account_pb2.FACTORY_STATE_ACTIVE, 0, [])
        change = {
            "request_id": str(uuid4()),
            "factory_id": opened.factory_id,
            "update_mask": mask("markets", "priority"),
            "markets": ["PT", "BR"],
            "priority": 2,
            "name": "not named in the mask",
        }
        changed = (await admin.call("UpdateFactory", **change)).factory
        assert (changed.name, changed.priority, list(changed.markets)) == ("Fábrica Nova", 2, ["BR", "PT"])
        assert (await admin.call("UpdateFactory", **change)).factory == changed
        same = await admin.call("UpdateFactory", **(change | {"request_id": str(uuid4())}))
        assert same.factory == changed, "what is so already changes nothing"
        assert await admin.refused("UpdateFactory", **(change | {"priority": 3})) == "REQUEST_ID_REUSED"
        await admin.call("SetQuota", factory_id=opened.factory_id, products_a_day=7)
        whole = await admin.call("GetFactory", factory_id=opened.factory_id)
        assert (whole.factory, whole.quota.products_a_day, whole.products_today) == (changed, 7, 0)
        assert not whole.HasField("weights")
    assert await audits(ground, f"factory/{opened.factory_id}") == [
        ("CreateFactory", {"name": "Fábrica Nova"}),
        ("UpdateFactory", {"priority": audit.change(0, 2), "markets": audit.change([], ["BR", "PT"])}),
        ("SetQuota", {"products_a_day": audit.change(None, 7), "concurrent_imports": audit.change(None, None)}),
    ]


WRONG: dict[str, dict[str, Any]] = {
    "no mask": {"name": "x"},
    "an empty mask": {"update_mask": mask()},
    "a field that is none": {"update_mask": mask("secret")},
    "the state": {"update_mask": mask("state")},
    "the id": {"update_mask": mask("factory_id")},
    "the quota": {"update_mask": mask("name", "products_a_day")},
    "everything": {"update_mask": mask("*")},
    "no name": {"update_mask": mask("name")},
    "a blank name": {"update_mask": mask("name"), "name": "  "},
    "a name of two lines": {"update_mask": mask("name"), "name": "A\nB"},
    "a huge name": {"update_mask": mask("name"), "name": "x" * 121},
    "a market that is none": {"update_mask": mask("markets"), "markets": ["XX"]},
    "a market in small letters": {"update_mask": mask("markets"), "markets": ["br"]},
    "a market twice": {"update_mask": mask("markets"), "markets": ["BR", "BR"]},
    "a priority beyond": {"update_mask": mask("priority"), "priority": 11},
    "no request id": {"update_mask": mask("priority"), "request_id": ""},
    "an id that is none": {"update_mask": mask("priority"), "factory_id": "mine"},
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=WRONG)
async def test_wrong_changes_are_refused(door: Door, customer: Customer, fields: dict[str, Any]) -> None:
    async with door.person("admin") as admin:
        assert (
            await admin.refused("UpdateFactory", **({"factory_id": str(customer.factory_id)} | fields))
            == "VALIDATION_FAILED"
        )


async def test_unknown_factories_are_not_found(door: Door) -> None:
    nobody = {"factory_id": str(uuid4())}
    async with door.person("admin") as admin:
        for method in ("GetFactory", "SuspendFactory", "ResumeFactory", "ListApiKeys"):
            assert await admin.refused(method, **nobody) == "FACTORY_NOT_FOUND"
        assert await admin.refused("UpdateFactory", update_mask=mask("priority"), **nobody) == "FACTORY_NOT_FOUND"


async def test_lists_are_paged_filtered_and_bound_to_their_caller(door: Door) -> None:
    word = f"Ações {uuid4().hex[:8]}"
    async with door.person("admin") as admin, door.person("auditor") as auditor:
        made = [(await admin.call("CreateFactory", name=f"{word} {i}%_")).factory.factory_id for i in range(5)]
        seen: list[str] = []
        token = ""
        while token or len(seen) < 2:
            page = await admin.call("ListFactories", name=word.upper(), page_size=2, page_token=token)
            seen += [factory.factory_id for factory in page.factories]
            token, last = page.next_page_token, token or page.next_page_token
        assert seen == made[::-1]
        assert await admin.refused("ListFactories", page_size=2, page_token=last) == "PAGE_TOKEN_INVALID"
        stolen = await auditor.refused("ListFactories", name=word.upper(), page_size=2, page_token=last)
        assert stolen == "PAGE_TOKEN_INVALID"
        await admin.call("SuspendFactory", factory_id=made[0], reason="unpaid")
        suspended = account_pb2.FACTORY_STATE_SUSPENDED
        out = (await auditor.call("ListFactories", name=word, state=suspended)).factories
        assert [factory.factory_id for factory in out] == made[:1]
        assert not (await auditor.call("ListFactories", name=f"{word}%")).factories, "% is a character like others"


async def test_a_suspended_factory_is_kept_out_until_it_is_resumed(ground: Ground, door: Door) -> None:
    async with door.customer() as customer, door.person("admin") as admin:
        factory = {"factory_id": str(customer.factory_id)}
        order = await customer.order(3, return_products=True)
        stream = await Import(customer).open()
        await stream.chunk(0, rows(2))
        request_id = str(uuid4())
        answer = await admin.call("SuspendFactory", request_id=request_id, reason="fraud?", **factory)
        assert answer.factory.state == account_pb2.FACTORY_STATE_SUSPENDED
        assert await admin.call("SuspendFactory", request_id=request_id, reason="fraud?", **factory) == answer

        async def refused() -> bool:
            try:
                await customer.batch(order.batch.batch_id)
            except grpc.aio.AioRpcError as error:
                return reason_of(error) == "CREDENTIALS_INVALID"
            return False

        await eventually(refused, within=2, every=0.1)
        async with ground.owner() as owner:
            view = "SELECT count(*) FROM api_key_credentials WHERE factory_id = $1"
            assert await owner.fetchval(view, customer.factory_id) == 0, "scan refuses its keys as well"
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            for first in range(2, 20_000, 1000):
                await stream.chunk(first, rows(1000, first))
        assert reason_of(ended.value) == "FACTORY_SUSPENDED"
        assert await admin.refused("CreateApiKey", **factory) == "FACTORY_SUSPENDED"
        assert (await admin.call("SuspendFactory", reason="again", **factory)).factory == answer.factory
        await admin.call("ResumeFactory", **factory)

        async def let_in() -> bool:
            return not await refused()

        await eventually(let_in, within=2, every=0.1)
        await customer.order(1)
    said = [detail for method, detail in await audits(ground, f"factory/{factory['factory_id']}")]
    assert said[1:] == [
        {"state": audit.change("active", "suspended"), "reason": "fraud?"},
        {"state": audit.change("suspended", "active")},
    ]


async def test_products_have_markets_of_their_factory_alone(door: Door, customer: Customer) -> None:
    async with door.person("admin") as admin, with_api_key(door.target, customer.key) as channel:
        lives: Any = lifecycle_pb2_grpc.LifecycleServiceStub(channel)
        before = {"request_id": str(uuid4()), "template": {"market": "FR"}}
        ordered = await customer.order(2, **before)
        markets = {"factory_id": str(customer.factory_id), "update_mask": mask("markets"), "markets": ["BR"]}
        await admin.call("UpdateFactory", **markets)
        assert (await customer.order(2, **before)).batch.batch_id == ordered.batch.batch_id
        for wrong in (
            customer.order(2, template={"market": "FR"}),
            Import(customer, template={"market": "FR"}).open(),
            lives.CreateProduct(
                lifecycle_pb2.CreateProductRequest(request_id=str(uuid4()), attributes={"market": "FR"})
            ),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await wrong
            assert reason_of(error.value) == "VALIDATION_FAILED"
            assert "is not a market of this factory" in (error.value.details() or "")
        stream = await Import(customer).open()
        ack = await stream.chunk(
            0, [factory_pb2.ImportRow(market=market, sku="A") for market in ("BR", "FR", "", "XX")]
        )
        assert [(error.row, error.column) for error in ack.errors] == [(1, "market"), (3, "market")]
        assert (await stream.end(4)).product_count == 2
        for dry_run in (True, False):
            header = table_pb2.CsvHeader(request_id=str(uuid4()), name="file", dry_run=dry_run)
            pieces = [
                table_pb2.ImportCsvRequest(header=header),
                table_pb2.ImportCsvRequest(data=b"sku,market\nA,BR\nB,FR\n"),
            ]
            async with grpc.aio.insecure_channel(door.target) as plain:
                tables: Any = table_pb2_grpc.TableServiceStub(plain)
                report = await tables.ImportCsv(iter(pieces), metadata=(("x-api-key", customer.key),), timeout=20)
            assert [(error.line, error.value) for error in report.errors] == [(3, "FR")]


async def test_priority_moves_a_factory_up_the_line(ground: Ground, door: Door) -> None:
    places = []
    for priority in (0, 3, -3):
        async with door.customer() as customer, door.person("admin") as admin:
            step = {"update_mask": mask("priority"), "priority": priority}
            await admin.call("UpdateFactory", factory_id=str(customer.factory_id), **step)
            batch_id = (await customer.order(5)).batch.batch_id
        async with ground.owner() as owner:
            job = "SELECT priority FROM pgqueuer WHERE entrypoint = 'batch.build' AND payload LIKE $1"
            key = customer.factory_id.bytes
            places.append(await owner.fetchval(job.replace("payload LIKE $1", "position($1 IN payload) > 0"), key))
            assert UUID(batch_id)
    assert places == [places[0], places[0] + 3, places[0] - 3]


async def test_changes_at_once_are_each_audited_from_what_was(ground: Ground, door: Door, customer: Customer) -> None:
    async with door.person("admin") as one, door.person("admin") as two:
        factory = {"factory_id": str(customer.factory_id), "update_mask": mask("priority")}
        await asyncio.gather(
            *(who.call("UpdateFactory", priority=n + 1, **factory) for n, who in enumerate((one, two)))
        )
    steps = [d["priority"] for _, d in await audits(ground, f"factory/{customer.factory_id}") if "priority" in d]
    assert steps in [[audit.change(0, n), audit.change(n, 3 - n)] for n in (1, 2)]


async def test_roles_below_admin_change_no_factory(door: Door, customer: Customer) -> None:
    own = str(customer.factory_id)
    for role in ("auditor", "support", "factory_manager", "factory_operator"):
        async with door.person(role, customer.factory_id if role.startswith("factory") else None) as person:
            assert (await person.call("GetFactory", factory_id=own)).factory.factory_id == own
            for method, fields in (
                ("CreateFactory", {"name": "x"}),
                ("UpdateFactory", {"factory_id": own, "update_mask": mask("name"), "name": "x"}),
                ("SuspendFactory", {"factory_id": own}),
                ("ResumeFactory", {"factory_id": own}),
                ("SetQuota", {"factory_id": own, "products_a_day": 10**9}),
                ("SetRiskWeights", {"factory_id": own}),
            ):
                assert await person.refused(method, **fields) == "ACCESS_DENIED", (role, method)


async def test_people_of_a_factory_read_what_is_its_own(door: Door, customer: Customer) -> None:
    batch = (await customer.order(2, return_products=True)).batch
    for role in ("factory_manager", "factory_operator"):
        token = access_token(role, factory=str(customer.factory_id))
        metadata = (("authorization", f"Bearer {token}"),)
        async with grpc.aio.insecure_channel(door.target) as channel:
            stub: Any = factory_pb2_grpc.FactoryServiceStub(channel)
            accounts: Any = account_pb2_grpc.AccountServiceStub(channel)
            listed = await stub.ListBatches(factory_pb2.ListBatchesRequest(), metadata=metadata, timeout=10)
            assert [found.batch_id for found in listed.batches] == [batch.batch_id]
            used = await accounts.GetUsage(account_pb2.GetUsageRequest(), metadata=metadata, timeout=10)
            assert used.products_today == 2
            cancel = factory_pb2.CancelBatchRequest(request_id=str(uuid4()), batch_id=batch.batch_id)
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await stub.CancelBatch(cancel, metadata=metadata, timeout=10)
            assert reason_of(error.value) == "ACCESS_DENIED", "with a key alone"
