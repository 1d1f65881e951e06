"""Protobuf ↔ dataclass, of exports and files."""

from typing import TYPE_CHECKING
from uuid import UUID

from voketag.admin.v1 import export_pb2 as pb

from admin.convert import factory_id, timestamp
from admin.export_orders import Asked, Order
from admin.exports import ExportKind, Wanted
from admin.files import Link
from mesh.moments import moment_in
from mesh.tables import TableFormat

if TYPE_CHECKING:
    Request = pb.ExportRequest | pb.StartExportRequest | pb.DownloadExportRequest


def wanted(request: "Request") -> Wanted:
    """Which table; CSV unless said otherwise. Raises ValidationFailed."""
    kind = request.kind.upper() if isinstance(request.kind, str) else pb.ExportKind.Name(request.kind)
    return Wanted(
        ExportKind(kind.removeprefix("EXPORT_KIND_")),
        TableFormat(pb.ExportFormat.Name(request.format or pb.EXPORT_FORMAT_CSV).removeprefix("EXPORT_FORMAT_")),
        moment_in(request, "from_time"),
        moment_in(request, "to_time"),
        factory_id(request.factory_id),
    )


def asked(request: pb.ListExportsRequest) -> Asked:
    """Which exports to list."""
    return Asked(
        kind=pb.ExportKind.Name(request.kind).removeprefix("EXPORT_KIND_") if request.kind else None,
        state=pb.ExportState.Name(request.state).removeprefix("EXPORT_STATE_") if request.state else None,
        user_id=UUID(request.user_id) if request.user_id else None,
    )


def export_message(order: Order) -> pb.ExportJob:
    """An export."""
    asked = order.wanted
    return pb.ExportJob(
        export_id=str(order.export_id),
        user_id=str(order.user_id),
        kind=pb.ExportKind.Value(f"EXPORT_KIND_{asked.kind}"),
        format=pb.ExportFormat.Value(f"EXPORT_FORMAT_{asked.format}"),
        from_time=timestamp(asked.from_time) if asked.from_time else None,
        to_time=timestamp(asked.to_time) if asked.to_time else None,
        factory_id=str(asked.factory_id or ""),
        state=pb.ExportState.Value(f"EXPORT_STATE_{order.state}"),
        row_count=order.row_count,
        failure=order.failure,
        file=link_message(order.link) if order.link else None,
        create_time=timestamp(order.created_at),
        finish_time=timestamp(order.finished_at) if order.finished_at else None,
    )


def link_message(link: Link) -> pb.FileLink:
    """Where a file is."""
    return pb.FileLink(
        link=link.path, expire_time=timestamp(link.expires_at), size=link.file.size, sha256=link.file.sha256
    )
