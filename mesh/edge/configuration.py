"""Envoy's configuration: one template, filled from settings and from the contract.

The routes, who is let through the public listener, and which calls are streams come from the descriptors alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mesh.contract import DESCRIPTORS, Method, methods
from mesh.edge.refusal import REFUSALS
from mesh.edge.strict_json import tables
from mesh.user_tokens import AUDIENCE, ISSUER, LEEWAY

TEMPLATES = Path(__file__).resolve().parents[2] / "deploy" / "envoy"


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens; `host` is an IP address or, for upstreams, a DNS name."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files of the public listener."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSettings:
    """What differs between one edge and another.

    `upstreams` has the keys scan, factory, anchor and admin; `descriptors` is where Envoy finds the descriptor set.
    """

    public: Address
    internal: Address
    admin: Address
    upstreams: Mapping[str, Address]
    descriptors: Path = DESCRIPTORS
    tls: Tls | None = None
    origins: tuple[str, ...] = ()
    trusted_hops: int = 0
    calls_a_second: int = 10_000
    connections: int = 10_000
    health_seconds: float = 5.0
    unary_seconds: float = 15.0
    stream_idle_seconds: float = 3600.0
    json_request_bytes: int = 64 * 1024
    json_response_bytes: int = 16 * 1024 * 1024
    connection_buffer_bytes: int = 1024 * 1024
    streams_a_connection: int = 16


@dataclass(frozen=True, slots=True)
class Listener:
    """A door: the public one has the methods for the public, factories and people, the internal one has all."""

    name: str
    address: Address
    external: bool
    methods: Sequence[Method]
    tls: Tls | None


SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
HSTS = {"strict-transport-security": "max-age=63072000; includeSubDomains"}


def render(settings: EdgeSettings) -> str:
    """Envoy's configuration as YAML."""
    found = [method for method in methods() if method.routed]
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - the output is YAML; values go through tojson
    )
    messages, bodies = tables(found)
    return environment.get_template("edge.yaml.j2").render(
        settings=settings,
        listeners=(
            Listener("edge", settings.public, True, [m for m in found if m.external], settings.tls),
            Listener("internal", settings.internal, False, found, None),
        ),
        services=sorted({m.service for m in found}),
        refusals=REFUSALS,
        people={"issuer": ISSUER, "audience": AUDIENCE, "leeway_seconds": int(LEEWAY.total_seconds())},
        security_headers=SECURITY_HEADERS | (HSTS if settings.tls else {}),
        strict_json=environment.get_template("strict_json.lua").render(
            messages=messages, bodies=bodies, limit=settings.json_request_bytes
        ),
    )
