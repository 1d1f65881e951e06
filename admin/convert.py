"""Protobuf ↔ dataclass."""

from datetime import datetime
from typing import Any
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from voketag.admin.v1 import auth_pb2, user_pb2
from voketag.mesh.v1 import access_pb2

from admin.oidc_links import OidcLink
from admin.oidc_logins import Begun, Redirect
from admin.oidc_providers import Provider
from admin.sessions import Tokens
from admin.tokens import TokenKeys
from admin.users import User, Wanted, normal_email
from mesh.policy import role_name


def timestamp(moment: datetime) -> Timestamp:
    """A moment."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def user_message(user: User) -> user_pb2.User:
    """A person."""
    return user_pb2.User(
        user_id=str(user.user_id),
        email=user.email or "",
        name=user.name,
        role=access_pb2.Role.Value(f"ROLE_{user.role.upper()}"),
        factory_id=str(user.factory_id or ""),
        state=user_pb2.UserState.Value(f"USER_STATE_{user.state.upper()}"),
        create_time=timestamp(user.created_at),
        update_time=timestamp(user.updated_at),
    )


def wanted(request: user_pb2.ListUsersRequest) -> Wanted:
    """Which people to list."""
    state = user_pb2.UserState.Name(request.state).removeprefix("USER_STATE_").lower()
    return Wanted(
        role=role_name(request.role) if request.role else None,
        state=state if request.state else None,
        factory_id=factory_id(request.factory_id),
        email=normal_email(request.email) or None,
    )


def factory_id(text: str) -> UUID | None:
    """A factory, or none."""
    return UUID(text) if text else None


def changes(request: user_pb2.UpdateUserRequest) -> dict[str, Any]:
    """What the mask names."""
    values = {
        "name": request.name,
        "email": normal_email(request.email) or None,
        "role": role_name(request.role),
        "factory_id": factory_id(request.factory_id),
    }
    return {path: values[path] for path in request.update_mask.paths}


def tokens_message(tokens: Tokens) -> auth_pb2.Tokens:
    """The tokens of a session."""
    return auth_pb2.Tokens(
        access_token=tokens.access,
        access_expire_time=timestamp(tokens.access_expires_at),
        refresh_token=tokens.refresh,
        session_expire_time=timestamp(tokens.session_expires_at),
    )


def jwks_message(keys: TokenKeys) -> auth_pb2.GetJwksResponse:
    """The public keys."""
    return auth_pb2.GetJwksResponse(
        keys=[auth_pb2.Jwk(kty="OKP", crv="Ed25519", x=key.x, kid=key.kid, use="sig", alg="EdDSA") for key in keys.keys]
    )


def provider_message(provider: Provider) -> auth_pb2.OidcProvider:
    """What everybody may know of a provider."""
    return auth_pb2.OidcProvider(provider=provider.id, name=provider.name)


def begun_message(begun: Begun) -> auth_pb2.BeginOidcLoginResponse:
    """A login that has begun."""
    return auth_pb2.BeginOidcLoginResponse(
        authorization_url=begun.url,
        state=begun.state,
        login_secret=begun.secret,
        expire_time=timestamp(begun.expires_at),
    )


def redirect(request: auth_pb2.CompleteOidcLoginRequest) -> Redirect:
    """What somebody came back with."""
    return Redirect(
        request.provider,
        request.state,
        request.login_secret,
        request.code,
        issuer=request.issuer,
        factor_code=request.factor_code,
    )


def link_message(link: OidcLink) -> user_pb2.OidcLink:
    """A link."""
    return user_pb2.OidcLink(issuer=link.issuer, subject=link.subject, create_time=timestamp(link.created_at))
