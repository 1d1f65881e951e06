"""Settings of the server and of the worker; the worker gets no secret that it does not need."""

import base64
import binascii

from pydantic import Field, SecretStr, field_validator

from mesh.config import DatabaseSettings, LogSettings, ServerSettings, Settings, ValkeySettings
from trust.token import Keyring

MIN_SECRET_BYTES = 32


def secret_bytes(text: str) -> bytes:
    """The secret out of its base64. Raises ValueError, which quotes nothing, when it is none of at least 32 bytes."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) < MIN_SECRET_BYTES:
        raise ValueError(f"is not base64 of at least {MIN_SECRET_BYTES} bytes")
    return raw


class WebhookSettings(Settings):
    """Settings that webhooks need in the server and in the worker alike."""

    webhook_root: SecretStr = Field(description="base64 of at least 32 bytes; signing keys of webhooks follow from it")
    webhook_allow_private: bool = Field(default=False, description="webhooks may go to any address, and over http")

    @field_validator("webhook_root")
    @classmethod
    def _root_readable(cls, value: SecretStr) -> SecretStr:
        secret_bytes(value.get_secret_value())
        return value


class FactorySettings(ServerSettings, LogSettings, DatabaseSettings, ValkeySettings, WebhookSettings):
    """Settings of `python -m factory`."""

    jwks: str = Field(description="public keys of every service, as a JWKS document")
    user_jwks: str = Field(description="public keys that people's access tokens are signed under, as a JWKS document")
    keyring: SecretStr = Field(description="token keys, as trust.token.Keyring.from_json reads them")
    api_key_root: SecretStr = Field(description="base64 of at least 32 bytes; API keys follow from it")
    page_key: SecretStr = Field(description="base64 of at least 32 bytes; signs page tokens")
    products_a_day: int = Field(default=10_000_000, ge=0, description="quota of a factory that has none of its own")
    concurrent_imports: int = Field(default=20, ge=0, description="quota of a factory that has none of its own")
    import_lease_seconds: float = Field(
        default=30.0, ge=0.5, description="an import of a process that died counts among those under way for so long"
    )
    public_url_prefix: str = Field(
        default="https://app.voketag.com/r/",
        pattern="^https?://.+/$",
        description="what a token is appended to for the QR link",
    )

    @field_validator("keyring")
    @classmethod
    def _keyring_readable(cls, value: SecretStr) -> SecretStr:
        Keyring.from_json(value.get_secret_value())
        return value

    @field_validator("api_key_root", "page_key")
    @classmethod
    def _secret_readable(cls, value: SecretStr) -> SecretStr:
        secret_bytes(value.get_secret_value())
        return value


class WorkerSettings(LogSettings, DatabaseSettings, ValkeySettings, WebhookSettings):
    """Settings of `python -m factory work`."""

    service_key: SecretStr = Field(description="Ed25519 private key, PEM")
    anchor_target: str = Field(min_length=1, description="gRPC target of the anchor service")
    metrics_host: str = "0.0.0.0"  # noqa: S104
    metrics_port: int = Field(default=0, ge=0, le=65535, description="0 serves no metrics")
    concurrency: int = Field(default=20, ge=2, le=1000, description="jobs at once")
    lease_seconds: float = Field(default=10.0, ge=0.5, description="a dead worker's job is taken over after so long")
