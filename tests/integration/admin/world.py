"""What an admin service stands on, its server, and people at its door."""

import itertools
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
from pydantic import SecretStr
from voketag.admin.v1 import auth_pb2, auth_pb2_grpc, user_pb2, user_pb2_grpc
from voketag.mesh.v1 import access_pb2

from admin.assembly import AdminServer
from admin.config import AdminSettings
from admin.first_admin import Maker
from admin.passwords import Cost, Passwords
from admin.store import Store
from mesh import database
from mesh.clock import Clock, SystemClock, new_id
from mesh.local.secrets import Secrets
from tests.databases import Database
from tests.fakes.boundless import Boundless
from tests.servers import free_port

PASSWORD = "correct horse battery staple"
COST = Cost(memory_kib=64, passes=1)
_addresses = itertools.count(1)


def new_address() -> str:
    """An address that shares its neighbourhood with no other test's."""
    number = next(_addresses)
    return f"10.{number // 250}.{number % 250}.7"


@dataclass(frozen=True)
class Ground:
    """Database and secrets."""

    database: Database
    secrets: Secrets
    folder: Path

    @property
    def mail(self) -> Path:
        return self.folder / "mail"

    def settings(self, **more: Any) -> AdminSettings:
        values: dict[str, Any] = {
            "listen_host": "127.0.0.1",
            "listen_port": free_port(),
            "database_url": self.database.url("admin"),
            "database_password": SecretStr(self.database.server.password),
            "jwks": self.secrets.jwks.read_text(),
            "factory_target": f"127.0.0.1:{free_port()}",
            "scan_target": f"127.0.0.1:{free_port()}",
            "user_keys": SecretStr(self.secrets.user_keys.read_text()),
            "page_key": SecretStr(self.secrets.page_key.read_text()),
            "factor_root": SecretStr(self.secrets.factor_root.read_text()),
            "mail_folder": self.mail,
            "audit_key": SecretStr(self.secrets.audit_key.read_text()),
            "service_key": SecretStr(self.secrets.identity("admin").read_text()),
            "anchor_target": "127.0.0.1:1",
            "argon2_memory_kib": COST.memory_kib,
            "argon2_passes": COST.passes,
            "drain_seconds": 0,
            "grace_seconds": 2,
        }
        return AdminSettings(**(values | more))

    @asynccontextmanager
    async def server(self, *, clock: Clock | None = None, **more: Any) -> AsyncIterator["Door"]:
        """A server in this process, on a real port."""
        settings, clock = self.settings(**more), clock or SystemClock()
        async with AsyncExitStack() as stack:
            pool = await stack.enter_async_context(await database.connect(settings, schema="admin"))
            parts = AdminServer(settings, pool, clock=clock, limiter=Boundless())
            stack.push_async_callback(parts.desk.scan.close)
            stack.push_async_callback(parts.jobs.close)
            await stack.enter_async_context(parts.resets.answering())
            await parts.server.start()
            stack.push_async_callback(parts.server.stop)
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{parts.server.port}")
            await stack.enter_async_context(channel)
            maker = Maker(Store(pool), Passwords(os.urandom, COST), clock, new_id)
            yield Door(self, channel, maker, parts)

    @asynccontextmanager
    async def owner(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        connection = await asyncpg.connect(self.database.dsn)
        try:
            await connection.execute("SET search_path = admin, pg_catalog")
            yield connection
        finally:
            await connection.close()

    def mails_to(self, email: str) -> list[tuple[str, str]]:
        """Subject and text of what was mailed to somebody, the newest last."""
        found = []
        for path in sorted(self.mail.glob("*.eml")):
            assert path.stat().st_mode & 0o777 == 0o600
            message = message_from_bytes(path.read_bytes(), policy=policy.default)
            if message["To"] == email:
                found.append((str(message["Subject"]), str(message.get_content())))
        return found

    def tokens_for(self, email: str) -> list[str]:
        """The tokens mailed to somebody, the newest last."""
        return [text.strip().splitlines()[-1] for _, text in self.mails_to(email)]


@dataclass(frozen=True)
class Door:
    """A server that listens."""

    ground: Ground
    channel: grpc.aio.Channel
    maker: Maker
    parts: AdminServer

    @property
    def auth(self) -> Any:
        return auth_pb2_grpc.AuthServiceStub(self.channel)

    @property
    def users(self) -> Any:
        return user_pb2_grpc.UserServiceStub(self.channel)

    async def login(self, email: str, password: str = PASSWORD, address: str = "") -> auth_pb2.LoginResponse:
        request = auth_pb2.LoginRequest(email=email, password=password)
        answer: auth_pb2.LoginResponse = await self.auth.Login(request, metadata=at(address or new_address()))
        return answer

    async def admin(self) -> "Person":
        """A new admin who is logged in."""
        email = f"admin-{uuid4().hex[:12]}@example.com"
        await self.maker.create(email, "Ada Admin", PASSWORD)
        return await self.person(email)

    async def person(self, email: str, password: str = PASSWORD) -> "Person":
        """Somebody with a password, logged in."""
        opened = await self.login(email, password)
        return Person(self, email, opened.user.user_id, opened.tokens)

    async def add(self, admin: "Person", role: Any = access_pb2.ROLE_SUPPORT, **more: Any) -> "Person":
        """A new person who has chosen a password and is logged in."""
        email = f"person-{uuid4().hex[:12]}@example.com"
        await admin.create(email=email, role=role, **more)
        (token,) = self.ground.tokens_for(email)
        await self.auth.ResetPassword(
            auth_pb2.ResetPasswordRequest(token=token, new_password=PASSWORD), metadata=at(new_address())
        )
        return await self.person(email)


def at(address: str) -> tuple[tuple[str, str], ...]:
    """Comes from there."""
    return (("x-client-address", address),)


@dataclass(frozen=True)
class Person:
    """Somebody who is logged in."""

    door: Door
    email: str
    user_id: str
    tokens: auth_pb2.Tokens

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.tokens.access_token}"), *at(new_address()))

    async def call(self, method: str, **fields: Any) -> Any:
        """A method of UserService under this person's token; mutations get a request id unless they have one."""
        message = getattr(user_pb2, f"{method}Request")
        if "request_id" in message.DESCRIPTOR.fields_by_name:
            fields.setdefault("request_id", str(uuid4()))
        return await getattr(self.door.users, method)(message(**fields), metadata=self.metadata, timeout=20)

    async def create(self, **fields: Any) -> user_pb2.User:
        fields.setdefault("name", "Some Body")
        fields.setdefault("role", access_pb2.ROLE_SUPPORT)
        fields.setdefault("email", f"person-{uuid4().hex[:12]}@example.com")
        user: user_pb2.User = (await self.call("CreateUser", **fields)).user
        return user

    async def update(self, user_id: str, mask: list[str], **fields: Any) -> user_pb2.User:
        answer = await self.call("UpdateUser", user_id=user_id, update_mask={"paths": mask}, **fields)
        user: user_pb2.User = answer.user
        return user

    async def me(self) -> user_pb2.User:
        user: user_pb2.User = (await self.door.auth.GetMe(auth_pb2.GetMeRequest(), metadata=self.metadata)).user
        return user
