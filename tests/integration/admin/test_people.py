"""People: added, found, changed, kept out and forgotten; and what admins cannot do to themselves or each other."""

import asyncio
import json
from uuid import UUID, uuid4

import grpc
import pytest
from voketag.admin.v1 import auth_pb2, user_pb2
from voketag.mesh.v1 import access_pb2

from tests.integration.admin.world import Door, Ground, Person, at, new_address
from tests.integration.factory.world import reason_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
FACTORY = str(UUID(int=7))


async def refused(call: object) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call  # type: ignore[misc]
    return reason_of(error.value)


async def test_a_person_is_added_once_mailed_and_found(door: Door, admin: Person) -> None:
    request_id, email = str(uuid4()), f"New.{uuid4().hex[:8]}@Example.com"
    fields = {"request_id": request_id, "email": email, "role": access_pb2.ROLE_FACTORY_MANAGER, "factory_id": FACTORY}
    user = await admin.create(**fields)
    assert await admin.create(**fields) == user
    assert (user.email, user.state, user.factory_id) == (email.lower(), user_pb2.USER_STATE_ACTIVE, FACTORY)
    assert len(door.ground.tokens_for(email.lower())) == 1
    assert (await admin.call("GetUser", user_id=user.user_id)).user == user
    assert await refused(admin.create(**(fields | {"name": "Other"}))) == "REQUEST_ID_REUSED"
    assert await refused(admin.create(email=email.upper())) == "EMAIL_TAKEN"
    assert await refused(admin.call("GetUser", user_id=str(uuid4()))) == "USER_NOT_FOUND"


WRONG = {
    "no email": {"email": ""},
    "no address": {"email": "nobody"},
    "two lines": {"email": "a@b.example\nBcc: c@d.example"},
    "huge email": {"email": "x" * 250 + "@example.com"},
    "no name": {"name": ""},
    "blank name": {"name": "  "},
    "name of two lines": {"name": "A\nB"},
    "huge name": {"name": "x" * 121},
    "no role": {"role": 0},
    "unknown role": {"role": 99},
    "a factory for support": {"factory_id": FACTORY},
    "a manager of nothing": {"role": access_pb2.ROLE_FACTORY_MANAGER},
    "a factory that is none": {"role": access_pb2.ROLE_FACTORY_MANAGER, "factory_id": "mine"},
    "no request id": {"request_id": ""},
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=WRONG)
async def test_wrong_people_are_refused(admin: Person, fields: dict[str, object]) -> None:
    assert await refused(admin.create(**fields)) == "VALIDATION_FAILED"


async def test_hostile_text_is_text(admin: Person) -> None:
    name = "=cmd|'/c calc'!A1'; DROP TABLE users; --"
    user = await admin.create(name=name)
    assert (await admin.call("GetUser", user_id=user.user_id)).user.name == name
    assert not (await admin.call("ListUsers", email="' OR true --")).users


async def test_lists_are_paged_filtered_and_bound_to_their_caller(door: Door, admin: Person) -> None:
    factory = str(uuid4())
    made = [
        (await admin.create(role=access_pb2.ROLE_FACTORY_OPERATOR, factory_id=factory, name=f"N{i}")).user_id
        for i in range(5)
    ]
    seen, token = [], ""
    while True:
        page = await admin.call("ListUsers", factory_id=factory, page_size=2, page_token=token)
        seen += [user.user_id for user in page.users]
        token, last = page.next_page_token, token or page.next_page_token
        if not token:
            break
    assert seen == made[::-1]
    assert await refused(admin.call("ListUsers", page_size=2, page_token=last)) == "PAGE_TOKEN_INVALID"
    other = await door.admin()
    stolen = other.call("ListUsers", factory_id=factory, page_size=2, page_token=last)
    assert await refused(stolen) == "PAGE_TOKEN_INVALID"
    await admin.call("DisableUser", user_id=made[0])
    await admin.call("DeleteUser", user_id=made[1])
    disabled = await admin.call("ListUsers", factory_id=factory, state=user_pb2.USER_STATE_DISABLED)
    assert [user.user_id for user in disabled.users] == made[:1]
    assert len((await admin.call("ListUsers", factory_id=factory)).users) == 4
    assert not (await admin.call("ListUsers", factory_id=factory, role=access_pb2.ROLE_SUPPORT)).users


