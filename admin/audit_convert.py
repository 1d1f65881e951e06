"""Protobuf ↔ dataclass, for the audit log."""

from typing import Any

from voketag.admin.v1 import audit_pb2 as pb

from admin.audit import Filter, Numbered, Proved
from admin.convert import timestamp
from mesh.moments import moment_in


def wanted(given: pb.AuditFilter) -> Filter:
    """Which entries are asked for. Raises ValidationFailed."""
    kind, colon, actor_id = given.actor.partition(":")
    return Filter(
        actor_kind=kind or None,
        actor_id=actor_id if colon else None,
        method=given.method or None,
        resource=given.resource or None,
        source=given.service or None,
        result=given.result or None,
        from_time=moment_in(given, "from_time", within="filter."),
        to_time=moment_in(given, "to_time", within="filter."),
    )


def entry_message(numbered: Numbered) -> pb.AuditEntry:
    """An entry."""
    entry = numbered.entry
    texts: dict[str, Any] = {
        name: getattr(entry, name)
        for name in ("actor_kind", "actor_id", "actor_role", "method", "resource", "address_prefix", "result", "detail")
    }
    return pb.AuditEntry(
        number=numbered.number,
        service=entry.source,
        audit_id=str(entry.audit_id),
        time=timestamp(entry.time),
        request_id=str(entry.request_id or ""),
        **texts,
    )


def proof_message(proved: Proved) -> pb.GetAuditInclusionProofResponse:
    """A proof."""
    return pb.GetAuditInclusionProofResponse(
        number=proved.number,
        entry=proved.entry,
        leaf_hash=proved.leaf_hash,
        path=proved.path,
        checkpoint=proved.note.decode(),
    )
