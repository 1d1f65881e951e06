"""Moments out of messages."""

from datetime import UTC, datetime

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from mesh.error import FieldViolation
from mesh.errors import ValidationFailed


def moment(path: str, message: Timestamp) -> datetime:
    """A moment in UTC. Raises ValidationFailed, naming the field at `path`, unless it lies in the years 1 to 9999.

    The contract cannot say this: its checker takes a time apart before it looks at any rule.
    """
    try:
        return message.ToDatetime(UTC)
    except (ValueError, OverflowError):
        violation = FieldViolation(path, "timestamp.valid", "is no time between the years 1 and 9999")
        raise ValidationFailed(violations=(violation,), summary=f"{path}: {violation.description}") from None


def moment_in(holder: Message, field: str, *, within: str = "") -> datetime | None:
    """The moment in a field, None where it was left out; `within` is where the holder is, as in `filter.`."""
    return moment(within + field, getattr(holder, field)) if holder.HasField(field) else None
