"""AccountService: factories, their API keys, quotas and weights; and what a factory has used of them."""

from typing import Any
from uuid import UUID

from voketag.factory.v1 import account_pb2 as pb
from voketag.factory.v1 import account_pb2_grpc

from factory import account_convert as convert
from factory.accounts import ACTIVE, SUSPENDED, Accounts
from factory.api_keys import ApiKeys
from factory.convert import timestamp
from factory.quotas import Quotas
from factory.slots import Slots
from factory.weights import RiskWeights
from mesh.idempotency import RequestKey
from mesh.identity import caller

_SERVICE = "/voketag.factory.v1.AccountService/"


class AccountService(account_pb2_grpc.AccountServiceServicer):
    """See proto/voketag/factory/v1/account.proto."""

    def __init__(
        self, accounts: Accounts, keys: ApiKeys, *, quotas: Quotas, slots: Slots, weights: RiskWeights
    ) -> None:
        self._accounts = accounts
        self._keys = keys
        self._quotas = quotas
        self._slots = slots
        self._weights = weights

    async def CreateFactory(self, request: pb.CreateFactoryRequest, context: Any) -> pb.CreateFactoryResponse:
        """Opens an account."""
        key = RequestKey.of(f"{_SERVICE}CreateFactory", request.request_id, request)
        factory = await self._accounts.create(key, request.name)
        return pb.CreateFactoryResponse(factory=convert.factory_message(factory))

    async def GetFactory(self, request: pb.GetFactoryRequest, context: Any) -> pb.GetFactoryResponse:
        """Finds an account, and what is set for it."""
        factory_id = UUID(request.factory_id)
        factory = await self._accounts.get(caller(), factory_id)
        usage = await self._quotas.usage(factory_id)
        answer = pb.GetFactoryResponse(
            factory=convert.factory_message(factory),
            quota=convert.quota_message(usage.quota),
            products_today=usage.charged,
            imports_now=await self._slots.count(factory_id),
        )
        if (kept := await self._weights.get(factory_id)) is not None:
            answer.weights_version = kept[0]
            answer.weights.CopyFrom(convert.risk_weights_message(kept[1]))
        return answer

    async def ListFactories(self, request: pb.ListFactoriesRequest, context: Any) -> pb.ListFactoriesResponse:
        """A page of accounts."""
        factories, more = await self._accounts.list(
            caller(), convert.wanted(request), page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListFactoriesResponse(factories=map(convert.factory_message, factories), next_page_token=more)

    async def UpdateFactory(self, request: pb.UpdateFactoryRequest, context: Any) -> pb.UpdateFactoryResponse:
        """Changes an account."""
        key = RequestKey.of(f"{_SERVICE}UpdateFactory", request.request_id, request)
        factory = await self._accounts.update(caller(), key, UUID(request.factory_id), convert.changes(request))
        return pb.UpdateFactoryResponse(factory=convert.factory_message(factory))

    async def SuspendFactory(self, request: pb.SuspendFactoryRequest, context: Any) -> pb.SuspendFactoryResponse:
        """Keeps a factory out."""
        key = RequestKey.of(f"{_SERVICE}SuspendFactory", request.request_id, request)
        state = {"state": SUSPENDED}
        factory = await self._accounts.update(caller(), key, UUID(request.factory_id), state, request.reason)
        return pb.SuspendFactoryResponse(factory=convert.factory_message(factory))

    async def ResumeFactory(self, request: pb.ResumeFactoryRequest, context: Any) -> pb.ResumeFactoryResponse:
        """Lets a factory in."""
        key = RequestKey.of(f"{_SERVICE}ResumeFactory", request.request_id, request)
        factory = await self._accounts.update(caller(), key, UUID(request.factory_id), {"state": ACTIVE})
        return pb.ResumeFactoryResponse(factory=convert.factory_message(factory))

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: Any) -> pb.CreateApiKeyResponse:
        """Issues a key."""
        key = RequestKey.of(f"{_SERVICE}CreateApiKey", request.request_id, request)
        api_key, secret = await self._keys.create(caller(), key, UUID(request.factory_id))
        return pb.CreateApiKeyResponse(api_key=convert.api_key_message(api_key), secret=secret)

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, context: Any) -> pb.ListApiKeysResponse:
        """A page of keys."""
        keys, more = await self._keys.list(
            caller(),
            UUID(request.factory_id),
            ended=request.ended,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListApiKeysResponse(api_keys=map(convert.api_key_message, keys), next_page_token=more)

    async def RotateApiKey(self, request: pb.RotateApiKeyRequest, context: Any) -> pb.RotateApiKeyResponse:
        """Puts a key in another's place."""
        key = RequestKey.of(f"{_SERVICE}RotateApiKey", request.request_id, request)
        api_key, secret, replaced = await self._keys.rotate(
            caller(), key, UUID(request.key_id), convert.overlap(request)
        )
        return pb.RotateApiKeyResponse(
            api_key=convert.api_key_message(api_key), secret=secret, replaced=convert.api_key_message(replaced)
        )

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: Any) -> pb.RevokeApiKeyResponse:
        """Ends a key."""
        key = RequestKey.of(f"{_SERVICE}RevokeApiKey", request.request_id, request)
        api_key = await self._keys.revoke(caller(), key, UUID(request.key_id))
        return pb.RevokeApiKeyResponse(api_key=convert.api_key_message(api_key))

    async def SetQuota(self, request: pb.SetQuotaRequest, context: Any) -> pb.SetQuotaResponse:
        """Sets what a factory may do."""
        key = RequestKey.of(f"{_SERVICE}SetQuota", request.request_id, request)
        quota = await self._quotas.set(
            key,
            UUID(request.factory_id),
            products_a_day=request.products_a_day if request.HasField("products_a_day") else None,
            concurrent_imports=request.concurrent_imports if request.HasField("concurrent_imports") else None,
        )
        return pb.SetQuotaResponse(quota=convert.quota_message(quota))

    async def SetRiskWeights(self, request: pb.SetRiskWeightsRequest, context: Any) -> pb.SetRiskWeightsResponse:
        """Sets how scans are weighed."""
        key = RequestKey.of(f"{_SERVICE}SetRiskWeights", request.request_id, request)
        weights = convert.risk_weights(request.weights) if request.HasField("weights") else None
        kept = await self._weights.set(key, UUID(request.factory_id), weights)
        if kept is None:
            return pb.SetRiskWeightsResponse()
        return pb.SetRiskWeightsResponse(version=kept[0], weights=convert.risk_weights_message(kept[1]))

    async def GetUsage(self, request: pb.GetUsageRequest, context: Any) -> pb.GetUsageResponse:
        """Says what the caller has used."""
        usage = await self._quotas.usage(caller().tenant)
        return pb.GetUsageResponse(
            products_today=usage.charged,
            imports_now=await self._slots.count(caller().tenant),
            quota=convert.quota_message(usage.quota),
            reset_time=timestamp(usage.resets_at),
        )
