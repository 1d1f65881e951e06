"""The fraud desk out of its parts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from grpc.aio import Channel
from voketag.admin.v1 import fraud_pb2_grpc

from admin.config import AdminSettings, secret_bytes
from admin.fraud_cases import FraudCases
from admin.fraud_service import FraudService
from admin.rulings import Rulings
from admin.scan_peer import ScanPeer
from admin.store import Store
from admin.suspicious import SuspiciousScans
from admin.timeline import Timelines
from mesh import client
from mesh.clock import Clock, new_id
from mesh.identity import ServiceTokens
from mesh.paging import PageTokens


@dataclass(frozen=True, slots=True)
class FraudDesk:
    """Of the server's parts; `scan` is to be closed with it."""

    register: tuple[Callable[[Any, Any], None], object]
    scan: Channel


def fraud_desk(settings: AdminSettings, store: Store, clock: Clock) -> FraudDesk:
    """The desk, over a channel to the scan service on which admin proves who it is."""
    tokens = ServiceTokens("admin", settings.service_key.get_secret_value(), clock)
    scan = client.peer(settings.scan_target, tokens=tokens, service="scan")
    peer, pages = ScanPeer(scan), PageTokens(secret_bytes(settings.page_key.get_secret_value()))
    cases = FraudCases(store, peer, pages, new_id=new_id)
    service = FraudService(SuspiciousScans(store, pages), Timelines(store, pages), cases, Rulings(store, peer))
    return FraudDesk((fraud_pb2_grpc.add_FraudServiceServicer_to_server, service), scan)
