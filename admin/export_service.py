"""ExportService: tables as files."""

import base64
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import UUID

from google.api.httpbody_pb2 import HttpBody
from voketag.admin.v1 import export_pb2 as pb
from voketag.admin.v1 import export_pb2_grpc

from admin import export_convert as convert
from admin.errors import LinkInvalid
from admin.export_orders import ExportOrders
from admin.exports import Exports
from admin.files import Files, Links
from mesh.idempotency import RequestKey
from mesh.identity import caller

_START = "/voketag.admin.v1.ExportService/StartExport"
_CANCEL = "/voketag.admin.v1.ExportService/CancelExport"
_PRIVATE = ("cache-control", "private, no-store")


class ExportService(export_pb2_grpc.ExportServiceServicer):
    """See proto/voketag/admin/v1/export.proto."""

    def __init__(self, exports: Exports, orders: ExportOrders, files: Files, links: Links) -> None:
        self._exports = exports
        self._orders = orders
        self._files = files
        self._links = links

    async def Export(self, request: pb.ExportRequest, context: Any) -> AsyncIterator[pb.ExportResponse]:
        """Streams a table."""
        async with aclosing(self._exports.stream(caller(), convert.wanted(request))) as pieces:
            async for piece in pieces:
                yield pb.ExportResponse(data=piece)

    async def DownloadExport(self, request: pb.DownloadExportRequest, context: Any) -> HttpBody:
        """A small table."""
        wanted = convert.wanted(request)
        data = await self._exports.small(caller(), wanted)
        await context.send_initial_metadata((_PRIVATE, _attachment(wanted.name)))
        return HttpBody(content_type=wanted.media_type, data=data)

    async def StartExport(self, request: pb.StartExportRequest, context: Any) -> pb.StartExportResponse:
        """Orders a file."""
        key = RequestKey.of(_START, request.request_id, request)
        order = await self._orders.start(caller(), key, convert.wanted(request))
        return pb.StartExportResponse(export=convert.export_message(order))

    async def GetExport(self, request: pb.GetExportRequest, context: Any) -> pb.GetExportResponse:
        """What became of it."""
        order = await self._orders.get(caller(), UUID(request.export_id))
        return pb.GetExportResponse(export=convert.export_message(order))

    async def ListExports(self, request: pb.ListExportsRequest, context: Any) -> pb.ListExportsResponse:
        """A page of exports."""
        orders, more = await self._orders.list(
            caller(), convert.asked(request), page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListExportsResponse(exports=map(convert.export_message, orders), next_page_token=more)

    async def CancelExport(self, request: pb.CancelExportRequest, context: Any) -> pb.CancelExportResponse:
        """Calls an export off."""
        key = RequestKey.of(_CANCEL, request.request_id, request)
        order = await self._orders.cancel(caller(), key, UUID(request.export_id))
        return pb.CancelExportResponse(export=convert.export_message(order))

    async def DownloadFile(self, request: pb.DownloadFileRequest, context: Any) -> AsyncIterator[HttpBody]:
        """A file by its link."""
        file_id = UUID(request.file_id)
        self._links.check(caller(), file_id, request.expires, request.signature)
        file = await self._files.find(file_id)
        if file is None:
            raise LinkInvalid
        digest = f"sha-256=:{base64.b64encode(file.sha256).decode()}:"  # RFC 9530
        await context.send_initial_metadata((_PRIVATE, _attachment(file.name), ("repr-digest", digest)))
        kind = file.media_type
        async with aclosing(self._files.read(file)) as pieces:
            async for piece in pieces:
                yield HttpBody(content_type=kind, data=piece)
                kind = ""


def _attachment(name: str) -> tuple[str, str]:
    """The name is ours: letters, digits and full stops."""
    return "content-disposition", f'attachment; filename="{name}"'
