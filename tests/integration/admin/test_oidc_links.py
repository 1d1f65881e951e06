"""Who is whom at which provider: admins list, add and remove it, and nobody else does."""

import json
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio
from voketag.admin.v1 import auth_pb2, user_pb2
from voketag.mesh.v1 import access_pb2

from tests.integration.admin.oidc import Scene, log_in, scene
from tests.integration.admin.test_people import refused
from tests.integration.admin.world import Ground, at, new_address

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOBODY = "0190c8a0-0000-7000-8000-0000000000ff"


@pytest_asyncio.fixture(loop_scope="module", name="here")
async def _here(ground: Ground) -> AsyncIterator[Scene]:
    async with scene(ground, email_domains=[]) as here:
        yield here


async def test_a_link_is_added_shown_and_removed(ground: Ground, here: Scene) -> None:
    admin = await here.door.admin()
    person = await here.door.add(admin)
    here.work.person = {"sub": (subject := uuid4().hex)}
    assert await refused(log_in(here.door)) == "OIDC_LOGIN_REFUSED"
    add = {"user_id": person.user_id, "provider": "work", "subject": subject, "request_id": str(uuid4())}
    for _ in range(2):
        await admin.call("AddOidcLink", **add)
    (link,) = (await admin.call("ListOidcLinks", user_id=person.user_id)).links
    assert (link.issuer, link.subject) == (here.work.issuer, subject)
    assert link.create_time.seconds > 0
    opened = await log_in(here.door)
    assert opened.user.user_id == person.user_id
    remove = {"user_id": person.user_id, "issuer": here.work.issuer, "request_id": str(uuid4())}
    for _ in range(2):
        await admin.call("RemoveOidcLink", **remove)
    await admin.call("RemoveOidcLink", **(remove | {"request_id": str(uuid4())}))
    assert not (await admin.call("ListOidcLinks", user_id=person.user_id)).links
    assert await refused(log_in(here.door)) == "OIDC_LOGIN_REFUSED"
    refresh = auth_pb2.RefreshRequest(refresh_token=opened.tokens.refresh_token)
    assert await refused(here.door.auth.Refresh(refresh, metadata=at(new_address()))) == "CREDENTIALS_INVALID"
    async with ground.owner() as owner:
        rows = await owner.fetch(
            "SELECT detail FROM audit WHERE actor_id = $1 AND resource = $2 AND detail ? 'oidc_link' ORDER BY position",
            admin.user_id,
            f"user/{person.user_id}",
        )
    told = [json.loads(row["detail"])["oidc_link"] for row in rows]
    issuer = here.work.issuer
    assert told == [{"before": None, "after": issuer}, {"before": issuer, "after": None}]


async def test_a_subject_is_one_person_and_a_person_one_subject(here: Scene) -> None:
    admin, subject = await here.door.admin(), uuid4().hex
    one, two = await here.door.add(admin), await here.door.add(admin)
    await admin.call("AddOidcLink", user_id=one.user_id, provider="work", subject=subject)
    again = {"user_id": one.user_id, "provider": "work", "subject": uuid4().hex}
    assert await refused(admin.call("AddOidcLink", **again)) == "OIDC_LINK_CONFLICT"
    theirs = {"user_id": two.user_id, "provider": "work", "subject": subject}
    assert await refused(admin.call("AddOidcLink", **theirs)) == "OIDC_LINK_CONFLICT"
    await admin.call("AddOidcLink", user_id=two.user_id, provider="other", subject=subject)
    assert len((await admin.call("ListOidcLinks", user_id=two.user_id)).links) == 1


async def test_wrong_requests_are_refused(here: Scene) -> None:
    admin = await here.door.admin()
    person = await here.door.add(admin)
    good = {"user_id": person.user_id, "provider": "work", "subject": uuid4().hex, "request_id": str(uuid4())}
    for changes, reason in (
        ({"user_id": NOBODY}, "USER_NOT_FOUND"),
        ({"user_id": "x"}, "VALIDATION_FAILED"),
        ({"request_id": "x"}, "VALIDATION_FAILED"),
        ({"provider": "nobody"}, "OIDC_PROVIDER_NOT_FOUND"),
        ({"provider": ""}, "VALIDATION_FAILED"),
        ({"subject": ""}, "VALIDATION_FAILED"),
        ({"subject": "é"}, "VALIDATION_FAILED"),
        ({"subject": "a\0"}, "VALIDATION_FAILED"),
        ({"subject": "x" * 256}, "VALIDATION_FAILED"),
    ):
        assert await refused(admin.call("AddOidcLink", **(good | changes))) == reason, changes
    await admin.call("AddOidcLink", **good)
    assert await refused(admin.call("AddOidcLink", **(good | {"subject": "another"}))) == "REQUEST_ID_REUSED"
    for fields, reason in (
        ({"user_id": NOBODY, "issuer": "https://a"}, "USER_NOT_FOUND"),
        ({"user_id": person.user_id, "issuer": ""}, "VALIDATION_FAILED"),
        ({"user_id": person.user_id, "issuer": "a\0"}, "VALIDATION_FAILED"),
    ):
        assert await refused(admin.call("RemoveOidcLink", **fields)) == reason, fields
    assert await refused(admin.call("ListOidcLinks", user_id=NOBODY)) == "USER_NOT_FOUND"
    await admin.call("DisableUser", user_id=person.user_id)
    more = good | {"provider": "other", "request_id": str(uuid4())}
    assert await refused(admin.call("AddOidcLink", **more)) == "USER_STATE_CONFLICT"
    await admin.call("DeleteUser", user_id=person.user_id)
    assert not (await admin.call("ListOidcLinks", user_id=person.user_id)).links


async def test_auditors_read_links_and_nobody_but_admins_changes_them(here: Scene) -> None:
    admin = await here.door.admin()
    for role in (access_pb2.ROLE_AUDITOR, access_pb2.ROLE_SUPPORT):
        person = await here.door.add(admin, role)
        mine = {"user_id": person.user_id, "provider": "work", "subject": uuid4().hex}
        assert await refused(person.call("AddOidcLink", **mine)) == "ACCESS_DENIED"
        away = {"user_id": person.user_id, "issuer": here.work.issuer}
        assert await refused(person.call("RemoveOidcLink", **away)) == "ACCESS_DENIED"
        listing = person.call("ListOidcLinks", user_id=admin.user_id)
        if role == access_pb2.ROLE_AUDITOR:
            assert (await listing) == user_pb2.ListOidcLinksResponse()
        else:
            assert await refused(listing) == "ACCESS_DENIED"


async def test_an_admin_who_is_none_any_more_links_nobody(here: Scene) -> None:
    admin, former = await here.door.admin(), await here.door.admin()
    await admin.update(former.user_id, ["role"], role=access_pb2.ROLE_AUDITOR)
    mine = {"user_id": former.user_id, "provider": "work", "subject": uuid4().hex}
    assert await refused(former.call("AddOidcLink", **mine)) == "ACCESS_DENIED"
    away = {"user_id": admin.user_id, "issuer": here.work.issuer}
    assert await refused(former.call("RemoveOidcLink", **away)) == "ACCESS_DENIED"
