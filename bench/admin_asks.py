"""What people ask admin for: the dashboard, 90 days, fraud and audit by different filters, and how often."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from voketag.admin.v1 import audit_pb2, audit_pb2_grpc, dashboard_pb2, dashboard_pb2_grpc, fraud_pb2, fraud_pb2_grpc

from admin.tokens import AccessTokens, TokenKeys
from admin.users import User
from bench.admin_data import METHODS, person
from bench.admin_scans import Size
from mesh.clock import SystemClock

Metadata = Sequence[tuple[str, str]]
Fields = dict[str, Callable[[Random], dict[str, Any]]]
"""What is filtered by, by name; each call of a name another of its kind."""
PERIOD = timedelta(days=90)
WEIGHTS = {"dashboard": 30, "analytics": 20, "fraud": 25, "audit": 20, "echo": 5}
"""Of a hundred calls."""
BOUNDS = {"dashboard": 50.0, "analytics": 150.0, "fraud": 80.0, "audit": 50.0}
"""Milliseconds that P95 may take."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A call of a kind: the method, and a request that differs from call to call."""

    kind: str
    name: str
    method: Any
    request: Callable[[Random], Any]


@dataclass(frozen=True, slots=True)
class Known:
    """What there is to ask for: factories, the largest first, and products with suspicious scans."""

    factories: Sequence[str]
    products: Sequence[str]


def people(keys: TokenKeys, count: int) -> list[Metadata]:
    """The metadata of so many admins, so that no one's budget is used up."""
    tokens, now = AccessTokens(keys, SystemClock()), datetime.now(UTC)
    made: list[Metadata] = []
    for number in range(count):
        user = User(UUID(int=number), "", "", "admin", None, "active", now, now)
        made.append((("authorization", f"Bearer {tokens.token(user)[0]}"), ("x-client-address", f"10.0.{number}.1")))
    return made


def asks(channel: grpc.aio.Channel, size: Size, known: Known) -> dict[str, list[Ask]]:
    """By kind."""
    health = health_pb2_grpc.HealthStub(channel)
    echo = Ask("echo", "health", health.Check, lambda _: health_pb2.HealthCheckRequest())
    found = [*_figures(channel, known), *_fraud(channel, size, known), *_audit(channel, size, known), echo]
    return {kind: [ask for ask in found if ask.kind == kind] for kind in WEIGHTS}


def _stamp(moment: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(moment)
    return made


def _figures(channel: grpc.aio.Channel, known: Known) -> list[Ask]:
    stub = dashboard_pb2_grpc.DashboardServiceStub(channel)
    tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    since, until = _stamp(tomorrow - PERIOD), _stamp(tomorrow)

    def dashboard(**more: Any) -> Any:
        return dashboard_pb2.GetDashboardRequest(**more)

    def analytics(**more: Any) -> Any:
        return dashboard_pb2.GetAnalyticsRequest(from_time=since, to_time=until, **more)

    def factory(rng: Random) -> str:
        return known.factories[int(len(known.factories) * rng.random() ** 2)]

    return [
        Ask("dashboard", "everybody", stub.GetDashboard, lambda _: dashboard()),
        Ask("dashboard", "a factory", stub.GetDashboard, lambda rng: dashboard(factory_id=factory(rng))),
        Ask("analytics", "everybody", stub.GetAnalytics, lambda _: analytics()),
        Ask("analytics", "a factory", stub.GetAnalytics, lambda rng: analytics(factory_id=factory(rng))),
    ]


def _fraud(channel: grpc.aio.Channel, size: Size, known: Known) -> list[Ask]:
    stub = fraud_pb2_grpc.FraudServiceStub(channel)
    largest = known.factories[0]

    def day(rng: Random) -> Timestamp:
        return _stamp(size.end - timedelta(days=rng.randrange(size.days)))

    fields: Fields = {
        "newest": lambda _: {},
        "risk from 70": lambda _: {"risk_min": 70},
        "risk from 99": lambda _: {"risk_min": 99},
        "risk and verdict": lambda _: {"risk_min": 40, "risk_max": 60, "verdict": 4},
        "factor": lambda rng: {"factor": rng.randrange(1, 8)},
        "likely copies": lambda _: {"verdict": 3},
        "nothing fits": lambda _: {"verdict": 5},
        "largest factory": lambda _: {"factory_id": largest},
        "any factory": lambda rng: {"factory_id": rng.choice(known.factories), "risk_min": 60},
        "a product": lambda rng: {"product_id": rng.choice(known.products)},
        "before some day": lambda rng: {"until": day(rng)},
    }
    cases: Fields = {
        "cases": lambda _: {},
        "cases by state": lambda rng: {"state": rng.randrange(1, 5)},
        "cases of a product": lambda rng: {"product_id": rng.choice(known.products)},
        "cases of nobody": lambda _: {"unassigned": True},
    }
    return [
        *_each("fraud", stub.ListSuspiciousScans, fraud_pb2.ListSuspiciousScansRequest, fields),
        *_each("fraud", stub.ListFraudReports, fraud_pb2.ListFraudReportsRequest, cases),
    ]


def _audit(channel: grpc.aio.Channel, size: Size, known: Known) -> list[Ask]:
    stub = audit_pb2_grpc.AuditServiceStub(channel)

    def method(source: str, at: int) -> str:
        return f"/voketag.{source}.v1.{METHODS[source][1][at]}"

    fields: Fields = {
        "newest": lambda _: {},
        "a person": lambda rng: {"actor": f"user:{person(rng.randrange(1000))}"},
        "a factory": lambda rng: {"actor": f"factory:{rng.choice(known.factories)}"},
        "a method": lambda rng: {"method": method("factory", rng.randrange(6))},
        "a service": lambda rng: {"service": rng.choice(tuple(METHODS))},
        "refused": lambda _: {"result": "PRECONDITION_FAILED"},
        "method and refused": lambda _: {"method": method("admin", 0), "result": "PRECONDITION_FAILED"},
        "factory and method": lambda rng: {
            "actor": f"factory:{rng.choice(known.factories)}", "method": method("factory", rng.randrange(6))
        },
        "a resource": lambda rng: {"resource": f"factory/{UUID(int=rng.randrange(1_000_000))}"},
        "a day of a service": lambda rng: {
            "service": "admin",
            "from_time": _stamp(size.start + timedelta(days=rng.randrange(size.days))),
        },
        "never together": lambda _: {"actor": f"factory:{known.factories[0]}", "method": method("admin", 0)},
    }  # fmt: skip
    return _each("audit", stub.ListEntries, _entries, fields)


def _entries(**filters: Any) -> audit_pb2.ListEntriesRequest:
    return audit_pb2.ListEntriesRequest(filter=audit_pb2.AuditFilter(**filters))


def _each(kind: str, method: Any, message: Callable[..., Any], fields: Fields) -> list[Ask]:
    def of(own: Callable[[Random], dict[str, Any]]) -> Callable[[Random], Any]:
        return lambda rng: message(**own(rng))

    return [Ask(kind, name, method, of(own)) for name, own in fields.items()]
