"""Logging in by another provider: begun by a client, proved by the provider, and completed by the same client alone."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from admin.errors import OidcLoginRefused, OidcProviderNotFound, OidcStateInvalid
from admin.lockout import Lockout, of_address, of_subject
from admin.oidc_client import ProviderClient
from admin.oidc_providers import Provider
from admin.second_factors import SecondFactors
from admin.sessions import Sessions, Tokens
from admin.store import Store
from admin.users import ACTIVE, User, normal_email
from mesh import audit
from mesh.clock import Clock
from mesh.database import Connection
from mesh.errors import DependencyUnavailable, SecondFactorRequired
from mesh.identity import Principal, address, set_caller

log = structlog.get_logger()
LIFETIME = timedelta(minutes=10)
RANDOM_BYTES = 32


@dataclass(frozen=True, slots=True)
class Begun:
    """A login that has begun: the person is sent to `url`, and the client keeps `secret`."""

    url: str
    state: str
    secret: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Redirect:
    """What a person came back with, and what the client kept; `issuer` and `factor_code` may be ''."""

    provider: str
    state: str
    secret: str
    code: str
    issuer: str
    factor_code: str

    def key(self, now: datetime) -> dict[str, object]:
        """What finds the login in the database: state, secret and provider have to belong together."""
        hashes = {"state_hash": _hash(self.state), "secret_hash": _hash(self.secret)}
        return {**hashes, "provider": self.provider, "now": now}


class OidcLogins:
    """Logins by providers. A login is good once.

    It is taken before the provider is asked: a process that dies from then on, before the answer is committed, has
    used it up, and the person begins again. Once the proof is committed the same request completes it, whoever died,
    until it has: then the session is open, and with an answer that got lost the person begins again.
    """

    def __init__(
        self,
        store: Store,
        clients: Mapping[str, ProviderClient],
        lockout: Lockout,
        sessions: Sessions,
        *,
        factors: SecondFactors,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._clients = clients
        self._lockout = lockout
        self._sessions = sessions
        self._factors = factors
        self._clock = clock
        self._random = random_bytes

    @property
    def providers(self) -> list[Provider]:
        """All that there are."""
        return [client.provider for client in self._clients.values()]

    def client(self, provider: str) -> ProviderClient:
        """One of them. Raises OidcProviderNotFound."""
        if provider not in self._clients:
            raise OidcProviderNotFound(provider=provider)
        return self._clients[provider]

    async def begin(self, provider: str) -> Begun:
        """A new login. Raises OidcProviderNotFound, DependencyUnavailable."""
        client, state, secret = self.client(provider), self._word(), self._word()
        nonce, verifier = _derived(secret, "nonce"), _derived(secret, "verifier")
        url = await client.authorization_url(state=state, nonce=nonce, verifier=verifier)
        expires_at = self._clock.now() + LIFETIME
        async with self._store.connection() as connection:
            await self._store.sql.insert_oidc_login(
                connection,
                state_hash=_hash(state),
                secret_hash=_hash(secret),
                provider=provider,
                expires_at=expires_at,
            )
        return Begun(url, state, secret, expires_at)

    async def complete(self, redirect: Redirect) -> tuple[User, Tokens]:
        """A session for whom the provider proves.

        Raises OidcProviderNotFound, OidcStateInvalid, OidcLoginRefused, SecondFactorRequired, LoginRefused,
        LoginLocked, DependencyUnavailable.
        """
        client = self.client(redirect.provider)
        await self._lockout.count(of_address(address()))
        try:
            await client.check_redirect(redirect.issuer)
            await self._prove(client, redirect)
            proof = await self._proof(redirect)
            tried = of_subject(client.provider.issuer, proof["subject"]) if redirect.factor_code else None
            if tried is not None:
                await self._lockout.count(tried)
            user, tokens = await self._open(client.provider, redirect)
        except (DependencyUnavailable, SecondFactorRequired):
            await self._lockout.forgive(None, address())  # nobody guessed
            raise
        await self._lockout.forgive(tried, address())
        return user, tokens

    async def _prove(self, client: ProviderClient, redirect: Redirect) -> None:
        """Asks the provider whom the code proves, the first time."""
        async with self._store.connection() as connection:
            taken = await self._store.sql.take_oidc_login(connection, **redirect.key(self._clock.now()))
        if not taken:
            return
        nonce, verifier = _derived(redirect.secret, "nonce"), _derived(redirect.secret, "verifier")
        found = await client.redeem(redirect.code, verifier=verifier, nonce=nonce)
        email = found.email
        if found.access_token and not await self._is_linked(client.provider.issuer, found.subject):
            email = await client.email(found)
        email = normal_email(email or "")
        async with self._store.connection() as connection:
            await self._store.sql.prove_oidc_login(
                connection,
                state_hash=_hash(redirect.state),
                subject=found.subject,
                email=email if client.provider.speaks_for(email) else None,
            )

    async def _is_linked(self, issuer: str, subject: str) -> bool:
        """Of who is, no email is needed, and UserInfo may be away."""
        async with self._store.connection() as connection:
            return bool(await self._store.sql.is_linked(connection, issuer=issuer, subject=subject))

    async def _proof(self, redirect: Redirect) -> Any:
        async with self._store.connection() as connection:
            proof = await self._store.sql.select_proved(connection, **redirect.key(self._clock.now()))
        if proof is None:
            raise OidcStateInvalid
        return proof

    async def _open(self, provider: Provider, redirect: Redirect) -> tuple[User, Tokens]:
        """The session. Whatever is refused leaves the login, so that the same client may bring another code for it."""
        async with self._store.transaction() as connection:
            proof = await self._store.sql.drop_proved(connection, **redirect.key(self._clock.now()))
            if proof is None:
                raise OidcStateInvalid
            user, linked = await self._person(connection, provider.issuer, proof["subject"], proof["email"])
            if user is None:
                log.warning("a provider proved nobody who may log in", provider=provider.id)
                raise OidcLoginRefused
            await self._factors.check(connection, user.user_id, redirect.factor_code)
            set_caller(Principal("user", str(user.user_id), roles=frozenset({user.role})))
            if linked:
                detail = {"oidc_link": audit.change(None, provider.issuer)}
                await audit.record(connection, resource=f"user/{user.user_id}", request_id=None, detail=detail)
            return user, await self._sessions.open(connection, user)

    async def _person(
        self, connection: Connection, issuer: str, subject: str, email: str | None
    ) -> tuple[User | None, bool]:
        """Who may log in, and whether they were linked just now; an email links who is not linked to this issuer."""
        row = await self._store.sql.lock_linked(connection, issuer=issuer, subject=subject)
        linked = False
        if row is None and email is not None:
            values = {"issuer": issuer, "subject": subject, "email": email, "now": self._clock.now()}
            linked = bool(await self._store.sql.link_by_email(connection, **values))
            row = await self._store.sql.lock_linked(connection, issuer=issuer, subject=subject)
        return (User(**dict(row)) if row is not None and row["state"] == ACTIVE else None), linked

    def _word(self) -> str:
        return base64.urlsafe_b64encode(self._random(RANDOM_BYTES)).rstrip(b"=").decode()


def _hash(word: str) -> bytes:
    """What is kept of a state or secret: they have 256 bits, so one round is enough."""
    return hashlib.sha256(word.encode()).digest()


def _derived(secret: str, what: str) -> str:
    """Nonce and PKCE verifier follow from what the client alone keeps: with the database nobody completes a login."""
    mac = hmac.digest(secret.encode(), f"voketag/oidc/{what}/v1".encode(), "sha256")
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
