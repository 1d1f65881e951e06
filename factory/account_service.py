"""AccountService: factories, their API keys, quotas and weights, for operators; and what a factory has used of them."""

from typing import Any
from uuid import UUID

from voketag.factory.v1 import account_pb2 as pb
from voketag.factory.v1 import account_pb2_grpc

from factory import convert
from factory.accounts import Accounts
from factory.quotas import Quotas
from factory.slots import Slots
from factory.weights import RiskWeights
from mesh.idempotency import RequestKey
from mesh.identity import caller

_SERVICE = "/voketag.factory.v1.AccountService/"


class AccountService(account_pb2_grpc.AccountServiceServicer):
    """See proto/voketag/factory/v1/account.proto."""

    def __init__(self, accounts: Accounts, quotas: Quotas, slots: Slots, weights: RiskWeights) -> None:
        self._accounts = accounts
        self._quotas = quotas
        self._slots = slots
        self._weights = weights

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
        usage = await self._quotas.usage(caller().uuid)
        return pb.GetUsageResponse(
            products_today=usage.charged,
            imports_now=await self._slots.count(caller().uuid),
            quota=convert.quota_message(usage.quota),
            reset_time=convert.timestamp(usage.resets_at),
        )
