"""People: who there is, in which role, and who may change that."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from admin.resets import INVITATION, RESET, Resets
from admin.store import Store
from mesh import audit, idempotency
from mesh.clock import Clock, IdSource
from mesh.database import Connection
from mesh.error import FieldViolation
from mesh.errors import AccessDenied, LastAdmin, OwnRights, UserNotFound, UserStateConflict, ValidationFailed
from mesh.idempotency import RequestKey
from mesh.identity import Principal
from mesh.paging import PageTokens

FACTORY_ROLES = ("factory_manager", "factory_operator")
PAGE_SIZE = 100
NEWEST = UUID(int=2**128 - 1)
ACTIVE, DISABLED, DELETED = "active", "disabled", "deleted"
RIGHTS = ("role", "factory_id", "state")


@dataclass(frozen=True, slots=True)
class User:
    """A person; `email` is in lower case, None when the person is forgotten."""

    user_id: UUID
    email: str | None
    name: str
    role: str
    factory_id: UUID | None
    state: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which people to list; None means any, and of states any but deleted."""

    role: str | None = None
    state: str | None = None
    factory_id: UUID | None = None
    email: str | None = None


def normal_email(email: str) -> str:
    """The one form of an email."""
    return email.strip().lower()


def check_user(*, email: str | None, name: str, role: str, factory_id: UUID | None) -> None:
    """Raises ValidationFailed: what a field mask puts together is only known here."""
    rules = (
        ("email", bool(email), "has to be there"),
        ("name", bool(name.strip()) and name.isprintable(), "has to be printable text"),
        ("role", role != "unspecified", "has to be there"),
        ("factory_id", (role in FACTORY_ROLES) == (factory_id is not None), "is of managers and operators alone"),
    )
    wrong = tuple(FieldViolation(field, "user", text) for field, fits, text in rules if not fits)
    if wrong:
        raise ValidationFailed(violations=wrong, summary="; ".join(f"{v.field}: {v.description}" for v in wrong))


