"""The server out of its parts, and the command that makes the first admin."""

import os
from contextlib import AsyncExitStack
from typing import Any

from prometheus_client import REGISTRY
from voketag.admin.v1 import (
    audit_pb2,
    audit_pb2_grpc,
    auth_pb2,
    auth_pb2_grpc,
    dashboard_pb2,
    dashboard_pb2_grpc,
    fraud_pb2,
    user_pb2,
    user_pb2_grpc,
)

from admin.audit import AuditLog
from admin.audit_keeping import audit_keeping
from admin.audit_service import AuditService
from admin.auth_service import AuthService
from admin.config import AdminSettings, CreateSettings, HashSettings, MailSettings, OidcSettings, secret_bytes
from admin.dashboard_service import DashboardService
from admin.figures import Figures
from admin.file_assembly import file_services
from admin.first_admin import Maker
from admin.fraud_assembly import fraud_desk
from admin.job_assembly import JobParts
from admin.lockout import Lockout
from admin.logins import Logins
from admin.mail import FileMailer, Mailer, SmtpMailer, SmtpServer
from admin.oidc_client import ProviderClient
from admin.oidc_links import OidcLinks
from admin.oidc_logins import OidcLogins
from admin.passwords import Cost, Passwords
from admin.resets import Resets
from admin.rollups import Rollups
from admin.second_factors import SecondFactors
from admin.sessions import Sessions
from admin.store import Store
from admin.tokens import AccessTokens, TokenKeys
from admin.upkeep import Upkeep
from admin.user_service import UserService
from admin.users import User, Users
from mesh import database
from mesh.clock import Clock, SystemClock, new_id
from mesh.identity import ServiceAuthenticator
from mesh.ledger import Ledger
from mesh.limits import Limiter, LocalLimiter
from mesh.paging import PageTokens
from mesh.policy import SERVICE, USER
from mesh.refusals import Refusals
from mesh.server import Server, ServerParts
from mesh.user_tokens import UserAuthenticator


def mailer(settings: MailSettings) -> Mailer:
    """Where mail goes."""
    if settings.mail_folder is not None:
        return FileMailer(settings.mail_folder, settings.mail_from, new_id=new_id)
    assert settings.smtp_host is not None
    password = settings.smtp_password.get_secret_value() if settings.smtp_password else None
    server = SmtpServer(settings.smtp_host, settings.smtp_port, settings.smtp_user, password, settings.smtp_tls)
    return SmtpMailer(server, settings.mail_from)


def cost(settings: HashSettings) -> Cost:
    """What a hash costs."""
    return Cost(settings.argon2_memory_kib, settings.argon2_passes)


def clients(settings: OidcSettings, clock: Clock) -> dict[str, ProviderClient]:
    """The providers that people may log in by, under their names."""
    loopback = settings.oidc_allow_loopback
    return {each.id: ProviderClient(each, clock, allow_loopback=loopback) for each in settings.providers}


class AdminServer:
    """Everything between the settings and the server; `limiter` and `clock` are what tests replace."""

    def __init__(self, settings: AdminSettings, pool: Any, *, clock: Clock, limiter: Limiter) -> None:
        store, keys = Store(pool), TokenKeys.from_json(settings.user_keys.get_secret_value())
        passwords = Passwords(os.urandom, cost(settings), at_once=settings.hashes_at_once)
        mails = mailer(settings)
        self.resets = Resets(store, passwords, mails, clock, random_bytes=os.urandom)
        self.upkeep = Upkeep(store, clock)
        self.rollups = Rollups(store, clock)
        sessions = Sessions(store, AccessTokens(keys, clock), clock, new_id=new_id, random_bytes=os.urandom)
        pages = PageTokens(secret_bytes(settings.page_key.get_secret_value()))
        files = file_services(settings, store, clock)
        users = Users(store, self.resets, pages, clock, new_id=new_id)
        root = secret_bytes(settings.factor_root.get_secret_value())
        factors = SecondFactors(store, clock, root=root, random_bytes=os.urandom, mailer=mails)
        lockout = Lockout(store, clock)
        logins = Logins(store, passwords, lockout, sessions, factors=factors, clock=clock)
        oidc = OidcLogins(
            store, clients(settings, clock), lockout, sessions, factors=factors, clock=clock, random_bytes=os.urandom
        )
        links = OidcLinks(store, lambda provider: oidc.client(provider).provider, clock)
        log = AuditLog(store, Ledger(settings.audit_origin), pages)
        auth = AuthService(logins, sessions, self.resets, users, factors=factors, keys=keys, oidc=oidc)
        self.desk = fraud_desk(settings, store, clock)
        self.jobs = JobParts(settings, store, pages, clock)
        self.server = Server(
            ServerParts(
                settings=settings,
                contracts=[
                    user_pb2,
                    auth_pb2,
                    dashboard_pb2,
                    audit_pb2,
                    fraud_pb2,
                    *files.contracts,
                    *self.jobs.contracts,
                ],
                register=[
                    (user_pb2_grpc.add_UserServiceServicer_to_server, UserService(users, links, factors)),
                    (auth_pb2_grpc.add_AuthServiceServicer_to_server, auth),
                    (
                        dashboard_pb2_grpc.add_DashboardServiceServicer_to_server,
                        DashboardService(Figures(store, clock)),
                    ),
                    (audit_pb2_grpc.add_AuditServiceServicer_to_server, AuditService(log)),
                    self.desk.register,
                    *files.register,
                    *self.jobs.register,
                ],
                authenticators={
                    USER: UserAuthenticator(keys.jwks(), clock),
                    SERVICE: ServiceAuthenticator(settings.jwks, "admin", clock),
                },
                limiter=limiter,
                checks={"PostgreSQL": lambda: database.check(pool)},
                tracing=settings.otlp_endpoint is not None,
                on_stop=files.close,
                refusals=Refusals(pool, clock, new_id),
            )
        )


async def serve(settings: AdminSettings) -> None:
    """Serves until SIGTERM or SIGINT. Raises DependencyUnavailable when PostgreSQL is away at start."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(await database.connect(settings, schema="admin"))
        parts = AdminServer(settings, pool, clock=clock, limiter=LocalLimiter(clock))
        stack.push_async_callback(parts.desk.scan.close)
        stack.push_async_callback(parts.jobs.close)
        await stack.enter_async_context(parts.resets.answering())
        await stack.enter_async_context(parts.upkeep.going_on())
        await stack.enter_async_context(parts.rollups.going_on())
        await stack.enter_async_context(audit_keeping(settings, pool, clock, REGISTRY))
        await parts.server.run()


async def create(settings: CreateSettings, *, email: str, name: str, password: str) -> User:
    """An admin. Raises EmailTaken, PasswordRefused, ValidationFailed, DependencyUnavailable."""
    async with await database.connect(settings, schema="admin") as pool:
        maker = Maker(Store(pool), Passwords(os.urandom, cost(settings)), SystemClock(), new_id)
        return await maker.create(email, name, password)
