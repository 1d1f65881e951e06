"""A small real gRPC server behind the Envoy under test: the generated servicers with canned replies."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NoReturn

import grpc
from google.api.httpbody_pb2 import HttpBody
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from voketag.admin.v1 import (
    audit_pb2_grpc,
    auth_pb2_grpc,
    dashboard_pb2_grpc,
    export_pb2_grpc,
    fraud_pb2_grpc,
    job_pb2_grpc,
    user_pb2_grpc,
    weekly_pb2_grpc,
)
from voketag.anchor.v1 import anchor_pb2, anchor_pb2_grpc
from voketag.factory.v1 import (
    account_pb2_grpc,
    factory_pb2,
    factory_pb2_grpc,
    label_pb2,
    label_pb2_grpc,
    lifecycle_pb2_grpc,
    webhook_pb2_grpc,
)
from voketag.factory.v1 import lifecycle_pb2 as lives
from voketag.scan.v1 import ledger_pb2, ledger_pb2_grpc, ruling_pb2_grpc, scan_pb2, scan_pb2_grpc

from tests.acceptance.edge.canned_accounts import Accounts
from tests.acceptance.edge.canned_audit import Audit
from tests.acceptance.edge.canned_desk import Desk
from tests.acceptance.edge.canned_exports import Exports
from tests.acceptance.edge.canned_figures import Figures
from tests.acceptance.edge.canned_hooks import NOW, Context
from tests.acceptance.edge.canned_jobs import Jobs
from tests.acceptance.edge.canned_people import People
from tests.acceptance.edge.canned_weekly import Weekly

PAGE_POLICY = "default-src 'self'"
IMMUTABLE = "public, max-age=31536000, immutable"
PROVED = ledger_pb2.InclusionProof(index=1, leaf_hash=b"1", path=[b"1"], checkpoint="log")
PLACE = anchor_pb2.ChainLocation(kind="evm", chain_id=1)


async def refuse(context: Context, code: grpc.StatusCode, reason: str) -> NoReturn:
    """Fails as the services do: a Status with one ErrorInfo."""
    info = any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="voketag.com", metadata={"token": "short"}))
    status = status_pb2.Status(code=code.value[0], message="No, «really» not", details=[info])
    await context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError


@dataclass
class Canned(
    scan_pb2_grpc.ScanServiceServicer,
    ledger_pb2_grpc.LedgerServiceServicer,
    factory_pb2_grpc.FactoryServiceServicer,
    Accounts,
    label_pb2_grpc.LabelServiceServicer,
    lifecycle_pb2_grpc.LifecycleServiceServicer,
    Exports,
    Weekly,
    People,
    Jobs,
    Audit,
    Desk,
    Figures,
    anchor_pb2_grpc.AnchorServiceServicer,
):
    """Answers by what stands in the request, and remembers the metadata of each call."""

    async def Verify(self, request: scan_pb2.VerifyRequest, context: Context) -> scan_pb2.VerifyResponse:
        self.seen(context)
        if request.token.startswith("FAIL-"):
            _, code, reason = request.token.split("-")
            await refuse(context, grpc.StatusCode[code], reason)
        return scan_pb2.VerifyResponse(verdict=scan_pb2.VERDICT_GENUINE_CODE)

    async def VerifyStream(
        self, requests: AsyncIterator[scan_pb2.VerifyStreamRequest], context: Context
    ) -> AsyncIterator[scan_pb2.VerifyStreamResponse]:
        self.seen(context)
        async for request in requests:
            results = [scan_pb2.TokenResult(product_id=token) for token in request.chunk.tokens]
            yield scan_pb2.VerifyStreamResponse(sequence=request.chunk.sequence, results=results)

    async def LookupTag(self, request: scan_pb2.LookupTagRequest, context: Context) -> scan_pb2.LookupTagResponse:
        self.seen(context)
        return scan_pb2.LookupTagResponse(
            verdict=scan_pb2.VERDICT_GENUINE_CODE, scan_count=len(request.token), checked_at=NOW
        )

    async def WatchScans(
        self, request: scan_pb2.WatchScansRequest, context: Context
    ) -> AsyncIterator[scan_pb2.WatchScansResponse]:
        self.seen(context)
        yield scan_pb2.WatchScansResponse(position=request.after)

    async def GetTodayTotals(
        self, request: scan_pb2.GetTodayTotalsRequest, context: Context
    ) -> scan_pb2.GetTodayTotalsResponse:
        self.seen(context)
        return scan_pb2.GetTodayTotalsResponse(day="2026-01-31")

    async def ListTopProducts(
        self, request: scan_pb2.ListTopProductsRequest, context: Context
    ) -> scan_pb2.ListTopProductsResponse:
        self.seen(context)
        return scan_pb2.ListTopProductsResponse(products=[scan_pb2.TopProduct(product_id="1", last_scan_time=NOW)])

    async def ReportFraud(self, request: scan_pb2.ReportFraudRequest, context: Context) -> scan_pb2.ReportFraudResponse:
        self.seen(context)
        return scan_pb2.ReportFraudResponse(case_id=f"{request.kind}-{request.text}-{request.photo.sha256.hex()}")

    async def ListReports(self, request: scan_pb2.ListReportsRequest, context: Context) -> scan_pb2.ListReportsResponse:
        self.seen(context)
        return scan_pb2.ListReportsResponse(next_page_token=f"{request.page_size}")

    async def SetReportState(
        self, request: scan_pb2.SetReportStateRequest, context: Context
    ) -> scan_pb2.SetReportStateResponse:
        self.seen(context)
        return scan_pb2.SetReportStateResponse(case=scan_pb2.ReportCase(report_time=NOW, change_time=NOW))

    async def GetReceipt(self, request: scan_pb2.GetReceiptRequest, context: Context) -> HttpBody:
        self.seen(context)
        return HttpBody(content_type="application/json", data=b'{"receipt": 1}')

    async def GetProductProof(self, request: scan_pb2.GetProductProofRequest, context: Context) -> HttpBody:
        self.seen(context)
        return HttpBody(content_type="application/json", data=b'{"receipt": 1}')

    async def GetPage(self, request: scan_pb2.GetPageRequest, context: Context) -> HttpBody:
        self.seen(context)
        await context.send_initial_metadata((("content-security-policy", PAGE_POLICY),))
        return HttpBody(content_type="text/html; charset=utf-8", data=request.token.encode())

    async def GetLogKey(self, request: ledger_pb2.GetLogKeyRequest, context: Context) -> ledger_pb2.GetLogKeyResponse:
        self.seen(context)
        return ledger_pb2.GetLogKeyResponse(origin="log", keys=["log+1+A"])

    async def GetCheckpoint(self, request: ledger_pb2.GetCheckpointRequest, context: Context) -> HttpBody:
        self.seen(context)
        return HttpBody(content_type="text/plain; charset=utf-8", data=b"log\n%d\n" % request.size)

    async def GetTile(self, request: ledger_pb2.GetTileRequest, context: Context) -> HttpBody:
        self.seen(context)
        await context.send_initial_metadata((("cache-control", IMMUTABLE),))
        return HttpBody(content_type="application/octet-stream", data=request.name.encode())

    async def GetInclusionProof(
        self, request: ledger_pb2.GetInclusionProofRequest, context: Context
    ) -> ledger_pb2.GetInclusionProofResponse:
        self.seen(context)
        return ledger_pb2.GetInclusionProofResponse(proof=PROVED)

    async def GetScanProof(
        self, request: ledger_pb2.GetScanProofRequest, context: Context
    ) -> ledger_pb2.GetScanProofResponse:
        self.seen(context)
        return ledger_pb2.GetScanProofResponse(entry=b"1", proof=PROVED)

    async def GetConsistencyProof(
        self, request: ledger_pb2.GetConsistencyProofRequest, context: Context
    ) -> ledger_pb2.GetConsistencyProofResponse:
        self.seen(context)
        return ledger_pb2.GetConsistencyProofResponse(from_size=request.from_size, to_size=request.to_size, path=[b"1"])

    async def GetBatch(self, request: factory_pb2.GetBatchRequest, context: Context) -> factory_pb2.GetBatchResponse:
        self.seen(context)
        return factory_pb2.GetBatchResponse(batch=factory_pb2.Batch(batch_id=request.batch_id))

    async def ListBatches(
        self, request: factory_pb2.ListBatchesRequest, context: Context
    ) -> factory_pb2.ListBatchesResponse:
        self.seen(context)
        return factory_pb2.ListBatchesResponse(next_page_token=f"{request.page_size}-{request.state}")

    async def CreateBatch(
        self, request: factory_pb2.CreateBatchRequest, context: Context
    ) -> factory_pb2.CreateBatchResponse:
        self.seen(context)
        products = [factory_pb2.Product(token="0" * 50, url="u" * 2000) for _ in range(request.product_count)]
        return factory_pb2.CreateBatchResponse(products=products)

    async def ImportProducts(
        self, requests: AsyncIterator[factory_pb2.ImportProductsRequest], context: Context
    ) -> AsyncIterator[factory_pb2.ImportProductsResponse]:
        self.seen(context)
        async for request in requests:
            ack = factory_pb2.ImportAck(committed_rows=request.chunk.first_row + len(request.chunk.rows))
            yield factory_pb2.ImportProductsResponse(ack=ack)

    async def WatchBatch(
        self, request: factory_pb2.WatchBatchRequest, context: Context
    ) -> AsyncIterator[factory_pb2.WatchBatchResponse]:
        self.seen(context)
        for state in (factory_pb2.BATCH_STATE_PENDING, factory_pb2.BATCH_STATE_COMPLETED):
            yield factory_pb2.WatchBatchResponse(batch=factory_pb2.Batch(state=state))

    async def SubmitRoot(
        self, request: anchor_pb2.SubmitRootRequest, context: Context
    ) -> anchor_pb2.SubmitRootResponse:
        self.seen(context)
        return anchor_pb2.SubmitRootResponse(anchor=anchor_pb2.Anchor(size=request.size))

    async def CreateProduct(self, request: lives.CreateProductRequest, context: Context) -> lives.CreateProductResponse:
        self.seen(context)
        return lives.CreateProductResponse(product=factory_pb2.Product(attributes=request.attributes))

    async def ChangeProducts(
        self, request: lives.ChangeProductsRequest, context: Context
    ) -> lives.ChangeProductsResponse:
        self.seen(context)
        return lives.ChangeProductsResponse(changed_count=len(request.ids.product_ids))

    async def ListProductEvents(
        self, request: lives.ListProductEventsRequest, context: Context
    ) -> lives.ListProductEventsResponse:
        self.seen(context)
        return lives.ListProductEventsResponse(events=[lives.ProductEvent(event_time=NOW)])

    async def CancelBatch(
        self, request: factory_pb2.CancelBatchRequest, context: Context
    ) -> factory_pb2.CancelBatchResponse:
        self.seen(context)
        return factory_pb2.CancelBatchResponse(
            batch=factory_pb2.Batch(root=b"1", anchor=factory_pb2.BatchAnchor(chain_id=1))
        )

    async def GetProduct(
        self, request: factory_pb2.GetProductRequest, context: Context
    ) -> factory_pb2.GetProductResponse:
        self.seen(context)
        return factory_pb2.GetProductResponse(product=factory_pb2.Product(attributes={"gtin": "1"}))

    async def ListProducts(
        self, request: factory_pb2.ListProductsRequest, context: Context
    ) -> factory_pb2.ListProductsResponse:
        self.seen(context)
        return factory_pb2.ListProductsResponse(products=[factory_pb2.Product()])

    async def GetQrCode(self, request: label_pb2.GetQrCodeRequest, context: Context) -> HttpBody:
        self.seen(context)
        return HttpBody(content_type="image/svg+xml", data=b"<svg/>")

    async def MakeLabels(
        self, request: label_pb2.MakeLabelsRequest, context: Context
    ) -> AsyncIterator[label_pb2.MakeLabelsResponse]:
        self.seen(context)
        yield label_pb2.MakeLabelsResponse(data=b"PK")

    async def GetAnchor(self, request: anchor_pb2.GetAnchorRequest, context: Context) -> anchor_pb2.GetAnchorResponse:
        self.seen(context)
        return anchor_pb2.GetAnchorResponse(anchor=anchor_pb2.Anchor(location=PLACE, final_time=NOW))

    async def GetProof(self, request: anchor_pb2.GetProofRequest, context: Context) -> anchor_pb2.GetProofResponse:
        self.seen(context)
        return anchor_pb2.GetProofResponse(
            anchor=anchor_pb2.Anchor(), proof=anchor_pb2.AnchorProof(path=[b"1"], size=2)
        )

    async def BatchSubmitRoots(
        self, request: anchor_pb2.BatchSubmitRootsRequest, context: Context
    ) -> anchor_pb2.BatchSubmitRootsResponse:
        self.seen(context)
        outcome = anchor_pb2.RootOutcome(
            status=anchor_pb2.ROOT_STATUS_CONFLICT, anchor=anchor_pb2.Anchor(create_time=NOW)
        )
        return anchor_pb2.BatchSubmitRootsResponse(outcomes=[outcome] * len(request.roots))

    async def ListAnchors(
        self, request: anchor_pb2.ListAnchorsRequest, context: Context
    ) -> anchor_pb2.ListAnchorsResponse:
        self.seen(context)
        return anchor_pb2.ListAnchorsResponse(anchors=[anchor_pb2.Anchor(root=b"1")], next_page_token="more")

    async def RetryAnchor(
        self, request: anchor_pb2.RetryAnchorRequest, context: Context
    ) -> anchor_pb2.RetryAnchorResponse:
        self.seen(context)
        return anchor_pb2.RetryAnchorResponse(anchor=anchor_pb2.Anchor(batch_id=request.batch_id))

    async def VerifyProof(
        self, request: anchor_pb2.VerifyProofRequest, context: Context
    ) -> anchor_pb2.VerifyProofResponse:
        self.seen(context)
        return anchor_pb2.VerifyProofResponse(valid=True)

    async def VerifyOnChain(
        self, request: anchor_pb2.VerifyOnChainRequest, context: Context
    ) -> anchor_pb2.VerifyOnChainResponse:
        self.seen(context)
        return anchor_pb2.VerifyOnChainResponse(anchor_root=b"1", registered=True, location=PLACE)

    async def GetTransaction(
        self, request: anchor_pb2.GetTransactionRequest, context: Context
    ) -> anchor_pb2.GetTransactionResponse:
        self.seen(context)
        attempts = [anchor_pb2.SignedAttempt(transaction=request.tx_id, sign_time=NOW)]
        return anchor_pb2.GetTransactionResponse(registration=anchor_pb2.Registration(attempts=attempts))

    async def GetStatus(self, request: anchor_pb2.GetStatusRequest, context: Context) -> anchor_pb2.GetStatusResponse:
        self.seen(context)
        account = anchor_pb2.ChainAccount(chain=anchor_pb2.ChainView(balance="1"))
        chain = anchor_pb2.TargetChain(target="chain", account=account, lag_seconds=1.5)
        return anchor_pb2.GetStatusResponse(account=account, lag_seconds=1.5, chains=[chain])

    async def FreezeAnchoring(
        self, request: anchor_pb2.FreezeAnchoringRequest, context: Context
    ) -> anchor_pb2.FreezeAnchoringResponse:
        self.seen(context)
        freeze = anchor_pb2.Freeze(frozen=True, why=request.why, change_time=NOW)
        return anchor_pb2.FreezeAnchoringResponse(freeze=freeze)

    async def ResumeAnchoring(
        self, request: anchor_pb2.ResumeAnchoringRequest, context: Context
    ) -> anchor_pb2.ResumeAnchoringResponse:
        self.seen(context)
        return anchor_pb2.ResumeAnchoringResponse(freeze=anchor_pb2.Freeze(change_time=NOW))

    async def WatchAnchors(
        self, request: anchor_pb2.WatchAnchorsRequest, context: Context
    ) -> AsyncIterator[anchor_pb2.WatchAnchorsResponse]:
        self.seen(context)
        yield anchor_pb2.WatchAnchorsResponse()

    async def WatchAnchor(
        self, request: anchor_pb2.WatchAnchorRequest, context: Context
    ) -> AsyncIterator[anchor_pb2.WatchAnchorResponse]:
        self.seen(context)
        yield anchor_pb2.WatchAnchorResponse()

    async def WatchFinality(
        self, request: anchor_pb2.WatchFinalityRequest, context: Context
    ) -> AsyncIterator[anchor_pb2.WatchFinalityResponse]:
        self.seen(context)
        yield anchor_pb2.WatchFinalityResponse()


Register = Callable[[Canned, grpc.aio.Server], None]
SERVICES: dict[str, tuple[Register, ...]] = {
    "scan": (
        scan_pb2_grpc.add_ScanServiceServicer_to_server,
        ledger_pb2_grpc.add_LedgerServiceServicer_to_server,
        ruling_pb2_grpc.add_RulingServiceServicer_to_server,
    ),
    "factory": (
        factory_pb2_grpc.add_FactoryServiceServicer_to_server,
        account_pb2_grpc.add_AccountServiceServicer_to_server,
        label_pb2_grpc.add_LabelServiceServicer_to_server,
        lifecycle_pb2_grpc.add_LifecycleServiceServicer_to_server,
        webhook_pb2_grpc.add_WebhookServiceServicer_to_server,
    ),
    "anchor": (anchor_pb2_grpc.add_AnchorServiceServicer_to_server,),
    "admin": (
        user_pb2_grpc.add_UserServiceServicer_to_server,
        job_pb2_grpc.add_JobServiceServicer_to_server,
        dashboard_pb2_grpc.add_DashboardServiceServicer_to_server,
        auth_pb2_grpc.add_AuthServiceServicer_to_server,
        export_pb2_grpc.add_ExportServiceServicer_to_server,
        weekly_pb2_grpc.add_WeeklyReportServiceServicer_to_server,
        audit_pb2_grpc.add_AuditServiceServicer_to_server,
        fraud_pb2_grpc.add_FraudServiceServicer_to_server,
    ),
}


@asynccontextmanager
async def serving(canned: Canned, name: str) -> AsyncIterator[int]:
    """Serves one service's methods, with health, on a free loopback port: yields it."""
    server = grpc.aio.server()
    for register in SERVICES[name]:
        register(canned, server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(grace=None)


@asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """A port whose server takes connections and never says a word, as a hanging process does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
