"""Step: proves who calls and holds it against the contract; a factory's stream lasts no longer than its key."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import structlog

from mesh import policy as audiences
from mesh.errors import AccessDenied, CredentialsInvalid, CredentialsMissing, DependencyUnavailable
from mesh.identity import Authenticator, Principal, metadata_of, set_caller
from mesh.interceptors.step import Context, Step
from mesh.policy import Policy

log = structlog.get_logger()
EXPECTED: dict[int, str] = {
    audiences.FACTORY: "an API key in x-api-key",
    audiences.SERVICE: "a service token in authorization",
    audiences.USER: "an access token in authorization",
}


class AccessStep(Step):
    """Tries every way this server knows to prove an identity, and lets in whom the method names.

    A stream that a factory opened ends when its key is revoked, which is looked for every `look_seconds`. Tokens of
    people and services are never revoked: those live for minutes.
    """

    def __init__(
        self,
        policies: Mapping[str, Policy],
        authenticators: Mapping[int, Authenticator],
        *,
        look_seconds: float = 15.0,
    ) -> None:
        super().__init__(policies)
        self._authenticators = authenticators
        self._look_seconds = look_seconds
        lacking = {a for p in policies.values() if not p.public for a in p.audiences} - set(authenticators)
        if lacking:
            raise ValueError(f"no authenticator for audiences {sorted(lacking)}")

    def applies(self, policy: Policy) -> bool:
        """Not for public methods."""
        return not policy.public

    @asynccontextmanager
    async def around(self, policy: Policy, request: Any, context: Context) -> AsyncIterator[Any]:
        """Raises CredentialsMissing, CredentialsInvalid, AccessDenied."""
        metadata = metadata_of(context)
        audience, principal = await self._proved(policy, metadata)
        set_caller(principal)  # before the door is shut: a refusal names whom it refused
        self._admit(policy, audience, principal)
        if audience == audiences.FACTORY and (policy.request_streaming or policy.response_streaming):
            async with _while_it_counts(self._authenticators[audience], metadata, self._look_seconds):
                yield request
        else:
            yield request

    async def _proved(self, policy: Policy, metadata: Mapping[str, str]) -> tuple[int, Principal]:
        for audience, authenticator in self._authenticators.items():
            principal = await authenticator.authenticate(metadata)
            if principal is not None:
                return audience, principal
        raise CredentialsMissing(expected=" or ".join(EXPECTED[a] for a in sorted(policy.audiences)))

    def _admit(self, policy: Policy, audience: int, principal: Principal) -> None:
        peer_unknown = audience == audiences.SERVICE and principal.id not in policy.peers
        role_unfit = audience == audiences.USER and not principal.roles & policy.roles
        if audience not in policy.audiences or peer_unknown or role_unfit:
            raise AccessDenied


@asynccontextmanager
async def _while_it_counts(
    authenticator: Authenticator, metadata: Mapping[str, str], seconds: float
) -> AsyncIterator[None]:
    """Cancels the task that entered it once the credentials count no more, and raises CredentialsInvalid there."""
    stream = asyncio.current_task()
    assert stream is not None
    left = revoked = False

    async def look() -> None:
        nonlocal revoked
        while not left:  # a cancellation may come out of the look as an error of its connection
            await asyncio.sleep(seconds)
            try:
                await authenticator.authenticate(metadata)
            except DependencyUnavailable:
                continue
            except CredentialsInvalid:
                revoked = not (left or stream.cancelling())
                if revoked:
                    stream.cancel()
                return
            except Exception:
                log.exception("the key of a stream could not be looked up")  # the next look asks again

    looking = asyncio.create_task(look())
    try:
        yield
    except asyncio.CancelledError:
        if revoked and not stream.uncancel():
            raise CredentialsInvalid from None
        raise
    finally:
        left = True
        looking.cancel()
