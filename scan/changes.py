"""What has changed at the factory since a card was read, as far as the factory's notices were followed."""

from mesh.clock import Clock

NOTICES = 50_000


class Changes:
    """Notices of changed products and batches, by id of 16 bytes.

    They are followed only while a heartbeat comes: between two heartbeats `lease_seconds` at most may pass. Older
    notices than `kept_seconds` are forgotten, so a card older than that must not ask.
    """

    def __init__(self, clock: Clock, *, lease_seconds: float = 1.5, kept_seconds: float = 300.0) -> None:
        self.kept_seconds = kept_seconds
        self._clock = clock
        self._lease = lease_seconds
        self._noticed: dict[bytes, float] = {}
        self._since = 0.0
        self._until = 0.0

    def begin(self) -> None:
        """From now on every notice comes."""
        self._since = self._clock.monotonic()
        self._noticed.clear()

    def followed(self, asked_at: float) -> None:
        """A heartbeat that was asked for then has come: no notice from before it is missing."""
        self._until = asked_at + self._lease

    def lost(self) -> None:
        """Notices may be missing from now on."""
        self._until = 0.0

    def notice(self, changed: bytes) -> None:
        """A product or a batch has changed."""
        now = self._clock.monotonic()
        self._noticed[changed] = now
        if len(self._noticed) > NOTICES:
            self._noticed = {key: at for key, at in self._noticed.items() if now - at < self.kept_seconds}
            if len(self._noticed) > NOTICES:
                self.begin()

    def none_since(self, read_at: float, product_id: bytes, batch_id: bytes) -> bool:
        """True when it is certain that neither has changed since a read that began then."""
        return (
            self._since <= read_at
            and self._clock.monotonic() < self._until
            and self._noticed.get(batch_id, -1.0) < read_at
            and self._noticed.get(product_id, -1.0) < read_at
        )
