"""Protobuf ↔ dataclass, for the fraud desk."""

from collections.abc import Mapping
from datetime import UTC
from typing import Any
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from voketag.admin.v1 import fraud_pb2 as pb
from voketag.factory.v1 import factory_pb2
from voketag.scan.v1 import ruling_pb2, scan_pb2

from admin.convert import timestamp
from admin.fraud_cases import Change, FraudCase, Note
from admin.fraud_cases import Wanted as WantedCases
from admin.rulings import Ruling
from admin.suspicious import ScanRecord, Wanted
from admin.timeline import Entry
from mesh.moments import moment_in

SUBJECTS = {
    ("BLOCK", "product"): "block_product_id",
    ("BLOCK", "batch"): "block_batch_id",
    ("REVOKE", "key"): "revoke_kid",
    ("CLEAR", "product"): "clear_product_id",
}
MEANT = {field: meant for meant, field in SUBJECTS.items()}


def uuid(text: str) -> UUID | None:
    """An id, or none."""
    return UUID(text) if text else None


def wanted(request: pb.ListSuspiciousScansRequest) -> Wanted:
    """Which scans to list. Raises ValidationFailed."""
    return Wanted(
        risk_min=request.risk_min if request.HasField("risk_min") else None,
        risk_max=request.risk_max if request.HasField("risk_max") else None,
        factor=request.factor or None,
        verdict=request.verdict or None,
        product_id=uuid(request.product_id),
        factory_id=uuid(request.factory_id),
        since=moment_in(request, "since"),
        until=moment_in(request, "until"),
    )


def scan_message(scan: ScanRecord) -> pb.ScanRecord:
    """A scan."""
    return _scan(
        {
            "product_id": scan.product_id,
            "batch_id": scan.batch_id,
            "factory_id": scan.factory_id,
            "country": scan.country,
            "verdict": scan.verdict,
            "risk": scan.risk,
            "leading_factor": scan.leading_factor,
            "factors": scan.factors,
            "scan_count": scan.scan_count,
        },
        scan.event_id,
        timestamp(scan.at),
    )


def _scan(detail: Mapping[str, Any], event_id: UUID, at: Timestamp) -> pb.ScanRecord:
    factors = detail["factors"] if isinstance(detail["factors"], dict) else {}
    return pb.ScanRecord(
        event_id=str(event_id),
        product_id=str(detail["product_id"]),
        batch_id=str(detail["batch_id"] or ""),
        factory_id=str(detail["factory_id"] or ""),
        scan_time=at,
        country_code=detail["country"],
        verdict=detail["verdict"],
        risk=detail["risk"],
        leading_factor=scan_pb2.RiskFactorName.ValueType(detail["leading_factor"] or 0),
        factors=[
            pb.FactorScore(name=scan_pb2.RiskFactorName.Value(f"RISK_FACTOR_NAME_{name.upper()}"), score=score)
            for name, score in factors.items()
            if score is not None
        ],
        scan_count=detail["scan_count"] or 0,
    )


def entry_message(entry: Entry) -> pb.TimelineEntry:
    """An entry of a line in time."""
    message = pb.TimelineEntry(entry_id=str(entry.entry_id), entry_time=timestamp(entry.at))
    detail = entry.detail
    match entry.kind:
        case "scan":
            message.scan.CopyFrom(_scan(detail, entry.entry_id, message.entry_time))
        case "step":
            message.step.CopyFrom(
                pb.ProductStep(
                    from_state=_product_state(detail["from_state"]),
                    to_state=_product_state(detail["to_state"]),
                    actor=detail["actor"],
                    note=detail["note"],
                )
            )
        case "report":
            message.report.CopyFrom(
                pb.ReportOpened(
                    case_id=str(entry.entry_id),
                    state=_report_state(detail["state"]),
                    kind=_kind(detail["kind"]),
                    country_code=detail["country"],
                )
            )
        case "ruling":
            made = Ruling(
                kind=detail["kind"],
                subject=detail["subject"],
                lifts=detail["lifts"],
                note=detail["note"],
                ruling_id=entry.entry_id,
                ruled_by=UUID(detail["ruled_by"]),
                ruled_at=entry.at,
            )
            message.ruling.CopyFrom(ruling_message(made))
    return message


def _product_state(number: int) -> factory_pb2.ProductState.ValueType:
    """The table counts from 0."""
    return factory_pb2.ProductState.ValueType(number + 1)


def _report_state(name: str) -> scan_pb2.ReportState.ValueType:
    return scan_pb2.ReportState.Value(f"REPORT_STATE_{name}")


def _kind(name: str) -> scan_pb2.FraudKind.ValueType:
    return scan_pb2.FraudKind.Value(f"FRAUD_KIND_{name}")


def subject_field(kind: str, subject: str) -> tuple[str, str | int]:
    """The field of scan's contract, and its value."""
    of, _, name = subject.partition("/")
    return SUBJECTS[kind, of], int(name) if of == "key" else name


def ruling(message: ruling_pb2.Ruling) -> Ruling:
    """What scan says of a ruling."""
    field = message.WhichOneof("subject")
    assert field is not None
    kind, of = MEANT[field]
    return Ruling(
        kind=kind,
        subject=f"{of}/{getattr(message, field)}",
        lifts=message.lifts,
        note=message.note,
        ruling_id=UUID(message.ruling_id),
        ruled_by=UUID(message.ruled_by),
        ruled_at=message.ruling_time.ToDatetime(UTC),
    )


def ruling_message(made: Ruling) -> ruling_pb2.Ruling:
    """A ruling."""
    field, value = subject_field(made.kind, made.subject)
    message = ruling_pb2.Ruling(
        ruling_id=str(made.ruling_id),
        lifts=made.lifts,
        note=made.note,
        ruled_by=str(made.ruled_by),
        ruling_time=timestamp(made.ruled_at),
    )
    setattr(message, field, value)
    return message


def state_name(number: scan_pb2.ReportState.ValueType) -> str | None:
    """The name of a state; None when it was left out."""
    return scan_pb2.ReportState.Name(number).removeprefix("REPORT_STATE_") if number else None


def wanted_cases(request: pb.ListFraudReportsRequest) -> WantedCases:
    """Which cases to list."""
    return WantedCases(
        state=state_name(request.state),
        product_id=uuid(request.product_id),
        assignee_id=uuid(request.assignee_id),
        unassigned=request.unassigned,
    )


def change(request: pb.UpdateFraudReportRequest) -> Change:
    """What to do with a case."""
    return Change(
        state=state_name(request.state),
        assigns=request.HasField("assignee_id"),
        assignee_id=uuid(request.assignee_id),
        note=request.note,
    )


def case_message(case: FraudCase) -> pb.FraudReport:
    """A case."""
    return pb.FraudReport(
        case_id=str(case.case_id),
        report_time=timestamp(case.reported_at),
        state=_report_state(case.state),
        kind=_kind(case.kind),
        text=case.text,
        product_id=str(case.product_id or ""),
        code=case.code,
        country_code=case.country_code,
        report_count=case.reports,
        change_time=timestamp(case.changed_at) if case.changed_at is not None else None,
        assignee_id=str(case.assignee_id or ""),
        photo_sha256=case.photo_sha256 or b"",
        notes=map(_note, case.notes),
    )


def _note(note: Note) -> pb.CaseNote:
    return pb.CaseNote(
        note_id=str(note.note_id),
        author_id=str(note.author_id),
        text=note.text,
        note_time=timestamp(note.noted_at),
    )
