"""Exports listed: everybody sees their own, admins and auditors all, and links are for who ordered."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
import pytest_asyncio
from voketag.admin.v1 import export_pb2 as pb
from voketag.mesh.v1 import access_pb2

from tests.integration.admin.export_world import Exporter, Factory, exporter, new_factory, working
from tests.integration.admin.test_people import refused
from tests.integration.admin.world import Door, Ground, Person

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def factory(ground: Ground) -> Factory:
    return await new_factory(ground)


@pytest_asyncio.fixture(loop_scope="module")
async def ada(door: Door, admin: Person) -> Exporter:
    return await exporter(door, admin)


def ids(answer: pb.ListExportsResponse) -> list[str]:
    return [each.export_id for each in answer.exports]


async def test_pages_are_newest_first_filtered_and_bound_to_their_caller(
    door: Door, admin: Person, ada: Exporter
) -> None:
    mine = {"user_id": ada.person.user_id}
    made = [(await ada.start(kind)).export_id for kind in ("users", "scans", "users", "audit", "users")]
    seen, token = [], ""
    while True:
        page = await ada.list(page_size=2, page_token=token, **mine)
        assert len(page.exports) <= 2
        seen += ids(page)
        token, last = page.next_page_token, token or page.next_page_token
        if not token:
            break
    assert seen == made[::-1]
    assert ids(await ada.list(kind=pb.EXPORT_KIND_USERS, **mine)) == [made[4], made[2], made[0]]
    assert not ids(await ada.list(state=pb.EXPORT_STATE_DONE, **mine))
    waiting = await ada.list(state=pb.EXPORT_STATE_WAITING, kind=pb.EXPORT_KIND_AUDIT, **mine)
    assert ids(waiting) == [made[3]]
    for wrong in ({}, {**mine, "kind": pb.EXPORT_KIND_USERS}, {**mine, "state": pb.EXPORT_STATE_WAITING}):
        assert await refused(ada.list(page_token=last, **wrong)) == "PAGE_TOKEN_INVALID", wrong
    other = await exporter(door, admin)
    assert await refused(other.list(page_token=last, **mine)) == "PAGE_TOKEN_INVALID"
    for fields in (
        {"page_token": "x" * 513},
        {"page_size": -1},
        {"page_size": 1001},
        {"kind": 99},
        {"state": 99},
        {"user_id": "' OR true --"},
    ):
        assert await refused(ada.list(**fields)) == "VALIDATION_FAILED", fields
    assert await refused(ada.list(page_token="é")) == "PAGE_TOKEN_INVALID"


async def test_who_sees_whose(door: Door, admin: Person, ada: Exporter, factory: Factory) -> None:
    manager = await exporter(door, admin, "factory_manager", factory)
    colleague = await exporter(door, admin, "factory_manager", factory)
    auditor = await exporter(door, admin, "auditor")
    people = (ada, manager, colleague, auditor)
    orders = {each.person.user_id: (await each.start("products")).export_id for each in people}
    for each in (manager, colleague):
        assert ids(await each.list()) == [orders[each.person.user_id]]
        assert ids(await each.list(user_id=each.person.user_id)) == [orders[each.person.user_id]]
        for somebody in (ada, auditor):
            assert not ids(await each.list(user_id=somebody.person.user_id))
    for each in (ada, auditor):
        assert {*orders.values()} <= {*ids(await each.list())}
        assert ids(await each.list(user_id=manager.person.user_id)) == [orders[manager.person.user_id]]
    assert not ids(await ada.list(user_id=str(uuid4())))
    for role in ("support", "factory_operator"):
        nobody = await exporter(door, admin, role, factory if role == "factory_operator" else None)
        assert await refused(nobody.list()) == "ACCESS_DENIED"


async def test_a_list_tells_how_far_each_is_and_links_to_one_s_own_alone(
    ground: Ground, door: Door, admin: Person, ada: Exporter, factory: Factory
) -> None:
    manager = await exporter(door, admin, "factory_manager", factory)
    order = await manager.start("products")
    async with working(ground):
        await manager.made(order.export_id)
    (mine,) = (await manager.list()).exports
    assert (mine.state, mine.row_count, mine.user_id) == (
        pb.EXPORT_STATE_DONE,
        len(factory.products),
        manager.person.user_id,
    )
    assert len(await manager.fetch(mine.file.link)) == mine.file.size > 0
    assert 0 < mine.file.expire_time.seconds - datetime.now(UTC).timestamp() <= 3600
    for each in (ada, await exporter(door, admin, "auditor")):
        (theirs,) = (await each.list(user_id=manager.person.user_id)).exports
        assert (theirs.file.link, theirs.file.size, theirs.file.sha256) == ("", mine.file.size, mine.file.sha256)
        assert theirs.file.expire_time.seconds > mine.file.expire_time.seconds, "the file is kept longer than a link"
        assert await refused(each.get(order.export_id)) == "EXPORT_NOT_FOUND"
    await admin.update(manager.person.user_id, ["factory_id"], factory_id=str(uuid4()))
    moved = Exporter(await door.person(manager.person.email))
    (old,) = (await moved.list()).exports
    assert (old.export_id, old.HasField("file")) == (order.export_id, False)
    await admin.update(manager.person.user_id, ["role", "factory_id"], role=access_pb2.ROLE_AUDITOR, factory_id="")
    promoted = Exporter(await door.person(manager.person.email))
    (seen,) = (await promoted.list(user_id=promoted.person.user_id)).exports
    assert (seen.file.link, seen.file.size) == ("", mine.file.size)
