"""Settings from the environment and from secret files. Only `__main__` of a service loads them.

Every field `name` is read from `VOKETAG_NAME`, or from the file that `VOKETAG_NAME_FILE` points to.
"""

import os
import sys
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "VOKETAG_"


class _SecretFiles(PydanticBaseSettingsSource):
    """Values out of the files that `VOKETAG_<FIELD>_FILE` names."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        path = os.environ.get(f"{PREFIX}{field_name.upper()}_FILE")
        return (Path(path).read_text().strip() if path else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        fields = self.settings_cls.model_fields
        values = {name: self.get_field_value(field, name)[0] for name, field in fields.items()}
        return {name: value for name, value in values.items() if value is not None}


class Settings(BaseSettings):
    """Base of every settings class: frozen, and strict about what it knows."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments win over the environment, which wins over files."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, _SecretFiles(settings_cls)


class ServerSettings(Settings):
    """How a server listens, stops and is watched."""

    listen_host: str = "0.0.0.0"  # noqa: S104
    listen_port: int = Field(ge=1, le=65535)
    processes: int = Field(default=1, ge=1, le=64)
    metrics_host: str = "0.0.0.0"  # noqa: S104
    metrics_port: int = Field(default=0, ge=0, le=65535, description="0 serves no metrics; process i adds i")
    reflection: bool = False
    drain_seconds: float = Field(default=0.5, ge=0, description="between NOT_SERVING and the end of accepting")
    grace_seconds: float = Field(default=10.0, ge=0, description="for calls under way, after draining")
    max_message_bytes: int = Field(default=4 * 1024 * 1024, ge=4096)
    keepalive_seconds: float = Field(
        default=20.0, ge=1, description="a silent connection is pinged after so long, and ended half as long after that"
    )
    credentials_seconds: float = Field(
        default=15.0, gt=0, description="between looks whether the key that opened a stream still counts"
    )


class LogSettings(Settings):
    """How a process logs and traces."""

    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    otlp_endpoint: str | None = Field(default=None, description="gRPC endpoint of an OpenTelemetry collector")


class DatabaseSettings(Settings):
    """The service's own role in PostgreSQL."""

    database_url: str = Field(pattern=r"^postgres(ql)?://", description="without a password")
    database_password: SecretStr
    database_pool_min: int = Field(default=2, ge=0)
    database_pool_max: int = Field(default=10, ge=1)
    database_seconds: float = Field(default=30.0, gt=0, description="for one statement, waiting for locks included")


class OwnerSettings(Settings):
    """The owner's role in PostgreSQL, for migrations alone."""

    owner_database_url: str = Field(pattern=r"^postgres(ql)?://")
    owner_database_password: SecretStr


class ValkeySettings(Settings):
    """The shared hot state."""

    valkey_url: str = Field(pattern=r"^rediss?://", description="without a password")
    valkey_password: SecretStr | None = None


class SpreadSettings(ValkeySettings):
    """The shared hot state where it may lie on a cluster."""

    valkey_cluster: bool = Field(default=False, description="valkey_url names nodes of a cluster")


class IdentitySettings(Settings):
    """How this service proves who it is, and knows its peers."""

    service_key: SecretStr = Field(description="Ed25519 private key, PEM")
    jwks: str = Field(description="public keys of every service, as a JWKS document")


S = TypeVar("S", bound=Settings)


def load(settings: type[S]) -> S:
    """The settings, or exit status 2 with one message that lists everything missing or wrong. Shows no values."""
    try:
        return settings()
    except ValidationError as error:
        lines = [
            f"  {PREFIX * bool(e['loc'])}{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()
        ]
        message = "Settings are missing or wrong (each may also come from a file named by …_FILE):\n" + "\n".join(lines)
    except OSError as error:
        message = f"A settings file cannot be read: {error}"
    sys.stderr.write(message + "\n")
    raise SystemExit(2)
