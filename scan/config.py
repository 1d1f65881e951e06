"""Settings of the scan service."""

from pydantic import Field, SecretStr, field_validator

from mesh.config import DatabaseSettings, LogSettings, ServerSettings, ValkeySettings
from mesh.limits import Rate
from scan.card import Limits
from trust.keyring import Keyring


class ScanSettings(ServerSettings, LogSettings, DatabaseSettings, ValkeySettings):
    """Everything that `python -m scan` needs."""

    keyring: SecretStr = Field(description="keys of the tokens, JSON as trust.keyring reads it")
    anchor_target: str = Field(description="gRPC target of the anchor service")
    scan_per_second: float = Field(default=20, gt=0, description="scans of one address prefix in the long run")
    scan_burst: int = Field(default=60, ge=1, description="scans of one address prefix at once")
    card_capacity: int = Field(default=100_000, ge=1, description="products that a process remembers")
    card_fresh_seconds: float = Field(default=2.0, gt=0, le=2, description="until a change at the factory counts here")
    card_stale_seconds: float = Field(default=3600.0, ge=0, description="how long cards serve without PostgreSQL")
    proof_capacity: int = Field(default=10_000, ge=1, description="batches whose final proof a process remembers")

    @field_validator("keyring")
    @classmethod
    def _sound(cls, keyring: SecretStr) -> SecretStr:
        Keyring.from_json(keyring.get_secret_value())
        return keyring

    @property
    def scan_rate(self) -> Rate:
        """The budget of one address prefix."""
        return Rate(self.scan_per_second, self.scan_burst)

    @property
    def card_limits(self) -> Limits:
        """The three settings on cards."""
        return Limits(self.card_capacity, self.card_fresh_seconds, self.card_stale_seconds)
