"""What the contract says of each method: who may call it, its budget, whether it is audited."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType

from google.protobuf.descriptor import MethodDescriptor
from voketag.mesh.v1 import access_pb2

PUBLIC, FACTORY, SERVICE, USER = (
    access_pb2.AUDIENCE_PUBLIC,
    access_pb2.AUDIENCE_FACTORY,
    access_pb2.AUDIENCE_SERVICE,
    access_pb2.AUDIENCE_USER,
)


@dataclass(frozen=True, slots=True)
class Policy:
    """The contract's rules for one method; `roles` as people's tokens name them: `admin`, `factory_manager`."""

    method: str
    audiences: frozenset[int]
    peers: frozenset[str]
    rate_class: str
    audited: bool
    request_streaming: bool
    response_streaming: bool
    roles: frozenset[str] = frozenset()

    @property
    def public(self) -> bool:
        """True when nobody needs credentials."""
        return PUBLIC in self.audiences


class PolicyMissingError(Exception):
    """A method has no whole access rule, so the server must not start."""


def role_name(role: access_pb2.Role.ValueType) -> str:
    """`factory_manager` for ROLE_FACTORY_MANAGER."""
    return access_pb2.Role.Name(role).removeprefix("ROLE_").lower()


def _policy(descriptor: MethodDescriptor) -> Policy:
    service = descriptor.containing_service
    assert service is not None
    method = f"/{service.full_name}/{descriptor.name}"
    access = descriptor.GetOptions().Extensions[access_pb2.access]
    audiences = frozenset(access.audiences)
    if not audiences or 0 in audiences or not access.rate_class:
        raise PolicyMissingError(f"{method} has no access option with audiences and a rate class")
    if (SERVICE in audiences) != bool(access.peers):
        raise PolicyMissingError(f"{method} must name peers exactly when services may call it")
    if (USER in audiences) != bool(access.roles) or access_pb2.ROLE_UNSPECIFIED in access.roles:
        raise PolicyMissingError(f"{method} must name roles exactly when people may call it")
    return Policy(
        method=method,
        audiences=audiences,
        peers=frozenset(access.peers),
        roles=frozenset(map(role_name, access.roles)),
        rate_class=access_pb2.RateClass.Name(access.rate_class).removeprefix("RATE_CLASS_"),
        audited=access.audited,
        request_streaming=descriptor.client_streaming,
        response_streaming=descriptor.server_streaming,
    )


def policies(modules: Iterable[ModuleType]) -> Mapping[str, Policy]:
    """The policy of every method in the `_pb2` modules, by its path `/package.Service/Method`.

    Raises PolicyMissingError.
    """
    services = (service for module in modules for service in module.DESCRIPTOR.services_by_name.values())
    found = (_policy(method) for service in services for method in service.methods)
    return {policy.method: policy for policy in found}
