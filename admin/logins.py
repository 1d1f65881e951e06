"""Logging in with a password, and changing it."""

from uuid import UUID

from admin.lockout import Lockout
from admin.passwords import Passwords, check_password
from admin.resets import write_password
from admin.sessions import Sessions, Tokens
from admin.store import Store
from admin.users import User, normal_email
from mesh.clock import Clock
from mesh.errors import LoginRefused
from mesh.identity import Principal, address, set_caller


class Logins:
    """Checks passwords. Whether there is such a person shows neither in the answer nor in how long it takes."""

    def __init__(
        self, store: Store, passwords: Passwords, lockout: Lockout, sessions: Sessions, *, clock: Clock
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._lockout = lockout
        self._sessions = sessions
        self._clock = clock

    async def login(self, email: str, password: str) -> tuple[User, Tokens]:
        """A session. Raises LoginRefused, LoginLocked."""
        email = normal_email(email)
        await self._lockout.charge(email, address())
        async with self._store.connection() as connection:
            row = await self._store.sql.select_credentials(connection, email=email)
        phc = None if row is None else row["password_hash"]
        if not await self._passwords.fits(password, phc) or phc is None:
            raise LoginRefused
        await self._lockout.clear(email, address())
        newer = await self._passwords.hash(password) if self._passwords.outdated(phc) else None
        async with self._store.transaction() as connection:
            proved = await self._store.sql.lock_proved(connection, user_id=row["user_id"], password_hash=phc)
            if proved is None:
                raise LoginRefused
            user = User(**dict(proved))
            set_caller(Principal("user", str(user.user_id)))
            if newer is not None:
                await self._store.sql.set_password(connection, user_id=user.user_id, password_hash=newer)
            return user, await self._sessions.open(connection, user)

    async def change_password(self, user_id: UUID, current: str, new: str) -> None:
        """Ends all sessions too. Raises LoginRefused, LoginLocked, PasswordRefused."""
        async with self._store.connection() as connection:
            row = await self._store.sql.select_password(connection, user_id=user_id)
        if row is None:
            raise LoginRefused
        await self._lockout.charge(row["email"], address())
        if not await self._passwords.fits(current, row["password_hash"]):
            raise LoginRefused
        await self._lockout.clear(row["email"], address())
        check_password(new, email=row["email"], name=row["name"])
        phc = await self._passwords.hash(new)
        async with self._store.transaction() as connection:
            old = row["password_hash"]
            if await self._store.sql.lock_proved(connection, user_id=user_id, password_hash=old) is None:
                raise LoginRefused
            await write_password(connection, self._store, user_id, phc, self._clock)
