"""Logging in with a password, and changing it."""

from typing import Any
from uuid import UUID

from admin.lockout import Lockout
from admin.passwords import Passwords, check_password
from admin.resets import write_password
from admin.second_factors import SecondFactors
from admin.sessions import Sessions, Tokens
from admin.store import Store
from admin.users import User, normal_email
from mesh.clock import Clock
from mesh.errors import LoginRefused
from mesh.identity import Principal, address, set_caller


class Logins:
    """Checks passwords. Whether there is such a person shows neither in the answer nor in how long it takes."""

    def __init__(
        self,
        store: Store,
        passwords: Passwords,
        lockout: Lockout,
        sessions: Sessions,
        *,
        factors: SecondFactors,
        clock: Clock,
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._lockout = lockout
        self._sessions = sessions
        self._factors = factors
        self._clock = clock

    async def login(self, email: str, password: str, code: str) -> tuple[User, Tokens]:
        """A session. Raises LoginRefused, LoginLocked, SecondFactorRequired."""
        email = normal_email(email)
        await self._lockout.charge(email, address())
        async with self._store.connection() as connection:
            row = await self._store.sql.select_credentials(connection, email=email)
        phc = None if row is None else row["password_hash"]
        if not await self._passwords.fits(password, phc) or phc is None:
            raise LoginRefused
        newer = await self._passwords.hash(password) if self._passwords.outdated(phc) else None
        async with self._store.transaction() as connection:
            proved = await self._store.sql.lock_proved(connection, user_id=row["user_id"], password_hash=phc)
            if proved is None:
                raise LoginRefused
            user = User(**dict(proved))
            await self._factors.check(connection, user.user_id, code)
            set_caller(Principal("user", str(user.user_id), roles=frozenset({user.role})))
            if newer is not None:
                await self._store.sql.set_password(connection, user_id=user.user_id, password_hash=newer)
            tokens = await self._sessions.open(connection, user)
        await self._lockout.clear(email, address())
        return user, tokens

    async def change_password(self, user_id: UUID, current: str, new: str) -> None:
        """Ends all sessions too. Raises LoginRefused, LoginLocked, PasswordRefused."""
        row = await self._prove(user_id, current)
        check_password(new, email=row["email"], name=row["name"])
        phc = await self._passwords.hash(new)
        async with self._store.transaction() as connection:
            old = row["password_hash"]
            if await self._store.sql.lock_proved(connection, user_id=user_id, password_hash=old) is None:
                raise LoginRefused
            await write_password(connection, self._store, user_id, phc, self._clock)

    async def enrol(self, user_id: UUID, password: str) -> tuple[str, str]:
        """Secret and URI of a second factor to be confirmed. Raises LoginRefused, LoginLocked, SecondFactorConflict."""
        row = await self._prove(user_id, password)
        return await self._factors.enrol(user_id, row["email"])

    async def confirm(self, user_id: UUID, code: str) -> list[str]:
        """Recovery codes; the second factor counts now. Raises LoginRefused, LoginLocked, SecondFactorConflict."""
        email = await self._charge(user_id)
        codes = await self._factors.confirm(user_id, code)
        await self._lockout.clear(email, address())
        return codes

    async def remove(self, user_id: UUID, code: str) -> None:
        """The password is enough from now on. Raises LoginRefused, LoginLocked, SecondFactorConflict."""
        email = await self._charge(user_id)
        await self._factors.remove(user_id, code)
        await self._lockout.clear(email, address())

    async def _charge(self, user_id: UUID) -> str:
        """The email of somebody who may try a code now: codes are guessed as passwords are."""
        row = await self._known(user_id)
        await self._lockout.charge(row["email"], address())
        return str(row["email"])

    async def _prove(self, user_id: UUID, password: str) -> Any:
        """The row of somebody who knows their password. Raises LoginRefused, LoginLocked."""
        row = await self._known(user_id)
        await self._lockout.charge(row["email"], address())
        if not await self._passwords.fits(password, row["password_hash"]):
            raise LoginRefused
        await self._lockout.clear(row["email"], address())
        return row

    async def _known(self, user_id: UUID) -> Any:
        async with self._store.connection() as connection:
            row = await self._store.sql.select_password(connection, user_id=user_id)
        if row is None:
            raise LoginRefused
        return row
