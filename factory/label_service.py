"""LabelService: QR codes for everybody, files of labels for the factory."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import UUID

from google.api.httpbody_pb2 import HttpBody
from voketag.factory.v1 import label_pb2 as pb
from voketag.factory.v1 import label_pb2_grpc

from factory.codes import Codes, ErrorLevel, QrFormat
from factory.labels import LabelFormat, LabelOrder, Labels
from factory.sheets import Grid
from mesh.identity import caller

LEVELS = {
    pb.ERROR_LEVEL_UNSPECIFIED: ErrorLevel.M,
    pb.ERROR_LEVEL_L: ErrorLevel.L,
    pb.ERROR_LEVEL_M: ErrorLevel.M,
    pb.ERROR_LEVEL_Q: ErrorLevel.Q,
    pb.ERROR_LEVEL_H: ErrorLevel.H,
}
FORMATS = {pb.LABEL_FORMAT_ZIP_SVG: LabelFormat.ZIP_SVG, pb.LABEL_FORMAT_PDF: LabelFormat.PDF}
MEDIA_TYPES = {QrFormat.SVG: "image/svg+xml", QrFormat.PNG: "image/png"}
FOR_EVER = "public, max-age=31536000, immutable"


class LabelService(label_pb2_grpc.LabelServiceServicer):
    """See proto/voketag/factory/v1/label.proto."""

    def __init__(self, codes: Codes, labels: Labels) -> None:
        self._codes = codes
        self._labels = labels

    async def GetQrCode(self, request: pb.GetQrCodeRequest, context: Any) -> HttpBody:
        """Draws the code of a token."""
        form = QrFormat.PNG if request.format == pb.QR_FORMAT_PNG else QrFormat.SVG
        image = await self._codes.draw(request.token, form, LEVELS[request.error_level], request.scale)
        await context.send_initial_metadata((("cache-control", FOR_EVER),))
        return HttpBody(content_type=MEDIA_TYPES[form], data=image)

    async def MakeLabels(self, request: pb.MakeLabelsRequest, context: Any) -> AsyncIterator[pb.MakeLabelsResponse]:
        """Streams the labels of a batch."""
        async with aclosing(self._labels.make(caller().tenant, _order(request))) as pieces:
            async for piece in pieces:
                yield pb.MakeLabelsResponse(data=piece.data, drawn=piece.drawn, label_count=piece.label_count)


def _order(request: pb.MakeLabelsRequest) -> LabelOrder:
    return LabelOrder(
        UUID(request.batch_id),
        FORMATS[request.format],
        level=LEVELS[request.error_level],
        grid=_grid(request.grid),
        first_index=request.first_index,
        max_labels=request.max_labels,
    )


def _grid(grid: pb.LabelGrid) -> Grid:
    usual = Grid()
    return Grid(
        grid.columns or usual.columns,
        grid.rows or usual.rows,
        margin=grid.margin_mm if grid.HasField("margin_mm") else usual.margin,
        code=grid.code_mm if grid.HasField("code_mm") else None,
    )