class Users:
    """Adds, finds and changes people. Each change is one transaction, with its audit row."""

    def __init__(self, store: Store, resets: Resets, pages: PageTokens, clock: Clock, *, new_id: IdSource) -> None:
        self._store = store
        self._resets = resets
        self._pages = pages
        self._clock = clock
        self._new_id = new_id

    async def create(
        self, actor: Principal, request: RequestKey, *, email: str, name: str, role: str, factory_id: UUID | None
    ) -> User:
        """Adds a person and mails them; if the mail cannot be sent, nobody is added.

        Raises EmailTaken, AccessDenied, ValidationFailed, RequestIdReused, DependencyUnavailable.
        """
        email = normal_email(email)
        check_user(email=email, name=name, role=role, factory_id=factory_id)
        async with self._store.transaction() as connection:
            await self._authorise(connection, actor)
            new = self._new_id()
            first = await idempotency.claim(connection, request, new)
            if first is not None:
                return await self._user(connection, first)
            user = await insert(
                connection, self._store, user_id=new, email=email, name=name, role=role, factory_id=factory_id
            )
            await _record(connection, user, request.request_id, _shown(user))
            await self._resets.send(connection, user.user_id, email, INVITATION)
            return user

    async def get(self, user_id: UUID) -> User:
        """Raises UserNotFound."""
        async with self._store.connection() as connection:
            return await self._user(connection, user_id)

    async def list(
        self, actor: Principal, wanted: Wanted, *, page_size: int, page_token: str
    ) -> tuple[list[User], str]:
        """A page of at most `page_size`, 0 meaning 100, and the token of the next. Raises PageTokenInvalid."""
        scope = f"users:{actor}:{wanted}"
        before = UUID(self._pages.decode(page_token, scope=scope)) if page_token else NEWEST
        size = page_size or PAGE_SIZE
        async with self._store.connection() as connection:
            rows = self._store.sql.select_users(connection, before=before, page_size=size + 1, **asdict(wanted))
            found = [User(**dict(row)) async for row in rows]
        more = self._pages.encode(str(found[size - 1].user_id), scope=scope) if len(found) > size else ""
        return found[:size], more

    async def update(self, actor: Principal, request: RequestKey, user_id: UUID, changes: Mapping[str, Any]) -> User:
        """Changes some of name, email, role and factory_id.

        Raises UserNotFound, UserStateConflict, EmailTaken, OwnRights, LastAdmin, AccessDenied, ValidationFailed.
        """
        return await self._change(actor, request, user_id, changes)

    async def set_state(self, actor: Principal, request: RequestKey, user_id: UUID, state: str) -> User:
        """Keeps a person out, lets them in again, or forgets who they are; what `update` raises."""
        forgotten: dict[str, Any] = {"email": None, "name": ""} if state == DELETED else {}
        return await self._change(actor, request, user_id, {"state": state, **forgotten})

    async def send_reset(self, actor: Principal, request: RequestKey, user_id: UUID) -> None:
        """Mails a person; if the mail cannot be sent, nothing is done, and the same request tries again.

        Raises UserNotFound, UserStateConflict, AccessDenied, RequestIdReused, DependencyUnavailable.
        """
        async with self._store.transaction() as connection:
            await self._authorise(connection, actor)
            user = await self._user(connection, user_id)
            if await idempotency.claim(connection, request, user_id) is not None:
                return
            if user.email is None or user.state != ACTIVE:
                raise UserStateConflict(state=user.state)
            await _record(connection, user, request.request_id, {"reset": "sent"})
            await self._resets.send(connection, user.user_id, user.email, RESET)

    async def _change(self, actor: Principal, request: RequestKey, user_id: UUID, changes: Mapping[str, Any]) -> User:
        async with self._store.transaction() as connection:
            await self._store.sql.lock_rights(connection)
            await self._authorise(connection, actor)
            old = await self._user(connection, user_id)
            if await idempotency.claim(connection, request, user_id) is not None:
                return old
            new = replace(old, **changes)
            if old.state == DELETED and old != new:
                raise UserStateConflict(state=old.state)
            if new.state != DELETED:
                check_user(email=new.email, name=new.name, role=new.role, factory_id=new.factory_id)
            if str(user_id) == actor.id and (old.role, old.factory_id) != (new.role, new.factory_id):
                raise OwnRights
            return await self._write(connection, old, new, request.request_id)

    async def _write(self, connection: Connection, old: User, new: User, request_id: UUID) -> User:
        values, before, after = asdict(new), _shown(old), _shown(new)
        changed = {field for field, value in asdict(old).items() if value != values[field]}
        if not changed:
            audit.replayed()
            return old
        del values["created_at"], values["updated_at"]
        user = User(**dict(await self._store.sql.update_user(connection, **values)))
        if new.state == DELETED:
            await self._store.sql.drop_factor(connection, user_id=user.user_id)
            await self._store.sql.drop_links(connection, user_id=user.user_id)
        if not await self._store.sql.count_admins(connection):
            raise LastAdmin
        if {*RIGHTS, "email"} & changed:
            await self._store.sql.end_sessions(connection, user_id=user.user_id, now=self._clock.now())
            await self._store.sql.drop_resets(connection, user_id=user.user_id)
        # What is forgotten must not live on in the audit.
        told = {"state"} if new.state == DELETED else changed
        await _record(
            connection, user, request_id, {field: audit.change(before[field], after[field]) for field in sorted(told)}
        )
        return user

    async def _user(self, connection: Connection, user_id: UUID) -> User:
        row = await self._store.sql.select_user(connection, user_id=user_id)
        if row is None:
            raise UserNotFound(user_id=user_id)
        return User(**dict(row))

    async def _authorise(self, connection: Connection, actor: Principal) -> None:
        await authorise(connection, self._store, actor)


async def authorise(
    connection: Connection, store: Store, actor: Principal, roles: frozenset[str] = frozenset({"admin"})
) -> None:
    """A token lives on for minutes after a role was taken away; what weighs looks again. Raises AccessDenied."""
    row = await store.sql.select_user(connection, user_id=actor.uuid)
    if row is None or row["role"] not in roles or row["state"] != ACTIVE:
        raise AccessDenied


async def insert(connection: Connection, store: Store, **columns: object) -> User:
    """A new person, checked before. Raises EmailTaken."""
    return User(**dict(await store.sql.insert_user(connection, **columns)))


def _shown(user: User) -> dict[str, object]:
    """What the audit says of a person: emails masked, names not at all, since they could never be forgotten."""
    return {
        "email": _masked(user.email),
        "name": "set" if user.name else "",
        "role": user.role,
        "factory_id": user.factory_id,
        "state": user.state,
    }


def _masked(email: str | None) -> str:
    local, _, domain = (email or "").partition("@")
    return f"{local[:1]}…@{domain}" if email else ""


async def _record(connection: Connection, user: User, request_id: UUID | None, detail: Mapping[str, object]) -> None:
    await audit.record(connection, resource=f"user/{user.user_id}", request_id=request_id, detail=detail)