async def test_a_mask_names_what_changes_and_nothing_else_does(admin: Person) -> None:
    user = await admin.create()
    renamed = await admin.update(user.user_id, ["name"], name="Renamed", role=access_pb2.ROLE_ADMIN)
    assert (renamed.name, renamed.role) == ("Renamed", access_pb2.ROLE_SUPPORT)
    moved = await admin.update(
        user.user_id, ["role", "factory_id"], role=access_pb2.ROLE_FACTORY_MANAGER, factory_id=FACTORY
    )
    assert (moved.role, moved.factory_id) == (access_pb2.ROLE_FACTORY_MANAGER, FACTORY)
    assert await refused(admin.update(user.user_id, ["role"], role=access_pb2.ROLE_SUPPORT)) == "VALIDATION_FAILED"
    for mask in (["state"], ["password_hash"], ["user_id"], ["*"], [], ["name", "created_at"]):
        assert await refused(admin.update(user.user_id, mask, name="X")) == "VALIDATION_FAILED", mask
    for mask in (["name"], ["email"], ["role"], ["factory_id"]):
        assert await refused(admin.update(user.user_id, mask)) == "VALIDATION_FAILED", mask
    other = await admin.create()
    assert await refused(admin.update(user.user_id, ["email"], email=other.email.upper())) == "EMAIL_TAKEN"


async def test_nobody_changes_their_own_rights(admin: Person) -> None:
    for role, factory in ((access_pb2.ROLE_AUDITOR, ""), (access_pb2.ROLE_FACTORY_MANAGER, FACTORY)):
        change = admin.update(admin.user_id, ["role", "factory_id"], role=role, factory_id=factory)
        assert await refused(change) == "OWN_RIGHTS"
    assert (await admin.update(admin.user_id, ["name"], name="My Self")).name == "My Self"


async def test_roles_below_admin_change_nobody(door: Door, admin: Person) -> None:
    for role in (access_pb2.ROLE_AUDITOR, access_pb2.ROLE_SUPPORT):
        person = await door.add(admin, role)
        for change in (
            person.create(),
            person.update(person.user_id, ["role"], role=access_pb2.ROLE_ADMIN),
            person.call("DisableUser", user_id=admin.user_id),
            person.call("DeleteUser", user_id=admin.user_id),
            person.call("SendPasswordReset", user_id=admin.user_id),
        ):
            assert await refused(change) == "ACCESS_DENIED"
        reads = [person.call("GetUser", user_id=admin.user_id), person.call("ListUsers")]
        if role == access_pb2.ROLE_AUDITOR:
            assert all(await asyncio.gather(*reads))
        else:
            assert [await refused(read) for read in reads] == ["ACCESS_DENIED"] * 2
        assert (await person.me()).role == role


async def test_a_token_that_outlives_its_role_changes_nobody(door: Door, admin: Person) -> None:
    other = await door.admin()
    await admin.update(other.user_id, ["role"], role=access_pb2.ROLE_AUDITOR)
    for change in (other.create(), other.update(other.user_id, ["role"], role=access_pb2.ROLE_ADMIN)):
        assert await refused(change) == "ACCESS_DENIED"
    assert await refused(door.auth.Refresh(auth_pb2.RefreshRequest(refresh_token=other.tokens.refresh_token))) == (
        "CREDENTIALS_INVALID"
    )


async def test_disabled_people_are_kept_out_until_enabled(door: Door, admin: Person) -> None:
    person = await door.add(admin)
    disabled = (await admin.call("DisableUser", user_id=person.user_id)).user
    assert disabled.state == user_pb2.USER_STATE_DISABLED
    assert await refused(door.login(person.email)) == "LOGIN_REFUSED"
    refresh = door.auth.Refresh(auth_pb2.RefreshRequest(refresh_token=person.tokens.refresh_token))
    assert await refused(refresh) == "CREDENTIALS_INVALID"
    assert await refused(admin.call("SendPasswordReset", user_id=person.user_id)) == "USER_STATE_CONFLICT"
    again = (await admin.call("DisableUser", user_id=person.user_id)).user
    assert again == disabled
    assert (await admin.call("DisableUser", user_id=person.user_id, enable=True)).user.state == (
        user_pb2.USER_STATE_ACTIVE
    )
    await door.login(person.email)


