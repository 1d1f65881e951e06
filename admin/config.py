"""Settings of Admin's processes; loaded in `__main__` alone."""

import base64
import binascii
from pathlib import Path

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from admin.mail import SmtpTls
from admin.oidc_providers import Provider, read_providers
from admin.tokens import TokenKeys
from mesh.config import DatabaseSettings, LogSettings, ServerSettings, Settings
from trust.note import Signer

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


class HashSettings(Settings):
    """What a password hash costs (Argon2id); after a change passwords are hashed anew at the next login."""

    argon2_memory_kib: int = Field(default=19_456, ge=8, le=1_048_576)
    argon2_passes: int = Field(default=2, ge=1, le=100)


class MailSettings(Settings):
    """Where mail goes: to a server, or into a folder that people look into, as in the local mesh."""

    mail_folder: Path | None = Field(default=None, description="each mail becomes a file here, mode 0600")
    mail_from: str = Field(default="VokeTag <no-reply@voketag.com>")
    smtp_host: str | None = None
    smtp_port: int = Field(default=587, ge=1, le=65535)
    smtp_user: str | None = None
    smtp_password: SecretStr | None = None
    smtp_tls: SmtpTls = Field(default=SmtpTls.STARTTLS, description="how the connection is protected")

    @model_validator(mode="after")
    def _one_way(self) -> "MailSettings":
        if (self.mail_folder is None) == (self.smtp_host is None):
            raise ValueError("either SMTP_HOST or MAIL_FOLDER is needed")
        return self


class LogNameSettings(Settings):
    """Which audit log this is."""

    audit_origin: str = Field(default="voketag.com/audit", min_length=1, description="the name of the audit log")


class LogKeySettings(LogNameSettings):
    """The key that the audit log is signed with."""

    audit_key: SecretStr = Field(description="signing key of checkpoints, as `python -m admin new-audit-key` prints it")

    @model_validator(mode="after")
    def _key_of_this_log(self) -> "LogKeySettings":
        if self.audit_signer.verifier.name != self.audit_origin:
            raise ValueError("audit_key is the key of another log than audit_origin")
        return self

    @property
    def audit_signer(self) -> Signer:
        """The key of checkpoints. Raises KeyMalformedError, a ValueError."""
        return Signer.from_text(self.audit_key.get_secret_value().strip())


class AuditSettings(LogNameSettings, LogSettings, DatabaseSettings):
    """Everything that `python -m admin audit` needs; the role may only read."""


class ReportSettings(Settings):
    """What server and worker must have alike."""

    report_language: str = Field(default="en", pattern="^(en|pt-BR|es)$", description="weekly reports, unless said")


class OidcSettings(Settings):
    """By which other providers people may log in; by none unless said."""

    oidc_allow_loopback: bool = Field(default=False, description="http to this machine is good enough, as in tests")
    oidc_providers: str = Field(default="[]", description="JSON, as admin.oidc_providers.Provider has it")

    @field_validator("oidc_providers")
    @classmethod
    def _providers_readable(cls, value: str, info: ValidationInfo) -> str:
        read_providers(value, allow_loopback=info.data.get("oidc_allow_loopback", False))
        return value

    @property
    def providers(self) -> tuple[Provider, ...]:
        """The providers, with their secrets as the files hold them now."""
        return read_providers(self.oidc_providers, allow_loopback=self.oidc_allow_loopback)


class AdminSettings(
    ServerSettings,
    LogSettings,
    DatabaseSettings,
    HashSettings,
    MailSettings,
    LogKeySettings,
    ReportSettings,
    OidcSettings,
):
    """Settings of `python -m admin`."""

    service_key: SecretStr = Field(description="Ed25519 private key, PEM")
    anchor_target: str = Field(min_length=1, description="gRPC target of the anchor service")
    factory_target: str = Field(min_length=1, description="gRPC target of the factory service")
    audit_collect_seconds: float = Field(default=1.0, gt=0, le=60, description="between looks for new audit rows")
    audit_checkpoint_seconds: float = Field(default=60.0, ge=0.1, description="between checkpoints of the audit log")

    jwks: str = Field(description="public keys of every service, as a JWKS document")
    scan_target: str = Field(min_length=1, description="gRPC target of the scan service")
    user_keys: SecretStr = Field(description="what access tokens are signed under, as TokenKeys.from_json reads it")
    page_key: SecretStr = Field(description="base64 of at least 32 bytes; signs page tokens")
    factor_root: SecretStr = Field(description="base64 of at least 32 bytes; secrets of second factors follow from it")
    hashes_at_once: int = Field(default=2, ge=1, le=64, description="passwords hashed at the same time in one process")

    @field_validator("user_keys")
    @classmethod
    def _keys_readable(cls, value: SecretStr) -> SecretStr:
        TokenKeys.from_json(value.get_secret_value())
        return value

    @field_validator("page_key", "factor_root")
    @classmethod
    def _secret_readable(cls, value: SecretStr) -> SecretStr:
        secret_bytes(value.get_secret_value())
        return value


class WorkerSettings(LogSettings, DatabaseSettings, ReportSettings):
    """Settings of `python -m admin work`, which holds no secret beside its password."""

    metrics_host: str = "0.0.0.0"  # noqa: S104
    metrics_port: int = Field(default=0, ge=0, le=65535, description="0 serves no metrics")
    exports_at_once: int = Field(default=2, ge=2, le=16, description="tables that are made at the same time")
    lease_seconds: float = Field(default=10.0, ge=0.5, description="a dead worker's job is taken over after so long")


class CreateSettings(LogSettings, DatabaseSettings, HashSettings):
    """Settings of `python -m admin create`."""
