"""The first admin, made on the machine by whoever holds the database's password; and any other whom nobody else can."""

from dataclasses import dataclass
from uuid import UUID

from admin.passwords import Passwords, check_password
from admin.resets import write_password
from admin.store import Store
from admin.users import User, check_user, insert, normal_email
from mesh import audit
from mesh.clock import Clock, IdSource
from mesh.identity import Principal, set_caller

METHOD = "voketag admin create"


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes admins without asking one."""

    store: Store
    passwords: Passwords
    clock: Clock
    new_id: IdSource

    async def create(self, email: str, name: str, password: str) -> User:
        """An active admin with a password. Raises EmailTaken, PasswordRefused, ValidationFailed."""
        email = normal_email(email)
        check_user(email=email, name=name, role="admin", factory_id=None)
        check_password(password, email=email, name=name)
        phc = await self.passwords.hash(password)
        set_caller(Principal("operator", ""))
        audit.open_ledger(METHOD)
        async with self.store.transaction() as connection:
            new: UUID = self.new_id()
            user = await insert(
                connection, self.store, user_id=new, email=email, name=name, role="admin", factory_id=None
            )
            await write_password(connection, self.store, new, phc, self.clock)
            return user
