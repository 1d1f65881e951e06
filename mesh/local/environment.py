"""What each process of the local mesh is told: the same variables as on any server, pointing at this machine."""

from dataclasses import dataclass
from pathlib import Path

from mesh.local.ports import LOOPBACK
from mesh.local.secrets import AUDIT_ORIGIN, LEDGER_ORIGIN, Secrets

CHAIN_WINDOW_SECONDS = "1"
CHAIN_CONFIRMATIONS = "2"
AUDIT_CHECKPOINT_SECONDS = "10"


@dataclass(frozen=True, slots=True)
class Environment:
    """Makes the environment of a process from the mesh's ports and secrets."""

    ports: dict[str, int]
    secrets: Secrets
    deployment: Path
    url_prefix: str

    def service(self, service: str, *, port: str | None, metrics: str) -> dict[str, str]:
        """For a process of `service`; `port` and `metrics` name its ports, `port` None for a worker."""
        common = {
            "DATABASE_URL": f"postgresql://voketag_{service}@{LOOPBACK}:{self.ports['postgres']}/voketag",
            "DATABASE_PASSWORD_FILE": self.secrets.postgres_password(f"voketag_{service}"),
            "VALKEY_URL": f"redis://{LOOPBACK}:{self.ports['valkey']}/0",
            "VALKEY_PASSWORD_FILE": self.secrets.valkey_password,
            "SERVICE_KEY_FILE": self.secrets.identity(service),
            "JWKS_FILE": self.secrets.jwks,
            "METRICS_HOST": LOOPBACK,
            "METRICS_PORT": self.ports[metrics],
            "DRAIN_SECONDS": 0,
        }
        listen = {"LISTEN_HOST": LOOPBACK, "LISTEN_PORT": self.ports[port], "REFLECTION": 1} if port else {}
        return _prefixed(common | listen | getattr(self, f"_{service}")())

    def owner(self) -> dict[str, str]:
        """For migrations."""
        return _prefixed(
            {
                "OWNER_DATABASE_URL": f"postgresql://voketag@{LOOPBACK}:{self.ports['postgres']}/voketag",
                "OWNER_DATABASE_PASSWORD_FILE": self.secrets.postgres_password("voketag"),
            }
        )

    def deploy(self) -> dict[str, str]:
        """For `anchor deploy`."""
        return _prefixed(self._anchor())

    def _scan(self) -> dict[str, object]:
        return {
            "USER_JWKS_FILE": self.secrets.user_jwks,
            "KEYRING_FILE": self.secrets.keyring,
            "PAGE_KEY_FILE": self.secrets.page_key,
            "ANCHOR_TARGET": f"{LOOPBACK}:{self.ports['anchor']}",
            "LEDGER_ORIGIN": LEDGER_ORIGIN,
            "LEDGER_KEY_FILE": self.secrets.ledger_key,
            "COOKIE_SECURE": 0,
            "FACTORY_TARGET": f"{LOOPBACK}:{self.ports['factory']}",
        }

    def _factory(self) -> dict[str, object]:
        return {
            "USER_JWKS_FILE": self.secrets.user_jwks,
            "KEYRING_FILE": self.secrets.keyring,
            "API_KEY_ROOT_FILE": self.secrets.api_key_root,
            "PAGE_KEY_FILE": self.secrets.page_key,
            "WEBHOOK_ROOT_FILE": self.secrets.webhook_root,
            "WEBHOOK_ALLOW_PRIVATE": 1,
            "PUBLIC_URL_PREFIX": self.url_prefix,
            "ANCHOR_TARGET": f"{LOOPBACK}:{self.ports['anchor']}",
        }

    def _admin(self) -> dict[str, object]:
        return {
            "FACTORY_TARGET": f"{LOOPBACK}:{self.ports['factory']}",
            "USER_KEYS_FILE": self.secrets.user_keys,
            "PAGE_KEY_FILE": self.secrets.page_key,
            "FACTOR_ROOT_FILE": self.secrets.factor_root,
            "SCAN_TARGET": f"{LOOPBACK}:{self.ports['scan']}",
            "MAIL_FOLDER": self.deployment.parent / "mail",
            "AUDIT_ORIGIN": AUDIT_ORIGIN,
            "AUDIT_KEY_FILE": self.secrets.audit_key,
            "AUDIT_CHECKPOINT_SECONDS": AUDIT_CHECKPOINT_SECONDS,
            "ANCHOR_TARGET": f"{LOOPBACK}:{self.ports['anchor']}",
        }

    def _anchor(self) -> dict[str, object]:
        return {
            "USER_JWKS_FILE": self.secrets.user_jwks,
            "CHAIN_URL": f"http://{LOOPBACK}:{self.ports['chain']}",
            "CHAIN_READ_URL": f"http://{LOOPBACK}:{self.ports['chain']}",
            "CHAIN_ID": 31_337,
            "CHAIN_KEY_FILE": self.secrets.chain_key,
            "DEPLOYMENT_FILE": self.deployment,
            "DEPLOYMENT_PATH": self.deployment,
            "WINDOW_SECONDS": CHAIN_WINDOW_SECONDS,
            "CONFIRMATIONS": CHAIN_CONFIRMATIONS,
        }


def _prefixed(values: dict[str, object]) -> dict[str, str]:
    return {f"VOKETAG_{name}": str(value) for name, value in values.items()}
