"""A second proof beside the password: codes of an authenticator (TOTP, RFC 6238), and recovery codes."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Any
from urllib.parse import quote
from uuid import UUID

from admin.mail import Mail, Mailer
from admin.store import Store
from admin.users import ACTIVE, authorise
from mesh import audit, idempotency
from mesh.clock import Clock
from mesh.database import Connection
from mesh.errors import (
    LoginRefused,
    OwnRights,
    SecondFactorConflict,
    SecondFactorRequired,
    UserNotFound,
    UserStateConflict,
)
from mesh.idempotency import RequestKey
from mesh.identity import Principal

STEP_SECONDS, DIGITS, SKEW_STEPS = 30, 6, 1
SECRET_BYTES, NONCE_BYTES = 20, 16
RECOVERY_CODES, RECOVERY_BYTES = 10, 10
TAKEN_SUBJECT = "VokeTag: your second factor · seu segundo fator · su segundo factor"
TAKEN_TEXT = """\
EN  An administrator took the second factor of your VokeTag login away: your password alone opens it now, and you
    were logged out everywhere. Enrol another one when you have logged in.
    If you did not ask for it, tell your administrators at once.

PT  Um administrador removeu o segundo fator do seu acesso à VokeTag: agora basta a sua senha, e todas as suas
    sessões foram encerradas. Cadastre outro assim que entrar.
    Se você não o pediu, avise os administradores imediatamente.

ES  Un administrador quitó el segundo factor de su acceso a VokeTag: ahora basta su contraseña, y todas sus
    sesiones se cerraron. Registre otro en cuanto entre.
    Si no lo pidió, avise a los administradores de inmediato.
