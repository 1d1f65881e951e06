"""AuthService: logging in, for everybody."""

from typing import Any

from voketag.admin.v1 import auth_pb2 as pb
from voketag.admin.v1 import auth_pb2_grpc

from admin import convert
from admin.logins import Logins
from admin.oidc_logins import OidcLogins
from admin.resets import Resets
from admin.second_factors import SecondFactors
from admin.sessions import Sessions
from admin.tokens import TokenKeys
from admin.users import Users, normal_email
from mesh.identity import caller


class AuthService(auth_pb2_grpc.AuthServiceServicer):
    """See proto/voketag/admin/v1/auth.proto."""

    def __init__(
        self,
        logins: Logins,
        sessions: Sessions,
        resets: Resets,
        users: Users,
        *,
        factors: SecondFactors,
        keys: TokenKeys,
        oidc: OidcLogins,
    ) -> None:
        self._logins = logins
        self._sessions = sessions
        self._resets = resets
        self._users = users
        self._factors = factors
        self._keys = keys
        self._oidc = oidc

    async def Login(self, request: pb.LoginRequest, context: Any) -> pb.LoginResponse:
        """Opens a session."""
        user, tokens = await self._logins.login(request.email, request.password, request.code)
        return pb.LoginResponse(tokens=convert.tokens_message(tokens), user=convert.user_message(user))

    async def Refresh(self, request: pb.RefreshRequest, context: Any) -> pb.RefreshResponse:
        """Carries a session on."""
        tokens = await self._sessions.refresh(request.refresh_token)
        return pb.RefreshResponse(tokens=convert.tokens_message(tokens))

    async def Logout(self, request: pb.LogoutRequest, context: Any) -> pb.LogoutResponse:
        """Ends a session."""
        await self._sessions.end(request.refresh_token)
        return pb.LogoutResponse()

    async def GetJwks(self, request: pb.GetJwksRequest, context: Any) -> pb.GetJwksResponse:
        """The public keys."""
        return convert.jwks_message(self._keys)

    async def GetMe(self, request: pb.GetMeRequest, context: Any) -> pb.GetMeResponse:
        """Who the caller is."""
        user = await self._users.get(caller().uuid)
        second = await self._factors.is_on(user.user_id)
        return pb.GetMeResponse(user=convert.user_message(user), second_factor=second)

    async def ChangePassword(self, request: pb.ChangePasswordRequest, context: Any) -> pb.ChangePasswordResponse:
        """Sets the caller's password."""
        await self._logins.change_password(caller().uuid, request.current_password, request.new_password)
        return pb.ChangePasswordResponse()

    async def RequestPasswordReset(
        self, request: pb.RequestPasswordResetRequest, context: Any
    ) -> pb.RequestPasswordResetResponse:
        """Mails a token to whom the email belongs."""
        self._resets.ask(normal_email(request.email))
        return pb.RequestPasswordResetResponse()

    async def ResetPassword(self, request: pb.ResetPasswordRequest, context: Any) -> pb.ResetPasswordResponse:
        """Sets a password under a token."""
        await self._resets.reset(request.token, request.new_password)
        return pb.ResetPasswordResponse()

    async def EnrolSecondFactor(
        self, request: pb.EnrolSecondFactorRequest, context: Any
    ) -> pb.EnrolSecondFactorResponse:
        """A secret for the caller's authenticator."""
        secret, uri = await self._logins.enrol(caller().uuid, request.password)
        return pb.EnrolSecondFactorResponse(secret=secret, uri=uri)

    async def ConfirmSecondFactor(
        self, request: pb.ConfirmSecondFactorRequest, context: Any
    ) -> pb.ConfirmSecondFactorResponse:
        """Turns it on."""
        codes = await self._logins.confirm(caller().uuid, request.code)
        return pb.ConfirmSecondFactorResponse(recovery_codes=codes)

    async def RemoveSecondFactor(
        self, request: pb.RemoveSecondFactorRequest, context: Any
    ) -> pb.RemoveSecondFactorResponse:
        """Turns it off."""
        await self._logins.remove(caller().uuid, request.code)
        return pb.RemoveSecondFactorResponse()

    async def ListOidcProviders(
        self, request: pb.ListOidcProvidersRequest, context: Any
    ) -> pb.ListOidcProvidersResponse:
        """By whom people may log in."""
        return pb.ListOidcProvidersResponse(providers=map(convert.provider_message, self._oidc.providers))

    async def BeginOidcLogin(self, request: pb.BeginOidcLoginRequest, context: Any) -> pb.BeginOidcLoginResponse:
        """Begins a login by a provider."""
        return convert.begun_message(await self._oidc.begin(request.provider))

    async def CompleteOidcLogin(
        self, request: pb.CompleteOidcLoginRequest, context: Any
    ) -> pb.CompleteOidcLoginResponse:
        """Opens a session for whom a provider proves."""
        user, tokens = await self._oidc.complete(convert.redirect(request))
        return pb.CompleteOidcLoginResponse(tokens=convert.tokens_message(tokens), user=convert.user_message(user))
