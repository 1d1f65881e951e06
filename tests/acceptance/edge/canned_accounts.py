"""The account methods of the canned server."""

from voketag.factory.v1 import account_pb2, account_pb2_grpc

from tests.acceptance.edge.canned_hooks import NOW, Context, Hooks

WEIGHTS = account_pb2.RiskWeights(suspicious=1, likely=1)
ACCOUNT = account_pb2.Factory(state=account_pb2.FACTORY_STATE_ACTIVE, create_time=NOW, update_time=NOW)
KEY = account_pb2.ApiKey(create_time=NOW, expire_time=NOW)


class Accounts(account_pb2_grpc.AccountServiceServicer, Hooks):
    """Answers with one factory and one key, and remembers the metadata of each call."""

    async def CreateFactory(
        self, request: account_pb2.CreateFactoryRequest, context: Context
    ) -> account_pb2.CreateFactoryResponse:
        self.seen(context)
        return account_pb2.CreateFactoryResponse(factory=account_pb2.Factory(name=request.name))

    async def CreateApiKey(
        self, request: account_pb2.CreateApiKeyRequest, context: Context
    ) -> account_pb2.CreateApiKeyResponse:
        self.seen(context)
        return account_pb2.CreateApiKeyResponse(api_key=account_pb2.ApiKey(create_time=NOW), secret="1")

    async def RevokeApiKey(
        self, request: account_pb2.RevokeApiKeyRequest, context: Context
    ) -> account_pb2.RevokeApiKeyResponse:
        self.seen(context)
        return account_pb2.RevokeApiKeyResponse(api_key=account_pb2.ApiKey(revoke_time=NOW))

    async def SetQuota(self, request: account_pb2.SetQuotaRequest, context: Context) -> account_pb2.SetQuotaResponse:
        self.seen(context)
        return account_pb2.SetQuotaResponse(quota=account_pb2.Quota(products_a_day=request.products_a_day))

    async def SetRiskWeights(
        self, request: account_pb2.SetRiskWeightsRequest, context: Context
    ) -> account_pb2.SetRiskWeightsResponse:
        self.seen(context)
        return account_pb2.SetRiskWeightsResponse(weights=WEIGHTS, version=request.factory_id)

    async def GetUsage(self, request: account_pb2.GetUsageRequest, context: Context) -> account_pb2.GetUsageResponse:
        self.seen(context)
        return account_pb2.GetUsageResponse(reset_time=NOW)

    async def GetFactory(
        self, request: account_pb2.GetFactoryRequest, context: Context
    ) -> account_pb2.GetFactoryResponse:
        self.seen(context)
        return account_pb2.GetFactoryResponse(factory=ACCOUNT, weights=WEIGHTS, quota=account_pb2.Quota())

    async def ListFactories(
        self, request: account_pb2.ListFactoriesRequest, context: Context
    ) -> account_pb2.ListFactoriesResponse:
        self.seen(context)
        return account_pb2.ListFactoriesResponse(factories=[ACCOUNT], next_page_token=f"{request.page_size}")

    async def UpdateFactory(
        self, request: account_pb2.UpdateFactoryRequest, context: Context
    ) -> account_pb2.UpdateFactoryResponse:
        self.seen(context)
        return account_pb2.UpdateFactoryResponse(factory=account_pb2.Factory(name=",".join(request.update_mask.paths)))

    async def SuspendFactory(
        self, request: account_pb2.SuspendFactoryRequest, context: Context
    ) -> account_pb2.SuspendFactoryResponse:
        self.seen(context)
        return account_pb2.SuspendFactoryResponse(factory=ACCOUNT)

    async def ResumeFactory(
        self, request: account_pb2.ResumeFactoryRequest, context: Context
    ) -> account_pb2.ResumeFactoryResponse:
        self.seen(context)
        return account_pb2.ResumeFactoryResponse(factory=ACCOUNT)

    async def ListApiKeys(
        self, request: account_pb2.ListApiKeysRequest, context: Context
    ) -> account_pb2.ListApiKeysResponse:
        self.seen(context)
        return account_pb2.ListApiKeysResponse(api_keys=[KEY])

    async def RotateApiKey(
        self, request: account_pb2.RotateApiKeyRequest, context: Context
    ) -> account_pb2.RotateApiKeyResponse:
        self.seen(context)
        seconds = f"{request.overlap.seconds}"
        return account_pb2.RotateApiKeyResponse(api_key=KEY, replaced=KEY, secret=seconds)
