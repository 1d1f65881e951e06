"""TableService: products in and out as files."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import UUID

from voketag.factory.v1 import factory_pb2, table_pb2_grpc
from voketag.factory.v1 import table_pb2 as pb

from factory import convert
from factory.exports import ExportFormat, Exports
from factory.table_imports import CellError, Report, TableImports, TableOrder
from mesh.errors import StreamHeaderExpected
from mesh.idempotency import RequestKey
from mesh.identity import caller

IMPORT = "/voketag.factory.v1.TableService/ImportCsv"


class TableService(table_pb2_grpc.TableServiceServicer):
    """See proto/voketag/factory/v1/table.proto."""

    def __init__(self, imports: TableImports, exports: Exports) -> None:
        self._imports = imports
        self._exports = exports

    async def ImportCsv(
        self, request_iterator: AsyncIterator[pb.ImportCsvRequest], context: Any
    ) -> pb.ImportCsvResponse:
        """Orders a batch from a CSV file."""
        first = await anext(request_iterator, None)
        if first is None or not first.HasField("header"):
            raise StreamHeaderExpected
        return _report_message(await self._imports.run(caller().uuid, _order(first.header), _pieces(request_iterator)))

    async def ExportProducts(
        self, request: pb.ExportProductsRequest, context: Any
    ) -> AsyncIterator[pb.ExportProductsResponse]:
        """Streams the products of a batch as a file."""
        form = ExportFormat(pb.ExportFormat.Name(request.format).removeprefix("EXPORT_FORMAT_"))
        async with aclosing(self._exports.run(caller().tenant, UUID(request.batch_id), form)) as pieces:
            async for piece in pieces:
                yield pb.ExportProductsResponse(data=piece)


def _order(header: pb.CsvHeader) -> TableOrder:
    key = RequestKey.of(IMPORT, header.request_id, header)
    return TableOrder(key, header.name, dict(header.template), header.dry_run, header.all_or_nothing)


async def _pieces(requests: AsyncIterator[pb.ImportCsvRequest]) -> AsyncIterator[bytes]:
    async for request in requests:
        if request.HasField("header"):
            raise StreamHeaderExpected
        yield request.data


def _report_message(report: Report) -> pb.ImportCsvResponse:
    message = pb.ImportCsvResponse(
        row_count=report.row_count,
        refused_count=report.refused_count,
        errors=[_error_message(error) for error in report.errors],
    )
    if report.batch is not None:
        message.batch.CopyFrom(convert.batch_message(report.batch))
    return message


def _error_message(error: CellError) -> pb.CellError:
    return pb.CellError(
        line=error.line,
        column=error.column,
        value=error.value,
        reason=factory_pb2.RowErrorReason.Value(f"ROW_ERROR_REASON_{error.reason}"),
        message=error.message,
    )
