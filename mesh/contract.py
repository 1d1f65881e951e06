"""The methods of the contract: their policy, and where JSON callers find them."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from voketag.mesh.v1 import access_pb2

from mesh.policy import FACTORY, PUBLIC, SERVICE, USER, Policy, policies

DESCRIPTORS = Path(access_pb2.__file__).parents[2] / "descriptors.binpb"
"""The descriptor set that belongs to the stubs in use."""

VERBS = ("get", "put", "post", "delete", "patch")


@dataclass(frozen=True, slots=True)
class Method:
    """One method: `owner` is the service of the mesh that answers it; `verb` and `path` are empty for gRPC only."""

    owner: str
    policy: Policy
    verb: str
    path: str
    descriptor: MethodDescriptor

    @property
    def name(self) -> str:
        """`voketag.scan.v1.ScanService.Verify`: what logs and the OpenAPI document call it."""
        return str(self.descriptor.full_name)

    @property
    def service(self) -> str:
        """`voketag.scan.v1.ScanService`."""
        return self.name.rpartition(".")[0]

    @property
    def external(self) -> bool:
        """True when the edge serves it: it is for the public, for factories or for people."""
        return bool(self.policy.audiences & {PUBLIC, FACTORY, USER})

    @property
    def routed(self) -> bool:
        """True when Envoy knows who answers it: several services serve those of the mesh itself."""
        return self.owner != "mesh"

    @property
    def personal(self) -> bool:
        """True when people may call it, and whoever brings a bearer token to the public door has to be one."""
        return USER in self.policy.audiences and not self.policy.public

    @property
    def personal_inside(self) -> bool:
        """True when that holds inside as well, where services bring theirs."""
        return self.personal and SERVICE not in self.policy.audiences

    @property
    def streaming(self) -> bool:
        """True when either side sends more than one message."""
        return self.policy.request_streaming or self.policy.response_streaming


def _method(descriptor: MethodDescriptor, policy: Policy) -> Method:
    rule = descriptor.GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern") or ""
    assert not verb or (verb in VERBS and rule.body in ("", "*"))
    owner = descriptor.full_name.split(".")[1]
    return Method(owner, policy, verb, getattr(rule, verb) if verb else "", descriptor)


def methods(descriptors: Path = DESCRIPTORS) -> tuple[Method, ...]:
    """Every method of every service, by its path.

    Raises PolicyMissingError.
    """
    found = []
    for file in FileDescriptorSet.FromString(descriptors.read_bytes()).file:
        if file.service and file.package.startswith("voketag."):
            module = import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2")
            rules = policies([module])
            for service in module.DESCRIPTOR.services_by_name.values():
                found += [_method(m, rules[f"/{service.full_name}/{m.name}"]) for m in service.methods]
    return tuple(sorted(found, key=lambda method: method.policy.method))
