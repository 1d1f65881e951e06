"""One provider as we use it: what it publishes, kept for an hour, and its answers to codes."""

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote_plus, urlencode, urlsplit

import structlog

from admin import oidc_http
from admin.errors import OidcLoginRefused
from admin.id_tokens import (
    Expected,
    Key,
    Proved,
    TokenRefusedError,
    UnknownKeyError,
    proved,
    public_keys,
    verified_email,
)
from admin.oidc_http import ProviderAwayError
from admin.oidc_providers import Provider, is_safe
from mesh.clock import Clock
from mesh.errors import DependencyUnavailable

log = structlog.get_logger()
KEPT_SECONDS = 3600.0
BETWEEN_SECONDS = 10.0
AFTER_FAILURE_SECONDS = 2.0
SCOPE = "openid email"
REFUSED = frozenset({"invalid_grant", "access_denied"})
T = TypeVar("T")


class Kept(Generic[T]):
    """Something fetched when it is asked for, by one caller while others wait, and kept for an hour.

    After a failure everybody fails for two seconds, so that a slow provider costs nobody more than one wait.
    """

    def __init__(self, fetch: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = asyncio.Lock()
        self._value: tuple[T, float] | None = None
        self._failed_at = -AFTER_FAILURE_SECONDS

    async def get(self, *, no_older_than: float = KEPT_SECONDS) -> T:
        """The thing, fetched less than so many seconds ago. Raises ProviderAwayError."""
        async with self._lock:
            now = self._clock.monotonic()
            if self._value is not None and now - self._value[1] < no_older_than:
                return self._value[0]
            if 0 <= now - self._failed_at < AFTER_FAILURE_SECONDS:
                raise ProviderAwayError("it failed just now")
            try:
                value = await self._fetch()
            except ProviderAwayError:
                self._failed_at = self._clock.monotonic()
                raise
            self._value = (value, self._clock.monotonic())
            return value


@dataclass(frozen=True, slots=True)
class Metadata:
    """What of a provider's metadata counts here (OpenID Connect Discovery 1.0, RFC 8414).

    `userinfo_endpoint` is '' where there is none. `basic`: the client's secret goes into a header, else the form.
    `names_itself`: redirects have `iss` (RFC 9207).
    """

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str
    basic: bool
    names_itself: bool


@dataclass(frozen=True, slots=True)
class Redeemed:
    """Whom a code proves; `access_token` is '' unless the ID token leaves the email to UserInfo."""

    subject: str
    email: str | None
    access_token: str = field(repr=False)


class ProviderClient:
    """Raises DependencyUnavailable wherever the provider is away or answers what cannot be used; the log says which."""

    def __init__(self, provider: Provider, clock: Clock, *, allow_loopback: bool) -> None:
        self.provider = provider
        self._clock = clock
        self._allow_loopback = allow_loopback
        self._metadata: Kept[Metadata] = Kept(self._discover, clock)
        self._keys: Kept[tuple[Key, ...]] = Kept(self._fetch_keys, clock)

    async def authorization_url(self, *, state: str, nonce: str, verifier: str) -> str:
        """Where to send somebody who logs in (OpenID Connect Core 3.1.2.1, RFC 7636)."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self.provider.client_id,
                "redirect_uri": self.provider.redirect_uri,
                "scope": SCOPE,
                "state": state,
                "nonce": nonce,
                "code_challenge": challenge,
                "code_challenge_method": "S256",
            }
        )
        endpoint = (await self._known()).authorization_endpoint
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{query}"

    async def check_redirect(self, issuer: str) -> None:
        """Of `iss` in a redirect (RFC 9207): a code of one provider is never given to another.

        What the provider publishes is at hand afterwards, so that no login is used up while it is away. Raises
        OidcLoginRefused when `issuer` is another's, or missing where the provider says that it sends it.
        """
        known = await self._known()
        if issuer != self.provider.issuer and (issuer or known.names_itself):
            raise self._refused("the redirect is another provider's")

    async def redeem(self, code: str, *, verifier: str, nonce: str) -> Redeemed:
        """Whom a code proves. Raises OidcLoginRefused; the code is used up either way."""
        try:
            metadata = await self._metadata.get()
            answer = await self._exchange(metadata, code, verifier)
            found = await self._proved(answer, nonce)
        except ProviderAwayError as error:
            raise self._away(error) from None
        except TokenRefusedError as error:
            raise self._refused(f"the ID token: {error}") from None
        asks = found.silent and metadata.userinfo_endpoint and self.provider.email_domains
        return Redeemed(found.subject, found.email, str(answer.get("access_token", "")) if asks else "")

    async def email(self, found: Redeemed) -> str | None:
        """What UserInfo says that the provider verified (OpenID Connect Core 5.3).

        Raises OidcLoginRefused when it speaks of somebody else than the ID token.
        """
        headers = {"authorization": f"Bearer {found.access_token}"}
        try:
            said = await oidc_http.get((await self._metadata.get()).userinfo_endpoint, headers)
        except ProviderAwayError as error:
            raise self._away(error) from None
        if said.get("sub") != found.subject:
            raise self._refused("UserInfo is another's")
        return verified_email(said)

    async def _proved(self, answer: dict[str, Any], nonce: str) -> Proved:
        token, access_token = answer.get("id_token"), answer.get("access_token", "")
        if not isinstance(token, str) or not isinstance(access_token, str) or not access_token.isascii():
            raise TokenRefusedError("there is none")
        expected = Expected(self.provider.issuer, self.provider.client_id, nonce, access_token)
        now = self._clock.now().timestamp()
        try:
            return proved(token, await self._keys.get(), expected, now=now)
        except UnknownKeyError:
            return proved(token, await self._keys.get(no_older_than=BETWEEN_SECONDS), expected, now=now)

    async def _exchange(self, metadata: Metadata, code: str, verifier: str) -> dict[str, Any]:
        """RFC 6749, 4.1.3, with the secret as 2.3.1 has it."""
        client_id, secret = self.provider.client_id, self.provider.client_secret.get_secret_value()
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.provider.redirect_uri}
        form |= {"code_verifier": verifier}
        headers = {}
        if metadata.basic:
            pair = f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()
            headers["authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        else:
            form |= {"client_id": client_id, "client_secret": secret}
        status, answer = await oidc_http.post(metadata.token_endpoint, form, headers)
        if status == 200:
            return answer
        if answer.get("error") in REFUSED:
            raise TokenRefusedError("the code is refused")
        raise ProviderAwayError(f"it answered HTTP {status}, {str(answer.get('error'))[:40]!r}")

    async def _known(self) -> Metadata:
        try:
            await self._keys.get()
            return await self._metadata.get()
        except ProviderAwayError as error:
            raise self._away(error) from None

    async def _discover(self) -> Metadata:
        found = await oidc_http.get(f"{self.provider.issuer.rstrip('/')}/.well-known/openid-configuration")
        if found.get("issuer") != self.provider.issuer:
            raise ProviderAwayError("its metadata is another issuer's")
        if "S256" not in _listed(found, "code_challenge_methods_supported", "S256"):
            raise ProviderAwayError("it knows no S256")
        methods = _listed(found, "token_endpoint_auth_methods_supported", "client_secret_basic")
        if "client_secret_basic" not in methods and "client_secret_post" not in methods:
            raise ProviderAwayError("it takes no client secret")
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        urls = {name: str(found.get(name, "")) for name in (*names, "userinfo_endpoint")}
        called = [name for name in urls if name in names or name in found]
        if unsafe := [name for name in called if not is_safe(urls[name], allow_loopback=self._allow_loopback)]:
            raise ProviderAwayError(f"not to be called: {', '.join(unsafe)}")
        says = found.get("authorization_response_iss_parameter_supported") is True
        return Metadata(**urls, basic="client_secret_basic" in methods, names_itself=says)

    async def _fetch_keys(self) -> tuple[Key, ...]:
        keys = public_keys(await oidc_http.get((await self._metadata.get()).jwks_uri))
        if not keys:
            raise ProviderAwayError("it has no keys of use")
        return keys

    def _away(self, error: ProviderAwayError) -> DependencyUnavailable:
        log.warning("a provider of logins cannot be used", provider=self.provider.id, why=str(error))
        return DependencyUnavailable(dependency=f"the provider {self.provider.id}")

    def _refused(self, why: str) -> OidcLoginRefused:
        log.warning("a login by a provider was refused", provider=self.provider.id, why=why)
        return OidcLoginRefused()


def _listed(found: dict[str, Any], name: str, default: str) -> list[Any]:
    """What the metadata lists, or what leaving it out says."""
    value = found.get(name, [default])
    return value if isinstance(value, list) else []
