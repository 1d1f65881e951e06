"""Suspicious scans at the desk: every filter, whose they are, and where a page goes on."""

import random
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from voketag.mesh.v1 import access_pb2

from admin.store import Store
from admin.suspicious import SuspiciousScans, Wanted
from mesh.clock import new_id
from mesh.identity import Principal
from mesh.paging import PageTokens
from tests.integration.admin.conftest import ONCE
from tests.integration.admin.fraud import ODD, Desk, Scan, ask, auditor, database, desk, pages, refused, stub, support
from tests.integration.admin.world import Person
from tests.servers import PASSWORD

__all__ = ["auditor", "database", "desk", "stub", "support"]
pytestmark = pytest.mark.asyncio(loop_scope="module")
KINDS = [(1, 0), (1, 19), (1, 20), (1, 39), (2, 40), (2, 65), (3, 95), (4, None), (4, 60)]


class Scans:
    """Suspicious scans of two factories, and ordinary ones between them."""

    def __init__(self, mine: UUID, theirs: UUID) -> None:
        rng = random.Random(11)
        self.mine, self.theirs = mine, theirs
        products = {mine: [new_id() for _ in range(4)], theirs: [new_id() for _ in range(4)]}
        self.product = products[mine][0]
        self.all = []
        for minute in range(300):
            factory = rng.choice([mine, theirs])
            verdict, risk = rng.choice(KINDS)
            leading = rng.randrange(1, 8) if risk else None
            self.all.append(Scan(minute, rng.choice(products[factory]), factory, verdict, risk, leading))

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(str(scan.event_id) for scan in self.all)

    def suspicious(self, **filters: Any) -> list[str]:
        """By the plain words of the contract, newest first."""

        def fits(scan: Scan) -> bool:
            risk = scan.risk
            checks: dict[str, Callable[[Any], bool]] = {
                "risk_min": lambda low: risk is not None and risk >= low,
                "risk_max": lambda high: risk is not None and risk <= high,
                "factor": lambda factor: scan.leading == factor,
                "verdict": lambda verdict: scan.verdict == verdict,
                "product_id": lambda product: str(scan.product_id) == product,
                "factory_id": lambda factory: str(scan.factory_id) == factory,
                "since": lambda at: bool(scan.at >= at.ToDatetime(scan.at.tzinfo)),
                "until": lambda at: bool(scan.at < at.ToDatetime(scan.at.tzinfo)),
            }
            shown = scan.verdict != 1 or (risk or 0) >= 20
            return shown and all(checks[name](value) for name, value in filters.items())

        return [str(scan.event_id) for scan in reversed(self.all) if fits(scan)]


@pytest_asyncio.fixture(**ONCE)
async def scans(desk: Desk) -> Scans:
    made = Scans(new_id(), new_id())
    await desk.write_scans(made.all)
    return made


def filters(scans: Scans) -> list[dict[str, Any]]:
    begin, middle = Timestamp(), Timestamp()
    begin.FromDatetime(scans.all[100].at)
    middle.FromDatetime(scans.all[200].at)
    mine, product = str(scans.mine), str(scans.product)
    return [
        {},
        {"risk_min": 65},
        {"risk_max": 39},
        {"risk_min": 40, "risk_max": 60},
        {"risk_min": 0},
        *({"factor": factor} for factor in range(1, 8)),
        *({"verdict": verdict} for verdict in (1, 2, 3, 4)),
        {"product_id": product},
        {"factory_id": mine},
        {"since": begin},
        {"until": middle},
        {"since": begin, "until": middle, "factory_id": mine, "verdict": 2},
        {"product_id": product, "risk_min": 20, "factory_id": mine, "since": begin},
        {"product_id": product, "factory_id": str(scans.theirs)},
        {"risk_min": 90, "risk_max": 10},
        {"verdict": 5},
    ]


async def test_every_filter_gives_what_fits_newest_first(desk: Desk, auditor: Person, scans: Scans) -> None:
    for wanted in filters(scans):
        expected = scans.suspicious(**wanted)
        for size in (7, 200):
            found = await pages(auditor, "ListSuspiciousScans", "scans", page_size=size, **wanted)
            told = [scan.event_id for page in found for scan in page]
            assert [event_id for event_id in told if event_id in scans.ids] == expected, wanted
            assert all(len(page) <= size for page in found)


async def test_a_scan_is_told_whole_and_nothing_of_who_scanned(auditor: Person, scans: Scans) -> None:
    of = {"factory_id": str(scans.mine)}
    told = (await ask(auditor, "ListSuspiciousScans", page_size=1, verdict=3, **of)).scans[0]
    made = next(scan for scan in reversed(scans.all) if scan.verdict == 3 and scan.factory_id == scans.mine)
    assert (told.event_id, told.product_id, told.risk) == (str(made.event_id), str(made.product_id), 95)
    assert (told.factory_id, told.batch_id, told.country_code, told.scan_count) == (str(made.factory_id), "", "BR", 7)
    assert told.scan_time.ToDatetime(made.at.tzinfo) == made.at
    assert [(one.name, one.score) for one in told.factors] == [(told.leading_factor, 95)] == [(made.leading, 95)]
    unscored = (await ask(auditor, "ListSuspiciousScans", page_size=200, verdict=4, **of)).scans
    assert {scan.HasField("risk") for scan in unscored} == {True, False}
    assert not [name for name in told.DESCRIPTOR.fields_by_name if "hmac" in name or "device" in name]


