"""What the submitter shows to Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from anchor.chain import ChainContradictedError
from anchor.target_journal import Waiting
from mesh.telemetry import from_zero

DISPLACED = "displaced"
"""The fault of a chain that lost registrations."""


class Metrics:
    """Gauges and counters in the given registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._waiting_roots = Gauge("voketag_anchor_waiting_roots", "Roots without a tree", registry=registry)
        self._waiting_seconds = Gauge("voketag_anchor_waiting_seconds", "Age of the oldest of them", registry=registry)
        self._transactions = Gauge(
            "voketag_anchor_transactions", "Transactions that are not final", ["state"], registry=registry
        )
        self.leading = Gauge("voketag_anchor_leading", "1 while this process holds the lease", registry=registry)
        self.balance = Gauge("voketag_anchor_balance_ether", "What the account had at the last look", registry=registry)
        self.out_of_funds = Gauge(
            "voketag_anchor_out_of_funds", "1 while the account cannot pay, and nothing is sent", registry=registry
        )
        self.bumps = Counter("voketag_anchor_fee_bumps", "Transactions signed anew with more fees", registry=registry)
        faults = Counter("voketag_anchor_faults", "What the chain refused or did", ["kind"], registry=registry)
        self.faults = from_zero(faults, ChainContradictedError.kind, DISPLACED)

    def show(self, waiting: Waiting | None, by_state: dict[str, int]) -> None:
        """Shows what is waiting and on its way."""
        self._waiting_roots.set(waiting.roots if waiting else 0)
        self._waiting_seconds.set(waiting.seconds if waiting else 0)
        for state in ("built", "signed", "sent", "mined"):
            self._transactions.labels(state).set(by_state.get(state, 0))
