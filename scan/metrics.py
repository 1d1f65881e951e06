"""What waits to be written to the journal and to be signed for, shown to Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from scan.stream import Backlog, Memory


class Metrics:
    """Gauges and counters of a writer in the given registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.rows = Counter("voketag_journal_rows", "Scans written", registry=registry)
        self.repeated = Counter("voketag_journal_repeated", "Scans that were written before", registry=registry)
        self.dead = Counter("voketag_journal_dead_entries", "Entries set aside: they are no scans", registry=registry)
        self.faults = Counter("voketag_journal_faults", "Groups that could not be written", registry=registry)
        self.leading = Gauge("voketag_journal_leading", "1 while this writer works, 0 on standby", registry=registry)
        self._lag = Gauge(
            "voketag_journal_lag_seconds", "Age of the oldest scan not written", ["shard"], registry=registry
        )
        self._depth = Gauge("voketag_journal_depth", "Scans that wait in Valkey", ["shard"], registry=registry)
        self._used = Gauge("voketag_valkey_used_bytes", "Memory that Valkey uses", registry=registry)
        self._limit = Gauge("voketag_valkey_limit_bytes", "Memory that Valkey may use, 0 for any", registry=registry)

    def show_backlog(self, shard: int, backlog: Backlog) -> None:
        """Shows what waits in a stream."""
        self._lag.labels(shard).set(backlog.seconds if backlog.depth else 0)
        self._depth.labels(shard).set(backlog.depth)

    def show_memory(self, memory: Memory) -> None:
        """Shows how full Valkey is."""
        self._used.set(memory.used)
        self._limit.set(memory.limit)
