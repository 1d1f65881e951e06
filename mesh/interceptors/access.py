"""Step: proves who calls and holds it against the contract."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from mesh import policy as audiences
from mesh.errors import AccessDenied, CredentialsMissing
from mesh.identity import Authenticator, Principal, metadata_of, set_caller
from mesh.interceptors.step import Context, Step
from mesh.policy import Policy

EXPECTED: dict[int, str] = {
    audiences.FACTORY: "an API key in x-api-key",
    audiences.SERVICE: "a service token in authorization",
    audiences.USER: "an access token in authorization",
}


class AccessStep(Step):
    """Tries every way this server knows to prove an identity, and lets in whom the method names."""

    def __init__(self, policies: Mapping[str, Policy], authenticators: Mapping[int, Authenticator]) -> None:
        super().__init__(policies)
        self._authenticators = authenticators
        lacking = {a for p in policies.values() if not p.public for a in p.audiences} - set(authenticators)
        if lacking:
            raise ValueError(f"no authenticator for audiences {sorted(lacking)}")

    def applies(self, policy: Policy) -> bool:
        """Not for public methods."""
        return not policy.public

    @asynccontextmanager
    async def around(self, policy: Policy, request: Any, context: Context) -> AsyncIterator[Any]:
        """Raises CredentialsMissing, CredentialsInvalid, AccessDenied."""
        audience, principal = await self._proved(policy, metadata_of(context))
        set_caller(principal)  # before the door is shut: a refusal names whom it refused
        self._admit(policy, audience, principal)
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
