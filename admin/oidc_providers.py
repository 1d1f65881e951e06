"""Providers that people may log in by, as they are configured."""

from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def is_safe(url: str, *, allow_loopback: bool) -> bool:
    """Whether secrets may go there: over https, or, where that is allowed, in the clear to this machine alone."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    clear = allow_loopback and parts.scheme == "http" and parts.hostname in LOOPBACK
    return (parts.scheme == "https" or clear) and bool(parts.hostname) and _plain(url, parts)


def _plain(url: str, parts: SplitResult) -> bool:
    return url.isascii() and url.isprintable() and " " not in url and not parts.fragment and "@" not in parts.netloc


def _url(value: str, info: ValidationInfo) -> str:
    if not is_safe(value, allow_loopback=bool(info.context and info.context["allow_loopback"])):
        raise ValueError("is not a URL with https (http on the loopback takes OIDC_ALLOW_LOOPBACK)")
    return value


def _issuer(value: str) -> str:
    if urlsplit(value).query:
        raise ValueError("has a query, which issuers have not")
    return value


def _contents(value: object) -> str:
    try:
        text = Path(str(value)).read_text().strip()
    except (OSError, ValueError):
        raise ValueError("names a file that cannot be read") from None
    if not text:
        raise ValueError("names a file that is empty")
    return text


Url = Annotated[str, Field(max_length=512), AfterValidator(_url)]
Domain = Annotated[str, Field(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$", max_length=253)]


class Provider(BaseModel):
    """A provider, by OpenID Connect Core 1.0; `client_secret` is what the file named `client_secret_file` holds.

    `email_domains`, in lower case, are those whose verified addresses this provider may speak for: who has one is
    linked to the person with that email. Without any, admins alone link.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    id: str = Field(pattern="^[a-z0-9][a-z0-9-]{0,31}$")
    name: str = Field(min_length=1, max_length=60)
    issuer: Annotated[Url, AfterValidator(_issuer)]
    client_id: str = Field(min_length=1, max_length=255)
    client_secret: Annotated[SecretStr, BeforeValidator(_contents)] = Field(alias="client_secret_file")
    redirect_uri: Url
    email_domains: frozenset[Domain] = frozenset()

    def speaks_for(self, email: str) -> bool:
        """Whether this provider may say whose this email is; it is in lower case."""
        local, _, domain = email.rpartition("@")
        return bool(local) and domain in self.email_domains


_PROVIDERS = TypeAdapter(tuple[Provider, ...])


def read_providers(text: str, *, allow_loopback: bool) -> tuple[Provider, ...]:
    """A JSON list of providers. Raises ValueError, which says what is wrong where and shows no values."""
    try:
        providers = _PROVIDERS.validate_json(text, context={"allow_loopback": allow_loopback})
    except ValidationError as error:
        wrong = (f"{'.'.join(map(str, e['loc'])) or 'the list'}: {e['msg']}" for e in error.errors())
        raise ValueError("; ".join(wrong)) from None
    for name in ("id", "issuer"):
        if len({getattr(provider, name) for provider in providers}) != len(providers):
            raise ValueError(f"the same {name} stands there twice")
    return providers