"""


def totp(secret: bytes, step: int, digits: int = DIGITS) -> str:
    """The code of a time step (RFC 6238, over HOTP of RFC 4226 with SHA-1)."""
    mac = hmac.digest(secret, step.to_bytes(8), "sha1")
    offset = mac[-1] & 0xF
    number = int.from_bytes(mac[offset : offset + 4]) & 0x7FFF_FFFF
    return f"{number % 10**digits:0{digits}d}"


def recovery_hash(code: str) -> bytes:
    """What is kept of a recovery code, however it is typed: it has 80 bits, so one round is enough."""
    return hashlib.sha256(code.replace("-", "").replace(" ", "").upper().encode()).digest()


class SecondFactors:
    """Enrols, confirms, checks and removes second factors."""

    def __init__(
        self, store: Store, clock: Clock, *, root: bytes, random_bytes: Callable[[int], bytes], mailer: Mailer
    ) -> None:
        self._store = store
        self._mailer = mailer
        self._clock = clock
        self._root = root
        self._random = random_bytes

    async def is_on(self, user_id: UUID) -> bool:
        """Whether logging in takes a code."""
        async with self._store.connection() as connection:
            return bool(await self._store.sql.has_factor(connection, user_id=user_id))

    async def enrol(self, user_id: UUID, email: str) -> tuple[str, str]:
        """Secret and URI for an authenticator. Raises SecondFactorConflict when one counts already."""
        nonce = self._random(NONCE_BYTES)
        async with self._store.transaction() as connection:
            if await self._store.sql.enrol_factor(connection, user_id=user_id, nonce=nonce) is None:
                raise SecondFactorConflict(state="a")
            await _record(connection, user_id, "off", "enrolled")
        secret = base64.b32encode(self._secret(nonce)).decode()
        return secret, f"otpauth://totp/VokeTag:{quote(email)}?secret={secret}&issuer=VokeTag"

    async def confirm(self, user_id: UUID, code: str) -> list[str]:
        """Recovery codes. Raises LoginRefused, SecondFactorConflict."""
        codes = [base64.b32encode(self._random(RECOVERY_BYTES)).decode() for _ in range(RECOVERY_CODES)]
        async with self._store.transaction() as connection:
            row = await self._store.sql.lock_factor(connection, user_id=user_id)
            if row is None or row["confirmed"]:
                raise SecondFactorConflict(state="no" if row is None else "a")
            step = self._step(row, code)
            if step is None:
                raise LoginRefused
            hashes = [recovery_hash(code) for code in codes]
            await self._store.sql.confirm_factor(connection, user_id=user_id, step=step, recovery=hashes)
            await _record(connection, user_id, "enrolled", "on")
        return [f"{code[:4]}-{code[4:8]}-{code[8:12]}-{code[12:]}" for code in codes]

    async def remove(self, user_id: UUID, code: str) -> None:
        """Raises LoginRefused, SecondFactorConflict."""
        async with self._store.transaction() as connection:
            if not await self._store.sql.has_factor(connection, user_id=user_id):
                raise SecondFactorConflict(state="no")
            await self.check(connection, user_id, code)
            await self._store.sql.drop_factor(connection, user_id=user_id)
            await _record(connection, user_id, "on", "off")

    async def take_away(self, actor: Principal, request: RequestKey, user_id: UUID) -> None:
        """Removes the factor of an active person who lost it, without a code, ends their sessions and mails them.

        If the mail cannot be sent, nothing is done, and the same request tries again. Raises UserNotFound,
        UserStateConflict, OwnRights, SecondFactorConflict, AccessDenied, RequestIdReused, DependencyUnavailable.
        """
        if str(user_id) == actor.id:
            raise OwnRights
        async with self._store.transaction() as connection:
            await authorise(connection, self._store, actor)
            user = await self._store.sql.select_user(connection, user_id=user_id)
            if user is None:
                raise UserNotFound(user_id=user_id)
            if await idempotency.claim(connection, request, user_id) is not None:
                return
            if user["state"] != ACTIVE:
                raise UserStateConflict(state=user["state"])
            # Held from here on: a login that has it now is ended below, and one that waits for it needs no code.
            row = await self._store.sql.lock_factor(connection, user_id=user_id)
            if row is None or not row["confirmed"]:
                raise SecondFactorConflict(state="no")
            await self._store.sql.drop_factor(connection, user_id=user_id)
            await self._store.sql.end_sessions(connection, user_id=user_id, now=self._clock.now())
            await _record(connection, user_id, "on", "off", request.request_id)
            await self._mailer.send(Mail(user["email"], TAKEN_SUBJECT, TAKEN_TEXT))

    async def check(self, connection: Connection, user_id: UUID, code: str) -> None:
        """Uses a code up, where one is needed. Raises SecondFactorRequired without one, LoginRefused at a wrong one."""
        row = await self._store.sql.lock_factor(connection, user_id=user_id)
        if row is None or not row["confirmed"]:
            return
        if not code:
            raise SecondFactorRequired
        step, hashed = self._step(row, code), recovery_hash(code)
        if step is not None:
            await self._store.sql.use_step(connection, user_id=user_id, step=step)
        elif hashed in row["recovery"]:
            await self._store.sql.use_recovery(connection, user_id=user_id, code_hash=hashed)
        else:
            raise LoginRefused

    def _step(self, row: Any, code: str) -> int | None:
        """The step whose code this is, unless it or a later one was used."""
        now = int(self._clock.now().timestamp()) // STEP_SECONDS
        secret = self._secret(row["nonce"])
        steps = range(max(now - SKEW_STEPS, row["last_step"] + 1), now + SKEW_STEPS + 1)
        return next((step for step in steps if hmac.compare_digest(totp(secret, step).encode(), code.encode())), None)

    def _secret(self, nonce: bytes) -> bytes:
        return hmac.digest(self._root, b"voketag/second-factor/v1" + nonce, "sha256")[:SECRET_BYTES]


async def _record(
    connection: Connection, user_id: UUID, before: str, after: str, request_id: UUID | None = None
) -> None:
    detail = {"second_factor": audit.change(before, after)}
    await audit.record(connection, resource=f"user/{user_id}", request_id=request_id, detail=detail)
