"""Who is told which figures, and what is asked for wrongly."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from voketag.admin.v1 import dashboard_pb2 as pb
from voketag.admin.v1 import dashboard_pb2_grpc
from voketag.mesh.v1 import access_pb2

from tests.databases import Databases
from tests.integration.admin.figures import FigureGround, figure_ground, stamp
from tests.integration.admin.raw import Window
from tests.integration.admin.world import at, new_address
from tests.integration.factory.world import metadata_of, reason_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
WEEK = Window(TODAY - timedelta(days=6), TODAY + timedelta(days=1))
OF_EVERYBODY = ("factories", "anchoring")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FigureGround]:
    async with figure_ground(databases, tmp_path_factory.mktemp("figures")) as place:
        yield place


def parts(answer: Message) -> set[str]:
    return {field.name for field, _ in answer.ListFields()}


async def refused(call: object) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call  # type: ignore[misc]
    return reason_of(error.value)


@pytest.mark.parametrize("role", [access_pb2.ROLE_ADMIN, access_pb2.ROLE_AUDITOR, access_pb2.ROLE_SUPPORT])
async def test_who_works_for_all_sees_all_and_each(place: FigureGround, role: Any) -> None:
    people = await place.people(role)
    await place.raw.record(people.scans(60))
    await place.rollups().run_once()
    person = await place.door.add(place.admin, role)
    everything, one = await place.dashboard(person), await place.dashboard(person, people.factories[0])
    assert parts(everything) - parts(one) == {*OF_EVERYBODY, "jobs", "accounts"}
    assert everything.totals.ever.scans > one.totals.ever.scans > 0
    answer = await place.analytics(WEEK, person, factory_id=str(people.factories[0]))
    assert answer.scans.total.scans > 0
    assert not parts(answer) & {*OF_EVERYBODY}


@pytest.mark.parametrize("role", [access_pb2.ROLE_FACTORY_MANAGER, access_pb2.ROLE_FACTORY_OPERATOR])
async def test_people_of_a_factory_see_it_and_no_other(place: FigureGround, role: Any) -> None:
    people = await place.people(10 + role)
    await place.raw.record(people.scans(80))
    await place.rollups().run_once()
    own, other = people.factories[:2]
    person = await place.door.add(place.admin, role, factory_id=str(own))
    for asked in ("", str(own)):
        board, answer = await place.dashboard(person, asked), await place.analytics(WEEK, person, factory_id=asked)
        assert board == await place.dashboard(factory_id=own)
        assert answer == await place.analytics(WEEK, factory_id=str(own))
        assert not parts(board) & {*OF_EVERYBODY, "jobs", "accounts"}
    for foreign in (str(other), str(uuid4())):
        assert await refused(place.dashboard(person, foreign)) == "FACTORY_NOT_FOUND"
        assert await refused(place.analytics(WEEK, person, factory_id=foreign)) == "FACTORY_NOT_FOUND"
    asked_for = await place.analytics(WEEK, person, metrics=[pb.METRIC_FACTORIES, pb.METRIC_ANCHORING])
    assert asked_for == pb.GetAnalyticsResponse()


async def test_strangers_see_nothing(place: FigureGround) -> None:
    stub = dashboard_pb2_grpc.DashboardServiceStub(place.door.channel)
    request = pb.GetAnalyticsRequest(from_time=stamp(WEEK.since), to_time=stamp(WEEK.until))
    for call in (
        stub.GetDashboard(pb.GetDashboardRequest(), metadata=at(new_address())),
        stub.GetAnalytics(request, metadata=at(new_address())),
    ):
        assert await refused(call) == "CREDENTIALS_MISSING"


async def test_parts_are_told_as_asked_for(place: FigureGround) -> None:
    names = ("scans", "countries", "products", "factories", "batches", "anchoring")
    for number, name in enumerate(names, 1):
        answer = await place.analytics(WEEK, metrics=[number])
        assert [field.name for field, _ in answer.ListFields()] == [name]
    answer = await place.analytics(WEEK)
    assert [field.name for field, _ in answer.ListFields()] == list(names)
    assert len(answer.scans.points) == 7


WRONG: dict[str, dict[str, Any]] = {
    "no beginning": {"from_time": None},
    "no end": {"to_time": None},
    "end before beginning": {"from_time": stamp(WEEK.until), "to_time": stamp(WEEK.since)},
    "an empty period": {"to_time": stamp(WEEK.since)},
    "part of a day": {"from_time": stamp(WEEK.since + timedelta(hours=1))},
    "part of an hour": {
        "from_time": stamp(WEEK.since + timedelta(minutes=1)), "granularity": pb.GRANULARITY_HOUR
    },
    "a microsecond too many": {"to_time": stamp(WEEK.until + timedelta(microseconds=1))},
    "401 days": {"from_time": stamp(WEEK.until - timedelta(days=401))},
    "32 days of hours": {
        "from_time": stamp(WEEK.until - timedelta(days=32)), "granularity": pb.GRANULARITY_HOUR
    },
    "before there was anything": {"from_time": Timestamp(seconds=0)},
    "a time that is none": {"from_time": Timestamp(seconds=2**62)},
    "nanoseconds that are none": {"from_time": Timestamp(seconds=int(WEEK.since.timestamp()), nanos=-5)},
    "the far future": {"to_time": Timestamp(seconds=253402300799)},
    "a grain that is none": {"granularity": 9},
    "a part that is none": {"metrics": [99]},
    "an unspecified part": {"metrics": [0]},
    "a part twice": {"metrics": [1, 1]},
    "many parts": {"metrics": [1] * 1_000},
    "a factory that is none": {"factory_id": "mine"},
    "hostile text": {"factory_id": "' OR true --"},
}  # fmt: skip


@pytest.mark.parametrize("fields", WRONG.values(), ids=WRONG)
async def test_what_is_asked_for_wrongly_is_refused(place: FigureGround, fields: dict[str, Any]) -> None:
    assert await refused(place.analytics(WEEK, **fields)) == "VALIDATION_FAILED"


async def test_a_wrong_factory_is_refused(place: FigureGround) -> None:
    for wrong in ("mine", "' OR true --", "0" * 5_000):
        assert await refused(place.dashboard(factory_id=wrong)) == "VALIDATION_FAILED"
    for unknown in (uuid4(), "ffffffff-ffff-ffff-ffff-ffffffffffff", "00000000-0000-0000-0000-000000000000"):
        assert await refused(place.dashboard(factory_id=unknown)) == "FACTORY_NOT_FOUND"


async def test_hours_that_are_not_kept_are_not_told_as_none(place: FigureGround) -> None:
    long_ago = TODAY - timedelta(days=95)
    window = Window(long_ago, long_ago + timedelta(days=1), hours=True)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await place.analytics(window)
    assert reason_of(error.value) == "PERIOD_NOT_KEPT"
    since = datetime.fromisoformat(metadata_of(error.value)["since"])
    kept = await place.analytics(Window(since, since + timedelta(hours=1), hours=True))
    assert len(kept.scans.points) == 1
    assert len((await place.analytics(Window(long_ago, long_ago + timedelta(days=1)))).scans.points) == 1


async def test_the_longest_periods_are_told_whole(place: FigureGround) -> None:
    days = Window(WEEK.until - timedelta(days=400), WEEK.until)
    hours = Window(WEEK.until - timedelta(days=31), WEEK.until, hours=True)
    assert len((await place.analytics(days)).scans.points) == 400
    assert len((await place.analytics(hours)).scans.points) == 31 * 24
