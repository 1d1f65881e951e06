"""Authenticator and recovery codes lost: an admin takes the second factor away, and nobody else does."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from voketag.admin.v1 import auth_pb2
from voketag.mesh.v1 import access_pb2

from admin.second_factors import TAKEN_SUBJECT, TAKEN_TEXT
from tests.fakes.clock import HandClock
from tests.integration.admin.test_people import FACTORY, refused
from tests.integration.admin.test_second_factors import auth, enrolled, login, shown
from tests.integration.admin.world import PASSWORD, Door, Ground, Person, at, new_address
from tests.integration.factory.world import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")
Call = Callable[[], Awaitable[Any]]
METHOD = "RemoveUserSecondFactor"


@pytest.fixture(name="clock")
def _clock() -> HandClock:
    clock = HandClock()
    clock.seconds = time.time()
    return clock


@pytest_asyncio.fixture(loop_scope="module", name="here")
async def _here(ground: Ground, clock: HandClock) -> AsyncIterator[Door]:
    async with ground.server(clock=clock) as door:
        yield door


def refresh(person: Person) -> Awaitable[Any]:
    request = auth_pb2.RefreshRequest(refresh_token=person.tokens.refresh_token)
    answer: Awaitable[Any] = person.door.auth.Refresh(request, metadata=at(new_address()))
    return answer


async def test_who_lost_it_logs_in_by_password_and_enrols_anew(here: Door, ground: Ground, clock: HandClock) -> None:
    admin, (person, secret, codes) = await here.admin(), await enrolled(here, clock)
    removal = {"user_id": person.user_id, "request_id": str(uuid4())}
    for _ in range(2):
        await admin.call(METHOD, **removal)
    assert await refused(refresh(person)) == "CREDENTIALS_INVALID"
    assert await refused(admin.call(METHOD, user_id=person.user_id)) == "SECOND_FACTOR_CONFLICT"
    elsewhere = removal | {"user_id": (await here.admin()).user_id}
    assert await refused(admin.call(METHOD, **elsewhere)) == "REQUEST_ID_REUSED"
    assert ground.mails_to(person.email) == [(TAKEN_SUBJECT, TAKEN_TEXT)]
    async with ground.owner() as owner:
        rows = await owner.fetch(
            "SELECT actor_id, actor_role, method, request_id::text, detail FROM audit"
            " WHERE result = 'OK' AND resource = $1 AND method LIKE $2",
            f"user/{person.user_id}",
            f"%{METHOD}",
        )
    (row,) = rows
    assert (row["actor_id"], row["actor_role"], row["request_id"]) == (admin.user_id, "admin", removal["request_id"])
    assert json.loads(row["detail"]) == {"second_factor": {"before": "on", "after": "off"}}
    again = await here.person(person.email)
    new = (await auth(again, "EnrolSecondFactor", password=PASSWORD)).secret
    assert new != secret
    await auth(again, "ConfirmSecondFactor", code=shown(new, clock))
    clock.seconds += 60
    for old in (shown(secret, clock), codes[0]):
        assert await refused(login(again, old)) == "LOGIN_REFUSED"
    await login(again, shown(new, clock))
    assert len((await admin.call("ListUsers", email=person.email)).users) == 1


async def test_one_s_own_takes_a_code(here: Door, clock: HandClock) -> None:
    admin, secret, _ = await enrolled(here, clock)
    assert await refused(admin.call(METHOD, user_id=admin.user_id)) == "OWN_RIGHTS"
    assert await refused(login(admin)) == "SECOND_FACTOR_REQUIRED"
    await login(admin, shown(secret, clock))


async def test_when_no_mail_can_be_sent_nothing_is_taken_and_the_same_request_tries_again(
    ground: Ground, clock: HandClock, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    async with ground.server(clock=clock, mail_folder=blocked) as door:
        admin, (person, secret, _) = await door.admin(), await enrolled(door, clock)
        removal = {"user_id": person.user_id, "request_id": str(uuid4())}
        assert await refused(admin.call(METHOD, **removal)) == "DEPENDENCY_UNAVAILABLE"
        await refresh(person)
        await login(person, shown(secret, clock))
        blocked.unlink()
        await admin.call(METHOD, **removal)
        await login(person)


async def test_only_who_is_an_admin_now(here: Door, clock: HandClock) -> None:
    admin, (person, _, _) = await here.admin(), await enrolled(here, clock)
    factory = {"factory_id": FACTORY}
    roles = {
        access_pb2.ROLE_AUDITOR: {},
        access_pb2.ROLE_SUPPORT: {},
        access_pb2.ROLE_FACTORY_MANAGER: factory,
        access_pb2.ROLE_FACTORY_OPERATOR: factory,
    }
    for role, more in roles.items():
        somebody = await here.add(admin, role, **more)
        for user_id in (person.user_id, str(uuid4())):
            assert await refused(somebody.call(METHOD, user_id=user_id)) == "ACCESS_DENIED", role
    former = await here.admin()
    await admin.update(former.user_id, ["role"], role=access_pb2.ROLE_AUDITOR)
    assert await refused(former.call(METHOD, user_id=person.user_id)) == "ACCESS_DENIED"
    assert await refused(login(person)) == "SECOND_FACTOR_REQUIRED"


async def test_from_whom_it_cannot_be_taken(here: Door, clock: HandClock) -> None:
    admin, (person, secret, _) = await here.admin(), await enrolled(here, clock)
    for fields, reason in (
        ({"user_id": str(uuid4())}, "USER_NOT_FOUND"),
        ({"user_id": ""}, "VALIDATION_FAILED"),
        ({"user_id": "../1"}, "VALIDATION_FAILED"),
        ({"user_id": person.user_id, "request_id": ""}, "VALIDATION_FAILED"),
    ):
        assert await refused(admin.call(METHOD, **fields)) == reason, fields
    await admin.call("DisableUser", user_id=person.user_id)
    assert await refused(admin.call(METHOD, user_id=person.user_id)) == "USER_STATE_CONFLICT"
    await admin.call("DisableUser", user_id=person.user_id, enable=True)
    await login(person, shown(secret, clock))
    await admin.call("DeleteUser", user_id=person.user_id)
    assert await refused(admin.call(METHOD, user_id=person.user_id)) == "USER_STATE_CONFLICT"


async def test_what_was_not_confirmed_is_none(here: Door, clock: HandClock) -> None:
    admin, person = await here.admin(), await here.admin()
    assert await refused(admin.call(METHOD, user_id=person.user_id)) == "SECOND_FACTOR_CONFLICT"
    secret = (await auth(person, "EnrolSecondFactor", password=PASSWORD)).secret
    assert await refused(admin.call(METHOD, user_id=person.user_id)) == "SECOND_FACTOR_CONFLICT"
    await auth(person, "ConfirmSecondFactor", code=shown(secret, clock))
    await admin.call(METHOD, user_id=person.user_id)
    await login(person)


async def answer_of(call: Call) -> Any:
    return await call()


@asynccontextmanager
async def queued(ground: Ground, person: Person, *calls: Call) -> AsyncIterator[list["asyncio.Task[Any]"]]:
    """Calls that stand behind each other before the person's factor, in this order, and go on when the block ends."""
    async with ground.owner() as owner, ground.owner() as watcher:
        hold = owner.transaction()
        await hold.start()
        await owner.execute("SELECT FROM second_factors WHERE user_id = $1::uuid FOR UPDATE", person.user_id)
        waiting: list[asyncio.Task[Any]] = []
        for call in calls:
            waiting.append(asyncio.create_task(answer_of(call)))

            async def stands() -> bool:
                count = await watcher.fetchval(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
                return bool(count == len(waiting))

            assert await eventually(stands)
        await hold.rollback()
        yield waiting


async def test_a_removal_and_a_confirmation_at_once_come_one_after_the_other(
    here: Door, ground: Ground, clock: HandClock
) -> None:
    admin, person = await here.admin(), await here.admin()
    for first in (METHOD, "ConfirmSecondFactor"):
        secret = (await auth(person, "EnrolSecondFactor", password=PASSWORD)).secret
        removal = partial(admin.call, METHOD, user_id=person.user_id)
        confirmation = partial(auth, person, "ConfirmSecondFactor", code=shown(secret, clock))
        calls = (removal, confirmation) if first == METHOD else (confirmation, removal)
        async with queued(ground, person, *calls) as answers:
            if first == METHOD:
                assert await refused(answers[0]) == "SECOND_FACTOR_CONFLICT"
                await answers[1]
                assert await refused(login(person)) == "SECOND_FACTOR_REQUIRED"
                await admin.call(METHOD, user_id=person.user_id)
                clock.seconds += 60
            else:
                await asyncio.gather(*answers)
        await login(person)


async def test_an_enrolment_behind_a_removal_finds_room(here: Door, ground: Ground, clock: HandClock) -> None:
    admin, (person, secret, _) = await here.admin(), await enrolled(here, clock)
    removal = partial(admin.call, METHOD, user_id=person.user_id)
    enrolment = partial(auth, person, "EnrolSecondFactor", password=PASSWORD)
    async with queued(ground, person, removal, enrolment) as answers:
        await answers[0]
        new = (await answers[1]).secret
    assert new != secret
    await login(person)
    await auth(person, "ConfirmSecondFactor", code=shown(new, clock))
    assert await refused(login(person)) == "SECOND_FACTOR_REQUIRED"


async def test_of_two_removals_one_finds_something(here: Door, ground: Ground, clock: HandClock) -> None:
    one, two, (person, _, _) = await here.admin(), await here.admin(), await enrolled(here, clock)
    calls = [partial(each.call, METHOD, user_id=person.user_id) for each in (one, two)]
    async with queued(ground, person, *calls) as answers:
        await answers[0]
        assert await refused(answers[1]) == "SECOND_FACTOR_CONFLICT"


async def test_a_login_that_had_its_code_before_is_ended_too(here: Door, ground: Ground, clock: HandClock) -> None:
    admin, (person, secret, _) = await here.admin(), await enrolled(here, clock)
    entry = partial(login, person, shown(secret, clock))
    async with queued(ground, person, entry, partial(admin.call, METHOD, user_id=person.user_id)) as answers:
        opened, _ = await asyncio.gather(*answers)
    late = Person(here, person.email, person.user_id, opened.tokens)
    assert await refused(refresh(late)) == "CREDENTIALS_INVALID"
