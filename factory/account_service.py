"""AccountService: factories and their API keys, for operators."""

from typing import Any
from uuid import UUID

from voketag.factory.v1 import account_pb2 as pb
from voketag.factory.v1 import account_pb2_grpc

from factory import convert
from factory.accounts import Accounts
from mesh.idempotency import RequestKey

_SERVICE = "/voketag.factory.v1.AccountService/"


class AccountService(account_pb2_grpc.AccountServiceServicer):
    """See proto/voketag/factory/v1/account.proto."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def CreateFactory(self, request: pb.CreateFactoryRequest, context: Any) -> pb.CreateFactoryResponse:
        """Opens an account."""
        key = RequestKey.of(f"{_SERVICE}CreateFactory", request.request_id, request)
        factory = await self._accounts.create_factory(key, request.name)
        return pb.CreateFactoryResponse(factory=convert.factory_message(factory))

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: Any) -> pb.CreateApiKeyResponse:
        """Issues a key."""
        key = RequestKey.of(f"{_SERVICE}CreateApiKey", request.request_id, request)
        api_key, secret = await self._accounts.create_key(key, UUID(request.factory_id))
        return pb.CreateApiKeyResponse(api_key=convert.api_key_message(api_key), secret=secret)

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: Any) -> pb.RevokeApiKeyResponse:
        """Ends a key."""
        key = RequestKey.of(f"{_SERVICE}RevokeApiKey", request.request_id, request)
        api_key = await self._accounts.revoke_key(key, UUID(request.key_id))
        return pb.RevokeApiKeyResponse(api_key=convert.api_key_message(api_key))
