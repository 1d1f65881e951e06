"""What people may not do is in the audit, whom it would have hit included; what nobody known asked for is not."""

from uuid import UUID, uuid4

import pytest
from voketag.admin.v1 import auth_pb2
from voketag.mesh.v1 import access_pb2

from tests.integration.admin.test_people import refused
from tests.integration.admin.world import PASSWORD, Door, Ground, Person, at, new_address
from tests.refusals import AT_ONCE, Refusal, refusals

pytestmark = pytest.mark.asyncio(loop_scope="module")
WRONG = "not my password at all"


async def logged(ground: Ground, actor_id: str) -> list[Refusal]:
    async with ground.owner() as owner:
        return await refusals(owner, "admin", actor_id)


async def test_whoever_reaches_for_more_is_logged_with_whom_it_would_have_hit(door: Door, admin: Person) -> None:
    auditor = await door.add(admin, access_pb2.ROLE_AUDITOR)
    request_id = str(uuid4())
    assert await refused(auditor.call("DisableUser", user_id=admin.user_id, request_id=request_id)) == "ACCESS_DENIED"
    assert await refused(auditor.call("CreateUser")) == "ACCESS_DENIED"
    assert await refused(admin.call("DisableUser", user_id=str(uuid4()))) == "USER_NOT_FOUND"
    assert await refused(admin.update(admin.user_id, ["role"], role=access_pb2.ROLE_SUPPORT)) == "OWN_RIGHTS"
    assert await refused(admin.create(email=auditor.email)) == "EMAIL_TAKEN"
    assert await refused(admin.call("GetUser", user_id=str(uuid4()))) == "USER_NOT_FOUND"
    disable, create = await logged(door.ground, auditor.user_id)
    assert (disable.actor, disable.role) == (f"user:{auditor.user_id}", "auditor")
    assert (disable.method, disable.resource) == ("DisableUser", f"user/{admin.user_id}")
    assert (disable.request_id, disable.result) == (UUID(request_id), "ACCESS_DENIED")
    assert disable.prefix.startswith("10.")
    assert (create.method, create.resource) == ("CreateUser", "")
    found = [(row.method, row.result) for row in await logged(door.ground, admin.user_id)]
    assert found == [("DisableUser", "USER_NOT_FOUND"), ("UpdateUser", "OWN_RIGHTS"), ("CreateUser", "EMAIL_TAKEN")]


async def test_a_wrong_password_is_logged_of_whoever_is_logged_in_alone(door: Door, admin: Person) -> None:
    async with door.ground.owner() as owner:
        before = await owner.fetchval("SELECT count(*) FROM audit WHERE actor_kind = 'public' AND result <> 'OK'")
        wanted = auth_pb2.ChangePasswordRequest(current_password=WRONG, new_password=PASSWORD + " 2")
        assert await refused(door.auth.ChangePassword(wanted, metadata=admin.metadata)) == "LOGIN_REFUSED"
        login = auth_pb2.LoginRequest(email=admin.email, password=WRONG)
        assert await refused(door.auth.Login(login, metadata=at(new_address()))) == "LOGIN_REFUSED"
        forged = (("authorization", "Bearer x.y.z"), *at(new_address()))
        assert await refused(door.auth.ChangePassword(wanted, metadata=forged)) == "CREDENTIALS_INVALID"
        after = await owner.fetchval("SELECT count(*) FROM audit WHERE actor_kind = 'public' AND result <> 'OK'")
    assert after == before
    (row,) = await logged(door.ground, admin.user_id)
    assert (row.method, row.result) == ("ChangePassword", "LOGIN_REFUSED")


async def test_a_flood_has_ten_rows(door: Door, admin: Person) -> None:
    auditor = await door.add(admin, access_pb2.ROLE_AUDITOR)
    for _ in range(3 * AT_ONCE):
        assert await refused(auditor.call("DeleteUser", user_id=admin.user_id)) == "ACCESS_DENIED"
    assert len(await logged(door.ground, auditor.user_id)) == AT_ONCE
