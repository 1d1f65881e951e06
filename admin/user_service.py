"""UserService: people, for admins."""

from typing import Any
from uuid import UUID

from voketag.admin.v1 import user_pb2 as pb
from voketag.admin.v1 import user_pb2_grpc

from admin import convert
from admin.oidc_links import OidcLinks
from admin.second_factors import SecondFactors
from admin.users import ACTIVE, DELETED, DISABLED, Users
from mesh.idempotency import RequestKey
from mesh.identity import caller
from mesh.policy import role_name

_SERVICE = "/voketag.admin.v1.UserService/"


class UserService(user_pb2_grpc.UserServiceServicer):
    """See proto/voketag/admin/v1/user.proto."""

    def __init__(self, users: Users, links: OidcLinks, factors: SecondFactors) -> None:
        self._users = users
        self._links = links
        self._factors = factors

    async def CreateUser(self, request: pb.CreateUserRequest, context: Any) -> pb.CreateUserResponse:
        """Adds a person."""
        user = await self._users.create(
            caller(),
            RequestKey.of(f"{_SERVICE}CreateUser", request.request_id, request),
            email=request.email,
            name=request.name,
            role=role_name(request.role),
            factory_id=convert.factory_id(request.factory_id),
        )
        return pb.CreateUserResponse(user=convert.user_message(user))

    async def GetUser(self, request: pb.GetUserRequest, context: Any) -> pb.GetUserResponse:
        """Finds a person."""
        return pb.GetUserResponse(user=convert.user_message(await self._users.get(UUID(request.user_id))))

    async def ListUsers(self, request: pb.ListUsersRequest, context: Any) -> pb.ListUsersResponse:
        """A page of people."""
        users, more = await self._users.list(
            caller(), convert.wanted(request), page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListUsersResponse(users=map(convert.user_message, users), next_page_token=more)

    async def UpdateUser(self, request: pb.UpdateUserRequest, context: Any) -> pb.UpdateUserResponse:
        """Changes a person."""
        key = RequestKey.of(f"{_SERVICE}UpdateUser", request.request_id, request)
        user = await self._users.update(caller(), key, UUID(request.user_id), convert.changes(request))
        return pb.UpdateUserResponse(user=convert.user_message(user))

    async def DisableUser(self, request: pb.DisableUserRequest, context: Any) -> pb.DisableUserResponse:
        """Keeps a person out, or lets them in."""
        key = RequestKey.of(f"{_SERVICE}DisableUser", request.request_id, request)
        state = ACTIVE if request.enable else DISABLED
        user = await self._users.set_state(caller(), key, UUID(request.user_id), state)
        return pb.DisableUserResponse(user=convert.user_message(user))

    async def DeleteUser(self, request: pb.DeleteUserRequest, context: Any) -> pb.DeleteUserResponse:
        """Forgets a person."""
        key = RequestKey.of(f"{_SERVICE}DeleteUser", request.request_id, request)
        user = await self._users.set_state(caller(), key, UUID(request.user_id), DELETED)
        return pb.DeleteUserResponse(user=convert.user_message(user))

    async def SendPasswordReset(
        self, request: pb.SendPasswordResetRequest, context: Any
    ) -> pb.SendPasswordResetResponse:
        """Mails a person a token."""
        key = RequestKey.of(f"{_SERVICE}SendPasswordReset", request.request_id, request)
        await self._users.send_reset(caller(), key, UUID(request.user_id))
        return pb.SendPasswordResetResponse()

    async def RemoveUserSecondFactor(
        self, request: pb.RemoveUserSecondFactorRequest, context: Any
    ) -> pb.RemoveUserSecondFactorResponse:
        """Takes away what a person lost."""
        key = RequestKey.of(f"{_SERVICE}RemoveUserSecondFactor", request.request_id, request)
        await self._factors.take_away(caller(), key, UUID(request.user_id))
        return pb.RemoveUserSecondFactorResponse()

    async def ListOidcLinks(self, request: pb.ListOidcLinksRequest, context: Any) -> pb.ListOidcLinksResponse:
        """By which providers a person may log in."""
        return pb.ListOidcLinksResponse(links=map(convert.link_message, await self._links.list(UUID(request.user_id))))

    async def AddOidcLink(self, request: pb.AddOidcLinkRequest, context: Any) -> pb.AddOidcLinkResponse:
        """Lets a person log in by a provider."""
        key = RequestKey.of(f"{_SERVICE}AddOidcLink", request.request_id, request)
        user_id, provider, subject = UUID(request.user_id), request.provider, request.subject
        await self._links.add(caller(), key, user_id, provider=provider, subject=subject)
        return pb.AddOidcLinkResponse()

    async def RemoveOidcLink(self, request: pb.RemoveOidcLinkRequest, context: Any) -> pb.RemoveOidcLinkResponse:
        """Takes a link away."""
        key = RequestKey.of(f"{_SERVICE}RemoveOidcLink", request.request_id, request)
        await self._links.remove(caller(), key, UUID(request.user_id), issuer=request.issuer)
        return pb.RemoveOidcLinkResponse()
