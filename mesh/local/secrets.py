"""The local mesh's secrets: made once, kept in files for this user alone."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mesh.local.files import write_whole
from trust.note import Signer

SERVICES = ("scan", "factory", "anchor", "admin")
ROLES = ("voketag", *(f"voketag_{service}" for service in SERVICES))
LEDGER_ORIGIN = "voketag.com/scans"
AUDIT_ORIGIN = "voketag.com/audit"
_SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # SEC 2, 2.4.1


class Secrets:
    """A folder (0700) of secret files (0600), named by the methods below.

    A secret that is there is never changed: tokens are printed under the keyring, clusters hold the passwords.
    """

    def __init__(self, folder: Path, random_bytes: Callable[[int], bytes]) -> None:
        self.folder = folder
        self._random = random_bytes

    @property
    def keyring(self) -> Path:
        """Token keys: `{"keys": [{"kid": 1, "key": base64 of 32 bytes, "state": "signing"}]}`."""
        return self.folder / "keyring.json"

    @property
    def api_key_root(self) -> Path:
        """The root that API keys are hashed under: base64 of 32 bytes."""
        return self.folder / "api_key_root"

    @property
    def webhook_root(self) -> Path:
        """The root that signing keys of webhooks follow from: base64 of 32 bytes."""
        return self.folder / "webhook_root"

    @property
    def factor_root(self) -> Path:
        """The root that secrets of second factors follow from: base64 of 32 bytes."""
        return self.folder / "factor_root"

    @property
    def page_key(self) -> Path:
        """The key that page tokens are signed under: base64 of 32 bytes."""
        return self.folder / "page_key"

    @property
    def user_keys(self) -> Path:
        """Keys that people's access tokens are signed under, as `admin.tokens.TokenKeys` reads them."""
        return self.folder / "user_keys.json"

    @property
    def user_jwks(self) -> Path:
        """The public halves of them (RFC 7517, RFC 8037)."""
        return self.folder / "user_jwks.json"

    @property
    def valkey_password(self) -> Path:
        """Valkey's password."""
        return self.folder / "valkey_password"

    @property
    def chain_key(self) -> Path:
        """The private key of the anchor's submitter: 0x and 64 hex digits."""
        return self.folder / "chain_key"

    @property
    def ledger_key(self) -> Path:
        """The key that checkpoints of the scan ledger are signed with, as `trust.note.Signer` reads it."""
        return self.folder / "ledger_key"

    @property
    def audit_key(self) -> Path:
        """The key that checkpoints of the audit log are signed with, as `trust.note.Signer` reads it."""
        return self.folder / "audit_key"

    @property
    def jwks(self) -> Path:
        """The services' public keys (RFC 7517, RFC 8037), each with the member `svc` that names its holder."""
        return self.folder / "jwks.json"

    def postgres_password(self, role: str) -> Path:
        """The password of a PostgreSQL role, one of ROLES."""
        return self.folder / f"postgres_{role}"

    def identity(self, service: str) -> Path:
        """The Ed25519 private key (PEM, PKCS #8) of a service, one of SERVICES."""
        return self.folder / f"identity_{service}.pem"

    def make(self) -> None:
        """Make what is missing; the public bundle always follows the private keys that are there."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self._once(self.keyring, self._new_keyring)
        self._once(self.api_key_root, lambda: _base64(self._random(32)))
        self._once(self.webhook_root, lambda: _base64(self._random(32)))
        self._once(self.factor_root, lambda: _base64(self._random(32)))
        self._once(self.page_key, lambda: _base64(self._random(32)))
        self._once(self.user_keys, self._new_user_keys)
        self._once(self.valkey_password, self._new_password)
        self._once(self.chain_key, self._new_chain_key)
        self._once(self.ledger_key, lambda: self._new_log_key(LEDGER_ORIGIN))
        self._once(self.audit_key, lambda: self._new_log_key(AUDIT_ORIGIN))
        for role in ROLES:
            self._once(self.postgres_password(role), self._new_password)
        for service in SERVICES:
            self._once(self.identity(service), self._new_identity)
        keys = [self._public_key(service) for service in SERVICES]
        write_whole(self.jwks, json.dumps({"keys": keys}, indent=1).encode())
        people = [self._public_user_key(key) for key in json.loads(self.user_keys.read_text())["keys"]]
        write_whole(self.user_jwks, json.dumps({"keys": people}, indent=1).encode())

    @staticmethod
    def _once(path: Path, new: Callable[[], str]) -> None:
        if not path.exists():
            write_whole(path, new().encode())

    def _new_keyring(self) -> str:
        key = {"kid": 1, "key": _base64(self._random(32)), "state": "signing"}
        return json.dumps({"keys": [key]}, indent=1)

    def _new_user_keys(self) -> str:
        key = {"kid": "user-1", "key": _base64(self._random(32)), "state": "signing"}
        return json.dumps({"keys": [key]}, indent=1)

    def _new_password(self) -> str:
        return self._random(24).hex()

    def _new_chain_key(self) -> str:
        return f"0x{int.from_bytes(self._random(32)) % (_SECP256K1_ORDER - 1) + 1:064x}"

    def _new_log_key(self, origin: str) -> str:
        return Signer(origin, Ed25519PrivateKey.from_private_bytes(self._random(32))).to_text()

    def _new_identity(self) -> str:
        key = Ed25519PrivateKey.from_private_bytes(self._random(32))
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    def _public_key(self, service: str) -> dict[str, str]:
        private = serialization.load_pem_private_key(self.identity(service).read_bytes(), password=None)
        assert isinstance(private, Ed25519PrivateKey)
        return {**_jwk(f"{service}-1", private), "svc": service}

    def _public_user_key(self, key: dict[str, str]) -> dict[str, str]:
        return _jwk(key["kid"], Ed25519PrivateKey.from_private_bytes(base64.b64decode(key["key"])))


def _jwk(kid: str, private: Ed25519PrivateKey) -> dict[str, str]:
    raw = private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "use": "sig", "alg": "EdDSA"}


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
