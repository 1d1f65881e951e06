"""Choosing a password without knowing the old one: a token that is mailed, kept as a hash, and good once."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import structlog

from admin.mail import Mail, Mailer
from admin.passwords import Passwords, check_password
from admin.store import Store
from mesh import audit
from mesh.clock import Clock
from mesh.database import Connection
from mesh.error import VokeTagError
from mesh.errors import DependencyUnavailable, ResetInvalid
from mesh.identity import Principal, set_caller
from mesh.tasks import end

log = structlog.get_logger()
TOKEN_BYTES = 32
RESET, INVITATION = timedelta(minutes=30), timedelta(hours=24)
BETWEEN_MAILS = timedelta(minutes=1)
WAITING = 1000
SUBJECT = "VokeTag: your password · sua senha · su contraseña"
TEXT = """\
EN  To choose a password for VokeTag, use this token within {minutes} minutes. It is good once.
    If you did not ask for it, do nothing: your password stays as it is.

PT  Para escolher uma senha da VokeTag, use este token dentro de {minutes} minutos. Ele vale uma vez.
    Se você não o pediu, não faça nada: sua senha continua como está.

ES  Para elegir una contraseña de VokeTag, use este token en un plazo de {minutes} minutos. Vale una vez.
    Si no lo pidió, no haga nada: su contraseña sigue como está.

{token}
"""


def token_hash(token: str) -> bytes:
    """What is kept of a token: it has 256 bits, so one round is enough."""
    return hashlib.sha256(token.encode()).digest()


class Resets:
    """Mails tokens and takes them.

    A process that dies before the transaction ends has sent a token that nobody knows; after it, one that is good.
    """

    def __init__(
        self, store: Store, passwords: Passwords, mailer: Mailer, clock: Clock, *, random_bytes: Callable[[int], bytes]
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._mailer = mailer
        self._clock = clock
        self._random = random_bytes
        self._asked: asyncio.Queue[str] = asyncio.Queue(WAITING)

    async def send(self, connection: Connection, user_id: UUID, email: str, lifetime: timedelta) -> None:
        """Mails a new token, in a transaction that is not committed yet. Raises DependencyUnavailable."""
        token = base64.urlsafe_b64encode(self._random(TOKEN_BYTES)).rstrip(b"=").decode()
        now = self._clock.now()
        await self._store.sql.insert_reset(
            connection, token_hash=token_hash(token), user_id=user_id, created_at=now, expires_at=now + lifetime
        )
        minutes = int(lifetime.total_seconds() // 60)
        await self._mailer.send(Mail(email, SUBJECT, TEXT.format(minutes=minutes, token=token)))

    def ask(self, email: str) -> None:
        """Somebody forgot a password: whether there is such a person is found out later, so the answer does not tell.

        What waits is lost with the process. Raises DependencyUnavailable when too many wait.
        """
        try:
            self._asked.put_nowait(email)
        except asyncio.QueueFull:
            raise DependencyUnavailable(dependency="mail") from None

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Mails those who asked, one after the other."""
        task = asyncio.create_task(self._answer())
        try:
            yield
        finally:
            await end(task)

    async def _answer(self) -> None:
        while True:
            email = await self._asked.get()
            try:
                async with self._store.transaction() as connection:
                    before = self._clock.now() - BETWEEN_MAILS
                    row = await self._store.sql.select_resettable(connection, email=email, sent_before=before)
                    if row is not None:
                        await self.send(connection, row["user_id"], email, RESET)
            except VokeTagError as error:
                log.warning("a password mail was not sent", error=str(error))

    async def reset(self, token: str, password: str) -> None:
        """Sets the password of whose token it is. Raises ResetInvalid, PasswordRefused."""
        hashed, now = token_hash(token), self._clock.now()
        async with self._store.connection() as connection:
            row = await self._store.sql.select_reset(connection, token_hash=hashed, now=now)
        if row is None:
            raise ResetInvalid
        check_password(password, email=row["email"], name=row["name"])
        phc = await self._passwords.hash(password)
        async with self._store.transaction() as connection:
            used = await self._store.sql.use_reset(connection, token_hash=hashed, now=self._clock.now())
            if used is None:
                raise ResetInvalid
            set_caller(Principal("user", str(used["user_id"]), roles=frozenset({used["role"]})))
            await write_password(connection, self._store, used["user_id"], phc, self._clock)


async def write_password(connection: Connection, store: Store, user_id: UUID, phc: str, clock: Clock) -> None:
    """Sets a password, ends all sessions and takes back all tokens to choose one, on the record."""
    await store.sql.set_password(connection, user_id=user_id, password_hash=phc)
    await store.sql.end_sessions(connection, user_id=user_id, now=clock.now())
    await store.sql.drop_resets(connection, user_id=user_id)
    detail = {"password": audit.change(audit.MASKED, audit.MASKED)}
    await audit.record(connection, resource=f"user/{user_id}", request_id=None, detail=detail)
