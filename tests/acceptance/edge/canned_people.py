"""The people's methods of the canned server."""

import json

from voketag.admin.v1 import auth_pb2, auth_pb2_grpc, user_pb2, user_pb2_grpc
from voketag.mesh.v1 import access_pb2

from tests.acceptance.edge.canned_hooks import NOW, Context, Hooks
from tests.fakes.people import JWKS

SOMEBODY = user_pb2.User(user_id="1", email="a@b.example", role=access_pb2.ROLE_ADMIN, create_time=NOW, update_time=NOW)
TOKENS = auth_pb2.Tokens(access_token="a", access_expire_time=NOW, refresh_token="r", session_expire_time=NOW)


class People(user_pb2_grpc.UserServiceServicer, auth_pb2_grpc.AuthServiceServicer, Hooks):
    """Answers with one person and remembers the metadata of each call."""

    async def CreateUser(self, request: user_pb2.CreateUserRequest, context: Context) -> user_pb2.CreateUserResponse:
        self.seen(context)
        return user_pb2.CreateUserResponse(user=SOMEBODY)

    async def GetUser(self, request: user_pb2.GetUserRequest, context: Context) -> user_pb2.GetUserResponse:
        self.seen(context)
        return user_pb2.GetUserResponse(user=SOMEBODY)

    async def ListUsers(self, request: user_pb2.ListUsersRequest, context: Context) -> user_pb2.ListUsersResponse:
        self.seen(context)
        return user_pb2.ListUsersResponse(users=[SOMEBODY], next_page_token=f"{request.page_size}")

    async def UpdateUser(self, request: user_pb2.UpdateUserRequest, context: Context) -> user_pb2.UpdateUserResponse:
        self.seen(context)
        return user_pb2.UpdateUserResponse(user=user_pb2.User(name=",".join(request.update_mask.paths)))

    async def DisableUser(self, request: user_pb2.DisableUserRequest, context: Context) -> user_pb2.DisableUserResponse:
        self.seen(context)
        return user_pb2.DisableUserResponse(user=SOMEBODY)

    async def DeleteUser(self, request: user_pb2.DeleteUserRequest, context: Context) -> user_pb2.DeleteUserResponse:
        self.seen(context)
        return user_pb2.DeleteUserResponse(user=SOMEBODY)

    async def SendPasswordReset(
        self, request: user_pb2.SendPasswordResetRequest, context: Context
    ) -> user_pb2.SendPasswordResetResponse:
        self.seen(context)
        return user_pb2.SendPasswordResetResponse()

    async def RemoveUserSecondFactor(
        self, request: user_pb2.RemoveUserSecondFactorRequest, context: Context
    ) -> user_pb2.RemoveUserSecondFactorResponse:
        self.seen(context)
        return user_pb2.RemoveUserSecondFactorResponse()

    async def Login(self, request: auth_pb2.LoginRequest, context: Context) -> auth_pb2.LoginResponse:
        self.seen(context)
        return auth_pb2.LoginResponse(tokens=TOKENS, user=SOMEBODY)

    async def Refresh(self, request: auth_pb2.RefreshRequest, context: Context) -> auth_pb2.RefreshResponse:
        self.seen(context)
        return auth_pb2.RefreshResponse(tokens=TOKENS)

    async def Logout(self, request: auth_pb2.LogoutRequest, context: Context) -> auth_pb2.LogoutResponse:
        self.seen(context)
        return auth_pb2.LogoutResponse()

    async def GetJwks(self, request: auth_pb2.GetJwksRequest, context: Context) -> auth_pb2.GetJwksResponse:
        self.seen(context)
        return auth_pb2.GetJwksResponse(keys=[auth_pb2.Jwk(**key) for key in json.loads(JWKS)["keys"]])

    async def GetMe(self, request: auth_pb2.GetMeRequest, context: Context) -> auth_pb2.GetMeResponse:
        self.seen(context)
        return auth_pb2.GetMeResponse(user=SOMEBODY)

    async def ChangePassword(
        self, request: auth_pb2.ChangePasswordRequest, context: Context
    ) -> auth_pb2.ChangePasswordResponse:
        self.seen(context)
        return auth_pb2.ChangePasswordResponse()

    async def RequestPasswordReset(
        self, request: auth_pb2.RequestPasswordResetRequest, context: Context
    ) -> auth_pb2.RequestPasswordResetResponse:
        self.seen(context)
        return auth_pb2.RequestPasswordResetResponse()

    async def ResetPassword(
        self, request: auth_pb2.ResetPasswordRequest, context: Context
    ) -> auth_pb2.ResetPasswordResponse:
        self.seen(context)
        return auth_pb2.ResetPasswordResponse()

    async def EnrolSecondFactor(
        self, request: auth_pb2.EnrolSecondFactorRequest, context: Context
    ) -> auth_pb2.EnrolSecondFactorResponse:
        self.seen(context)
        return auth_pb2.EnrolSecondFactorResponse(secret="A")

    async def ConfirmSecondFactor(
        self, request: auth_pb2.ConfirmSecondFactorRequest, context: Context
    ) -> auth_pb2.ConfirmSecondFactorResponse:
        self.seen(context)
        return auth_pb2.ConfirmSecondFactorResponse(recovery_codes=["A"])

    async def RemoveSecondFactor(
        self, request: auth_pb2.RemoveSecondFactorRequest, context: Context
    ) -> auth_pb2.RemoveSecondFactorResponse:
        self.seen(context)
        return auth_pb2.RemoveSecondFactorResponse()

    async def ListOidcProviders(
        self, request: auth_pb2.ListOidcProvidersRequest, context: Context
    ) -> auth_pb2.ListOidcProvidersResponse:
        self.seen(context)
        return auth_pb2.ListOidcProvidersResponse(providers=[auth_pb2.OidcProvider(provider="work", name="Work")])

    async def BeginOidcLogin(
        self, request: auth_pb2.BeginOidcLoginRequest, context: Context
    ) -> auth_pb2.BeginOidcLoginResponse:
        self.seen(context)
        return auth_pb2.BeginOidcLoginResponse(authorization_url="https://a", state="s", expire_time=NOW)

    async def CompleteOidcLogin(
        self, request: auth_pb2.CompleteOidcLoginRequest, context: Context
    ) -> auth_pb2.CompleteOidcLoginResponse:
        self.seen(context)
        return auth_pb2.CompleteOidcLoginResponse(tokens=TOKENS, user=SOMEBODY)

    async def ListOidcLinks(
        self, request: user_pb2.ListOidcLinksRequest, context: Context
    ) -> user_pb2.ListOidcLinksResponse:
        self.seen(context)
        return user_pb2.ListOidcLinksResponse(links=[user_pb2.OidcLink(issuer="https://a", create_time=NOW)])

    async def AddOidcLink(self, request: user_pb2.AddOidcLinkRequest, context: Context) -> user_pb2.AddOidcLinkResponse:
        self.seen(context)
        return user_pb2.AddOidcLinkResponse()

    async def RemoveOidcLink(
        self, request: user_pb2.RemoveOidcLinkRequest, context: Context
    ) -> user_pb2.RemoveOidcLinkResponse:
        self.seen(context)
        return user_pb2.RemoveOidcLinkResponse()