async def test_a_page_looks_at_so_many_and_says_where_to_go_on(desk: Desk, scans: Scans) -> None:
    async with asyncpg.create_pool(
        f"postgresql://voketag_admin@{desk.database.owner_dsn.rpartition('@')[2]}",
        password=PASSWORD,
        server_settings={"search_path": "admin,pg_catalog"},
        min_size=1,
        max_size=1,
    ) as pool:
        listed = SuspiciousScans(Store(pool), PageTokens(b"k" * 32), looked_at=10)
        actor = Principal("user", str(uuid4()))
        for wanted, told in (
            (Wanted(verdict=3), {"verdict": 3}),
            (Wanted(verdict=3, factory_id=scans.mine), {"verdict": 3, "factory_id": str(scans.mine)}),
            (Wanted(verdict=3, product_id=scans.product), {"verdict": 3, "product_id": str(scans.product)}),
            (Wanted(verdict=5), {"verdict": 5}),
        ):
            found, token, sizes = [], "", []
            while True:
                page, token = await listed.list(actor, wanted, page_size=5, page_token=token)
                found += [str(scan.event_id) for scan in page]
                sizes.append(len(page))
                if not token:
                    break
            assert [event_id for event_id in found if event_id in scans.ids] == scans.suspicious(**told)
            assert max(sizes) <= 5


async def test_people_of_a_factory_see_their_own_alone(desk: Desk, scans: Scans) -> None:
    for role in (access_pb2.ROLE_FACTORY_MANAGER, access_pb2.ROLE_FACTORY_OPERATOR):
        theirs = await desk.door.add(desk.admin, role, factory_id=str(scans.mine))
        found = await pages(theirs, "ListSuspiciousScans", "scans", page_size=200)
        assert [scan.event_id for scan in found[0]] == scans.suspicious(factory_id=str(scans.mine))
        other = next(scan.product_id for scan in scans.all if scan.factory_id == scans.theirs)
        assert not (await ask(theirs, "ListSuspiciousScans", product_id=str(other))).scans
        assert await refused(theirs, "ListSuspiciousScans", factory_id=str(scans.theirs)) == "ACCESS_DENIED"
        batch = await desk.database.batch(state="COMPLETED")
        product = str(batch.product_ids[0])
        assert await refused(theirs, "GetProductTimeline", product_id=product) == "PRODUCT_NOT_FOUND"
        for method, fields in (
            ("ListFraudReports", {}),
            ("GetFraudReport", {"case_id": product}),
            ("UpdateFraudReport", {"case_id": product, "note": "x"}),
            ("BlockProduct", {"product_id": product, "note": "x"}),
            ("BlockBatch", {"batch_id": product, "note": "x"}),
            ("RevokeKid", {"kid": 1, "note": "x"}),
            ("ClearProduct", {"product_id": product, "note": "x"}),
        ):
            assert await refused(theirs, method, **fields) == "ACCESS_DENIED"


async def test_page_tokens_are_good_for_one_caller_and_filter(auditor: Person, support: Person, scans: Scans) -> None:
    token = (await ask(auditor, "ListSuspiciousScans", page_size=2)).next_page_token
    for person, fields in (
        (support, {}),
        (auditor, {"verdict": 2}),
        (auditor, {"factory_id": str(scans.mine)}),
        (auditor, {"risk_min": 0}),
    ):
        assert await refused(person, "ListSuspiciousScans", page_token=token, **fields) == "PAGE_TOKEN_INVALID"
    for wrong in ("x", token[:-2], token + "AA", "' OR 1=1 --"):
        assert await refused(auditor, "ListSuspiciousScans", page_token=wrong) == "PAGE_TOKEN_INVALID"
    assert await refused(auditor, "ListFraudReports", page_token=token) == "PAGE_TOKEN_INVALID"


async def test_what_a_list_cannot_be_asked_for(auditor: Person) -> None:
    wrong: list[dict[str, Any]] = [
        {"risk_min": 101},
        {"risk_max": 101},
        {"factor": 8},
        {"verdict": 9},
        {"product_id": ODD},
        {"factory_id": "x"},
        {"page_size": 201},
        {"page_size": -1},
        {"page_token": "x" * 501},
        {"since": Timestamp(seconds=1, nanos=-1)},
        {"until": Timestamp(seconds=2**62)},
    ]
    for fields in wrong:
        assert await refused(auditor, "ListSuspiciousScans", **fields) == "VALIDATION_FAILED", fields
    for fields in ({"state": 9}, {"product_id": "x"}, {"assignee_id": ODD}, {"page_size": 201}):
        assert await refused(auditor, "ListFraudReports", **fields) == "VALIDATION_FAILED", fields
    assert await refused(auditor, "GetProductTimeline", product_id="x") == "VALIDATION_FAILED"
    assert await refused(auditor, "GetProductTimeline", product_id=str(uuid4())) == "PRODUCT_NOT_FOUND"
    assert await refused(auditor, "GetFraudReport", case_id=str(uuid4())) == "CASE_NOT_FOUND"