async def test_the_forgotten_leave_no_trace_but_their_id(ground: Ground, door: Door, admin: Person) -> None:
    name = f"Name {uuid4().hex}"
    person = await door.add(admin, name=name)
    await admin.update(person.user_id, ["name"], name=name + " II")
    request_id = str(uuid4())
    gone = (await admin.call("DeleteUser", user_id=person.user_id, request_id=request_id)).user
    assert (gone.email, gone.name, gone.state) == ("", "", user_pb2.USER_STATE_DELETED)
    assert (await admin.call("DeleteUser", user_id=person.user_id, request_id=request_id)).user == gone
    assert await refused(door.login(person.email)) == "LOGIN_REFUSED"
    assert await refused(admin.update(person.user_id, ["name"], name="Back")) == "USER_STATE_CONFLICT"
    assert await refused(admin.call("DisableUser", user_id=person.user_id, enable=True)) == "USER_STATE_CONFLICT"
    async with ground.owner() as owner:
        tables = ("users", "audit", "sessions", "password_resets", "idempotency", "login_failures")
        for table in tables:
            rows = await owner.fetch(f"SELECT to_jsonb(t)::text AS row FROM {table} t")
            assert not [row for row in rows if person.email in row["row"] or name in row["row"]], table
        kept = await owner.fetch(
            "SELECT * FROM audit WHERE result = 'OK' AND resource = $1 ORDER BY audit_id", f"user/{person.user_id}"
        )
        assert [row["method"].split("/")[-1] for row in kept] == [
            *("CreateUser", "ResetPassword", "UpdateUser", "DeleteUser")
        ]
        assert json.loads(kept[-1]["detail"]) == {"state": {"before": "active", "after": "deleted"}}
        assert {(row["actor_kind"], row["actor_id"]) for row in kept} == {
            ("user", admin.user_id),
            ("user", person.user_id),
        }
    await admin.create(email=person.email)


async def test_a_factory_is_said_in_the_token(door: Door, admin: Person) -> None:
    import jwt

    person = await door.add(admin, access_pb2.ROLE_FACTORY_OPERATOR, factory_id=FACTORY)
    claims = jwt.decode(person.tokens.access_token, options={"verify_signature": False})
    assert (claims["role"], claims["factory"], claims["sub"]) == ("factory_operator", FACTORY, person.user_id)
    assert claims["exp"] - claims["iat"] == 600


async def test_an_email_that_cannot_be_sent_adds_nobody(ground: Ground) -> None:
    blocked = ground.folder / "no-folder"
    blocked.write_text("a file")
    async with ground.server(mail_folder=blocked) as door:
        admin = await door.admin()
        email = f"unmailed-{uuid4().hex[:8]}@example.com"
        assert await refused(admin.create(email=email)) == "DEPENDENCY_UNAVAILABLE"
        assert not (await admin.call("ListUsers", email=email)).users


async def test_two_admins_cannot_take_each_other_away_at_once(ground: Ground, door: Door) -> None:
    async with ground.owner() as owner:
        others = await owner.fetch("UPDATE users SET state = 'disabled' WHERE role = 'admin' RETURNING user_id")
    one, two = await door.admin(), await door.admin()
    for method, fields in (
        ("DisableUser", {}),
        ("DeleteUser", {}),
        ("UpdateUser", {"update_mask": {"paths": ["role"]}, "role": access_pb2.ROLE_SUPPORT}),
    ):
        calls = (one.call(method, user_id=two.user_id, **fields), two.call(method, user_id=one.user_id, **fields))
        results = await asyncio.gather(*calls, return_exceptions=True)
        failed = [r for r in results if isinstance(r, grpc.aio.AioRpcError)]
        assert len(failed) == 1, results
        assert reason_of(failed[0]) in {"ACCESS_DENIED", "LAST_ADMIN"}
        left = one if results[0] not in failed else two
        assert await refused(left.call("DisableUser", user_id=left.user_id)) == "LAST_ADMIN"
        assert await refused(left.call("DeleteUser", user_id=left.user_id)) == "LAST_ADMIN"
        assert (await left.me()).state == user_pb2.USER_STATE_ACTIVE
        one, two = left, await door.admin()
    async with ground.owner() as owner:
        ids = [row["user_id"] for row in others]
        await owner.execute("UPDATE users SET state = 'active' WHERE user_id = ANY($1)", ids)


async def test_another_s_id_gets_a_person_nothing(door: Door, admin: Person) -> None:
    person = await door.add(admin, access_pb2.ROLE_FACTORY_MANAGER, factory_id=FACTORY)
    theirs, nobodys = person.call("GetUser", user_id=admin.user_id), person.call("GetUser", user_id=str(uuid4()))
    assert await refused(theirs) == await refused(nobodys) == "ACCESS_DENIED"
    bare = door.users.GetUser(user_pb2.GetUserRequest(user_id=admin.user_id), metadata=at(new_address()))
    assert await refused(bare) == "CREDENTIALS_MISSING"
