"""The RPCs of voketag.scan.v1.ScanService."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any
from uuid import UUID

from google.api.httpbody_pb2 import HttpBody
from grpc.aio import ServicerContext
from voketag.scan.v1 import scan_pb2, scan_pb2_grpc

from mesh.errors import TokenMalformed
from mesh.idempotency import RequestKey
from mesh.identity import CLIENT_ADDRESS, address_prefix, caller, metadata_of, peer_address
from scan import convert
from scan.audience import Audience, own
from scan.caller import Callers
from scan.card import Card
from scan.cases import Cases
from scan.chunks import Streams
from scan.document import Documents
from scan.receipt import Receipts
from scan.reports import Reports
from scan.verify import Verifier

Context = ServicerContext[Any, Any]


class ScanService(scan_pb2_grpc.ScanServiceServicer):
    """Verdicts, receipts, reports, live scans and the page."""

    def __init__(
        self,
        verifier: Verifier,
        streams: Streams,
        receipts: Receipts,
        reports: Reports,
        *,
        cases: Cases,
        audience: Audience,
        callers: Callers,
        documents: Documents,
    ) -> None:
        self._verifier = verifier
        self._callers = callers
        self._streams = streams
        self._receipts = receipts
        self._reports = reports
        self._cases = cases
        self._audience = audience
        self._documents = documents

    async def Verify(self, request: scan_pb2.VerifyRequest, context: Context) -> scan_pb2.VerifyResponse:
        """Records a scan and gives its verdict."""
        metadata = metadata_of(context)
        seen_as = self._callers.name(address_of(metadata, context), metadata)
        explain = request.explain
        answer = await self._verifier.scan(request.token, seen_as, typed=request.typed, explain=explain)
        return scan_pb2.VerifyResponse.FromString(convert.verify_response(answer, explain=explain))

    async def VerifyStream(
        self, request_iterator: AsyncIterator[scan_pb2.VerifyStreamRequest], context: Context
    ) -> AsyncIterator[scan_pb2.VerifyStreamResponse]:
        """Records scans by the chunk and gives their verdicts."""
        metadata = metadata_of(context)
        crowd = self._callers.crowd(address_of(metadata, context), metadata)
        async with aclosing(self._streams.run(convert.frames(request_iterator), crowd)) as chunks:
            async for judged in chunks:
                yield convert.stream_response(judged)

    async def WatchScans(
        self, request: scan_pb2.WatchScansRequest, context: Context
    ) -> AsyncIterator[scan_pb2.WatchScansResponse]:
        """Sends scans as they are recorded."""
        after, metadata = request.after if request.HasField("after") else None, metadata_of(context)
        async with aclosing(
            self._audience.watch(caller(), _asked(request.factory_id), after, metadata=metadata)
        ) as stretches:
            async for seen in stretches:
                yield convert.watch_response(seen)

    async def GetTodayTotals(
        self, request: scan_pb2.GetTodayTotalsRequest, context: Context
    ) -> scan_pb2.GetTodayTotalsResponse:
        """Gives the scans of today by verdict."""
        return convert.totals_response(await self._audience.today(caller(), _asked(request.factory_id)))

    async def ListTopProducts(
        self, request: scan_pb2.ListTopProductsRequest, context: Context
    ) -> scan_pb2.ListTopProductsResponse:
        """Lists the products that were scanned most."""
        found = await self._audience.top(caller(), _asked(request.factory_id), request.count)
        return scan_pb2.ListTopProductsResponse(products=map(convert.top_product, found))

    async def LookupTag(self, request: scan_pb2.LookupTagRequest, context: Context) -> scan_pb2.LookupTagResponse:
        """Gives a verdict and records nothing."""
        answer = await self._verifier.look(request.token)
        await context.send_initial_metadata((("cache-control", "no-store"),))
        return convert.lookup_response(answer)

    async def ReportFraud(self, request: scan_pb2.ReportFraudRequest, context: Context) -> scan_pb2.ReportFraudResponse:
        """Takes a report."""
        key = RequestKey.of("/voketag.scan.v1.ScanService/ReportFraud", request.request_id, request)
        product_id = await self._verifier.product(request.token)
        prefix = address_prefix(address_of(metadata_of(context), context))
        case_id = await self._reports.take(key, prefix, convert.report(request, product_id))
        return scan_pb2.ReportFraudResponse(case_id=str(case_id))

    async def ListReports(self, request: scan_pb2.ListReportsRequest, context: Context) -> scan_pb2.ListReportsResponse:
        """Lists cases, newest first."""
        page = await self._cases.list(
            str(caller()),
            state=convert.report_state(request.state),
            product_id=UUID(request.product_id) if request.product_id else None,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return convert.list_reports_response(page)

    async def SetReportState(
        self, request: scan_pb2.SetReportStateRequest, context: Context
    ) -> scan_pb2.SetReportStateResponse:
        """Decides a case."""
        key = RequestKey.of("/voketag.scan.v1.ScanService/SetReportState", request.request_id, request)
        state = convert.report_state(request.state) or ""
        expected = convert.report_state(request.expected_state)
        case = await self._cases.decide(key, UUID(request.case_id), state=state, note=request.note, expected=expected)
        return scan_pb2.SetReportStateResponse(case=convert.report_case(case))

    async def GetReceipt(self, request: scan_pb2.GetReceiptRequest, context: Context) -> HttpBody:
        """Gives the receipt of a product."""
        card = await self._verifier.card(request.token)
        return await self._receipt(card, request.encoding, context)

    async def GetProductProof(self, request: scan_pb2.GetProductProofRequest, context: Context) -> HttpBody:
        """Gives the receipt of a product to whom it belongs."""
        card = await self._receipts.card(UUID(request.product_id), own(caller()))
        return await self._receipt(card, request.encoding, context)

    async def _receipt(self, card: Card, encoding: scan_pb2.ReceiptEncoding.ValueType, context: Context) -> HttpBody:
        write = self._receipts.calls if encoding == scan_pb2.RECEIPT_ENCODING_CALLS else self._receipts.write
        receipt = await write(card)
        await context.send_initial_metadata((("cache-control", "no-store"),))
        return convert.body("application/json", receipt)

    async def GetPage(self, request: scan_pb2.GetPageRequest, context: Context) -> HttpBody:
        """Gives the page in the reader's language."""
        try:
            answer = await self._verifier.look(request.token)
        except TokenMalformed:
            answer = None
        document = self._documents.write(request.token, answer, metadata_of(context))
        await context.send_initial_metadata(document.headers)
        return convert.body("text/html; charset=utf-8", document.html)


def address_of(metadata: Mapping[str, str], context: Context) -> str:
    """The caller's; gRPC's own idea of it costs, and is wanted without an edge only."""
    return metadata.get(CLIENT_ADDRESS) or peer_address(context.peer())


def _asked(factory_id: str) -> UUID | None:
    return UUID(factory_id) if factory_id else None
