"""The RPCs of voketag.scan.v1.ScanService."""

from collections.abc import Mapping
from typing import Any

from google.api.httpbody_pb2 import HttpBody
from grpc.aio import ServicerContext
from voketag.scan.v1 import scan_pb2, scan_pb2_grpc

from mesh.errors import TokenMalformed
from mesh.identity import CLIENT_ADDRESS, address_prefix, peer_address
from scan import convert
from scan.language import Language, preferred
from scan.page import Page
from scan.receipt import Receipts
from scan.verify import Verifier

Context = ServicerContext[Any, Any]


class ScanService(scan_pb2_grpc.ScanServiceServicer):
    """Verdicts, receipts and the page."""

    def __init__(self, verifier: Verifier, receipts: Receipts, page: Page, languages: Mapping[str, Language]) -> None:
        self._verifier = verifier
        self._receipts = receipts
        self._page = page
        self._languages = languages

    async def Verify(self, request: scan_pb2.VerifyRequest, context: Context) -> scan_pb2.VerifyResponse:
        """Records a scan and gives its verdict."""
        answer = await self._verifier.scan(request.token, _prefix(context), typed=request.typed)
        return convert.verify_response(answer)

    async def GetReceipt(self, request: scan_pb2.GetReceiptRequest, context: Context) -> HttpBody:
        """Gives the receipt of a product."""
        receipt = await self._receipts.write(await self._verifier.card(request.token))
        await context.send_initial_metadata((("cache-control", "no-store"),))
        return convert.body("application/json", receipt)

    async def GetPage(self, request: scan_pb2.GetPageRequest, context: Context) -> HttpBody:
        """Gives the page in the reader's language."""
        tag = preferred(_metadata(context).get("accept-language", ""), tuple(self._languages))
        try:
            answer = await self._verifier.look(request.token)
        except TokenMalformed:
            answer = None
        await context.send_initial_metadata(
            (
                ("cache-control", "no-store"),
                ("content-language", tag),
                ("content-security-policy", self._page.policy),
                ("vary", "accept-language"),
            )
        )
        page = self._page.write(request.token, answer, self._languages[tag])
        return convert.body("text/html; charset=utf-8", page)


def _prefix(context: Context) -> str:
    """The neighbourhood that the call comes from; gRPC's own idea of it costs, and is wanted without an edge only."""
    for key, value in context.invocation_metadata() or ():
        if key == CLIENT_ADDRESS:
            return address_prefix(str(value))
    return address_prefix(peer_address(context.peer()))


def _metadata(context: Context) -> Mapping[str, str]:
    return dict(context.invocation_metadata() or ())  # type: ignore[arg-type] # text, but for names in -bin
