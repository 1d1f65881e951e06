"""Settings of Anchor's processes; loaded in `__main__` alone."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, TypeAdapter, ValidationError, field_validator, model_validator

from anchor.contract import ADDRESS, Deployment
from anchor.target import AUTHORITY, CHAIN, NAME, Policy
from mesh.config import DatabaseSettings, IdentitySettings, LogSettings, ServerSettings, Settings

URLS = TypeAdapter(dict[str, str])


class ServeSettings(ServerSettings, DatabaseSettings, IdentitySettings, LogSettings):
    """The gRPC server. It holds no chain key, and reads the chain only for those who ask what stands there now."""

    user_jwks: str = Field(description="public keys that people's access tokens are signed under, as a JWKS document")
    chain_read_url: SecretStr | None = Field(
        default=None, description="JSON-RPC over HTTP, to read the target `chain` from alone; may hold a provider's key"
    )
    chain_read_urls: SecretStr = Field(
        default=SecretStr("{}"), description='those of other targets, by name: `{"polygon": "https://..."}`'
    )
    chain_read_seconds: float = Field(default=3.0, gt=0, description="how long to wait for each answer of them")

    watchers: int = Field(default=1000, ge=1, description="streams open at once in one process")
    watch_poll_seconds: float = Field(default=5.0, gt=0, description="how late a lost notification makes a watcher")

    @field_validator("chain_read_urls")
    @classmethod
    def _are_urls_of_chains(cls, text: SecretStr) -> SecretStr:
        try:
            urls = URLS.validate_json(text.get_secret_value())
        except ValidationError:
            raise ValueError("is not a JSON object of URLs") from None  # the cause would quote them
        if not all(NAME.fullmatch(name) and not AUTHORITY.fullmatch(name) for name in urls):
            raise ValueError("has a name that is no chain's")
        return text

    @property
    def read_urls(self) -> dict[str, str]:
        """Where each target's chain is read from, by the target's name."""
        default = {CHAIN: self.chain_read_url.get_secret_value()} if self.chain_read_url else {}
        return default | URLS.validate_json(self.chain_read_urls.get_secret_value())


class NodeSettings(Settings):
    """The chain's node."""

    chain_url: SecretStr = Field(description="JSON-RPC over HTTP; may hold a provider's key")
    chain_timeout_seconds: float = Field(default=10.0, gt=0)
    chain_key_file: Path | None = Field(
        default=None, description="the submitter's private key in hex, or a Web3 keystore v3; mode 0600"
    )
    chain_key_password: SecretStr | None = Field(default=None, description="of the keystore")
    signer_url: SecretStr | None = Field(default=None, description="a remote signer, in place of a key file")
    signer_address: str | None = Field(default=None, description="the remote signer's account", pattern=ADDRESS.pattern)
    signer_token: SecretStr | None = Field(default=None, min_length=32, description="known to it and the submitter")
    signer_timeout_seconds: float = Field(default=10.0, gt=0)
    start_seconds: float = Field(default=10.0, ge=0, description="how long to wait for a node that is starting")

    @model_validator(mode="after")
    def _one_signer(self) -> Self:
        remote = [self.signer_url, self.signer_address, self.signer_token]
        if (self.chain_key_file is None) == (self.signer_url is None) or 0 < remote.count(None) < len(remote):
            raise ValueError("set CHAIN_KEY_FILE, or all of SIGNER_URL, SIGNER_ADDRESS and SIGNER_TOKEN")
        return self


class TargetSettings(DatabaseSettings, LogSettings):
    """What the processes of all targets share; policy and windows have to be the same in all of them."""

    policy: str = Field(
        default=f"all {CHAIN}", description="targets of a root, and how many make it final: `all a b`, `2 of a b c`"
    )
    window_seconds: float = Field(default=60.0, ge=0, description="how long the oldest root waits for company")
    window_roots: int = Field(default=100_000, ge=1, le=1_000_000)
    poll_seconds: float = Field(default=1.0, gt=0)
    lease_seconds: float = Field(default=15.0, gt=0)
    metrics_host: str = "0.0.0.0"  # noqa: S104
    metrics_port: int = Field(default=0, ge=0, le=65535)

    @field_validator("policy")
    @classmethod
    def _is_policy(cls, text: str) -> str:
        Policy.parse(text)
        return text


class ChainKindSettings(Settings):
    """Which of the two that follow is meant."""

    chain_kind: Literal["evm", "memory"] = Field(default="evm", description="a node's chain, or one in this process")


class DeliverySettings(TargetSettings):
    """The submitter of any chain; one that has the chain in its own process needs no more."""

    target: str = Field(default=CHAIN, description="the chain's name among the targets", pattern=f"^{NAME.pattern}$")
    confirmations: Annotated[int, Field(ge=1)] | Literal["finalized"] = Field(
        default=12, description="blocks, its own included, that make a root final, or the chain's own tag `finalized`"
    )
    resend_after_seconds: float = Field(default=60.0, gt=0)
    max_fee_gwei: float = Field(default=200.0, gt=0, le=9e9, description="cap for both fees, a unit of gas")
    gas_limit: int = Field(default=80_000, ge=50_000)

    @field_validator("target")
    @classmethod
    def _is_chain(cls, name: str) -> str:
        if AUTHORITY.fullmatch(name):
            raise ValueError("is the name of a time-stamp authority")
        return name


class SubmitSettings(DeliverySettings, NodeSettings):
    """The submitter of a chain that a node serves."""

    deployment: str = Field(description="what `python -m anchor deploy` wrote")

    @field_validator("deployment")
    @classmethod
    def _is_deployment(cls, text: str) -> str:
        try:
            Deployment.parse(text)
        except ValueError as error:
            raise ValueError(f"is not a deployment: {error}") from None
        return text


class StampSettings(TargetSettings):
    """The stamper: one time-stamp authority."""

    target: str = Field(default="tsa", description="the authority's name among the targets")
    tsa_url: SecretStr = Field(description="RFC 3161 over HTTP; may hold a provider's key")
    tsa_certificates: Path = Field(description="PEM: the authority's certificate, or those that it leads to")
    tsa_timeout_seconds: float = Field(default=10.0, gt=0)

    @field_validator("target")
    @classmethod
    def _is_authority(cls, name: str) -> str:
        if not AUTHORITY.fullmatch(name):
            raise ValueError("is not `tsa`, or `tsa-` and more: the name of a time-stamp authority")
        return name


class DeploySettings(NodeSettings, LogSettings):
    """Deploying the contract."""

    deployment_path: Path = Field(description="where to write the address; nothing is deployed when it is still right")
    chain_id: int = Field(ge=1)
