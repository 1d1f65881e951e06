"""Settings of the scan service."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from mesh.config import DatabaseSettings, LogSettings, ServerSettings, Settings, SpreadSettings
from mesh.limits import Rate
from scan.card import Limits
from scan.counters import Budgets
from scan.risk import Weights
from trust.keyring import Keyring
from trust.note import Signer


class RecordSettings(Settings):
    """What the server and the journal must agree on, for either may judge a scan and record it."""

    ledger_origin: str = Field(default="voketag.com/scans", min_length=1, description="the name of the ledger")
    risk_weights: str = Field(default="{}", description="JSON of the weights of the risk factors that differ")

    @field_validator("risk_weights")
    @classmethod
    def _weighed(cls, weights: str) -> str:
        Weights.from_json(weights)
        return weights

    @property
    def weights(self) -> Weights:
        """The weights of the risk factors."""
        return Weights.from_json(self.risk_weights)


class ShardSettings(SpreadSettings):
    """How scans are spread in Valkey; the server and the journal must agree on it too."""

    journal_shards: int = Field(default=1, ge=1, le=256, description="shards, each with its counters and its stream")


class ScanSettings(RecordSettings, ServerSettings, LogSettings, DatabaseSettings, ShardSettings):
    """Everything that `python -m scan` needs."""

    keyring: SecretStr = Field(description="keys of the tokens, JSON as trust.keyring reads it")
    anchor_target: str = Field(description="gRPC target of the anchor service")
    jwks: str = Field(
        default='{"keys": []}', description="public keys of the services that may call, as a JWKS document"
    )
    user_jwks: str = Field(
        default='{"keys": []}',
        description="public keys that people's access tokens are signed under, as a JWKS document",
    )
    page_key: SecretStr = Field(min_length=32, description="what page tokens are signed under")
    scan_per_second: float = Field(default=20, gt=0, description="scans of one address prefix in the long run")
    scan_burst: int = Field(default=60, ge=1, description="scans of one address prefix at once")
    device_per_second: float = Field(default=20, gt=0, description="scans of one device in the long run")
    device_burst: int = Field(default=60, ge=1, description="scans of one device at once")
    code_per_second: float = Field(default=20, gt=0, description="scans of one code in the long run")
    code_burst: int = Field(default=200, ge=1, description="scans of one code at once")
    factory_per_second: float = Field(default=5_000, gt=0, description="scans of one factory's codes in the long run")
    factory_burst: int = Field(default=50_000, ge=1, description="scans of one factory's codes at once")
    places: Literal["", "edge", "database"] = Field(
        default="", description="where places come from: the edge's x-client-place, a database, or nowhere"
    )
    places_database: Path | None = Field(default=None, description="a city database in MaxMind's format")
    cookie_secure: bool = Field(default=True, description="the page's cookie goes over HTTPS alone")
    counters_seconds: float = Field(default=0.25, gt=0, description="for Valkey's answer; then a scan goes on without")
    card_capacity: int = Field(default=100_000, ge=1, description="products that a process remembers")
    card_fresh_seconds: float = Field(default=1.5, gt=0, le=2, description="until a change at the factory counts here")
    card_stale_seconds: float = Field(default=3600.0, ge=0, description="how long cards serve without PostgreSQL")
    proof_capacity: int = Field(default=10_000, ge=1, description="batches whose final proof a process remembers")

    @field_validator("keyring")
    @classmethod
    def _sound(cls, keyring: SecretStr) -> SecretStr:
        Keyring.from_json(keyring.get_secret_value())
        return keyring

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if self.places == "database" and self.places_database is None:
            raise ValueError("places_database is missing, and places come from it")
        return self

    @property
    def budgets(self) -> Budgets:
        """How often there may be scans."""
        return Budgets(
            source=Rate(self.scan_per_second, self.scan_burst),
            device=Rate(self.device_per_second, self.device_burst),
            code=Rate(self.code_per_second, self.code_burst),
            factory=Rate(self.factory_per_second, self.factory_burst),
        )

    @property
    def card_limits(self) -> Limits:
        """The three settings on cards."""
        return Limits(self.card_capacity, self.card_fresh_seconds, self.card_stale_seconds)


class KeySettings(RecordSettings):
    """The key that the ledger is signed with."""

    ledger_key: SecretStr = Field(
        description="signing key of checkpoints, as `python -m scan new-ledger-key` prints it"
    )

    @model_validator(mode="after")
    def _signed(self) -> Self:
        if self.ledger_signer.verifier.name != self.ledger_origin:
            raise ValueError("ledger_key is the key of another ledger than ledger_origin")
        return self

    @property
    def ledger_signer(self) -> Signer:
        """The key of checkpoints. Raises KeyMalformedError, a ValueError."""
        return Signer.from_text(self.ledger_key.get_secret_value().strip())


class AuditSettings(RecordSettings, LogSettings, DatabaseSettings):
    """Everything that `python -m scan audit` and `replay` need; the role may only read."""


class JournalSettings(KeySettings, LogSettings, DatabaseSettings, ShardSettings):
    """Everything that `python -m scan journal` needs."""

    service_key: SecretStr = Field(description="Ed25519 private key, PEM")
    anchor_target: str = Field(min_length=1, description="gRPC target of the anchor service")
    factory_target: str = Field(min_length=1, description="gRPC target of the factory service")
    reports_told_seconds: float = Field(default=30.0, gt=0, description="between rounds over reported products")
    suspicion_again_seconds: float = Field(default=10.0, gt=0, description="until a suspicion is sent once more")
    ledger_checkpoint_seconds: float = Field(default=10.0, ge=0.1, le=10, description="between checkpoints, at most")
    metrics_host: str = "0.0.0.0"  # noqa: S104
    metrics_port: int = Field(default=0, ge=0, le=65535, description="0 serves no metrics")
    journal_group: int = Field(default=2_000, ge=1, le=20_000, description="scans in one transaction, at most")
    journal_poll_seconds: float = Field(default=0.1, gt=0, le=1, description="between looks for new scans")
    journal_lease_seconds: float = Field(default=10.0, ge=1, description="a hung writer is replaced after so long")
    months_ahead: int = Field(default=3, ge=1, le=24, description="months of events made ahead")
    retention_months: int = Field(default=13, ge=2, description="whole months of events kept beside this one")
