"""The exports of the canned server."""

from collections.abc import AsyncIterator

from google.api.httpbody_pb2 import HttpBody
from voketag.admin.v1 import export_pb2, export_pb2_grpc

from tests.acceptance.edge.canned_hooks import NOW, Context, Hooks

PIECE = b"0123456789abcdef" * 65_536
FILE = export_pb2.FileLink(link="/v1/admin/downloads/1", expire_time=NOW, sha256=b"1")
MADE = export_pb2.ExportJob(export_id="1", from_time=NOW, to_time=NOW, file=FILE, create_time=NOW, finish_time=NOW)


class Exports(export_pb2_grpc.ExportServiceServicer, Hooks):
    """Answers with files; `expires` is how many MiB a download has after its beginning."""

    async def Export(
        self, request: export_pb2.ExportRequest, context: Context
    ) -> AsyncIterator[export_pb2.ExportResponse]:
        self.seen(context)
        yield export_pb2.ExportResponse(data=b"user_id\r\n")

    async def DownloadExport(self, request: export_pb2.DownloadExportRequest, context: Context) -> HttpBody:
        self.seen(context)
        asked = f"{request.kind} {request.from_time.ToJsonString()} {request.format}"
        return HttpBody(content_type="text/csv", data=asked.encode())

    async def StartExport(
        self, request: export_pb2.StartExportRequest, context: Context
    ) -> export_pb2.StartExportResponse:
        self.seen(context)
        return export_pb2.StartExportResponse(export=MADE)

    async def GetExport(self, request: export_pb2.GetExportRequest, context: Context) -> export_pb2.GetExportResponse:
        self.seen(context)
        return export_pb2.GetExportResponse(export=MADE)

    async def ListExports(
        self, request: export_pb2.ListExportsRequest, context: Context
    ) -> export_pb2.ListExportsResponse:
        self.seen(context)
        return export_pb2.ListExportsResponse(exports=[MADE], next_page_token=f"{request.page_size}")

    async def CancelExport(
        self, request: export_pb2.CancelExportRequest, context: Context
    ) -> export_pb2.CancelExportResponse:
        self.seen(context)
        return export_pb2.CancelExportResponse(export=MADE)

    async def DownloadFile(self, request: export_pb2.DownloadFileRequest, context: Context) -> AsyncIterator[HttpBody]:
        self.seen(context)
        await context.send_initial_metadata((("cache-control", "private, no-store"),))
        yield HttpBody(content_type="application/octet-stream", data=b"begin")
        for _ in range(request.expires):
            yield HttpBody(data=PIECE)
