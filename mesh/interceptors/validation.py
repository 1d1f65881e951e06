"""Step: requests keep the rules written in the contract (protovalidate)."""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import protovalidate
from google.protobuf.message import DecodeError, Message

from mesh.error import FieldViolation
from mesh.errors import ValidationFailed
from mesh.interceptors.step import Context, Step
from mesh.policy import Policy

Read = TypeVar("Read", bound=Message)


def _path(violation: Any) -> str:
    elements = violation.proto.field.elements if violation.proto.field else ()
    return ".".join(element.field_name for element in elements)


def check(message: Message) -> None:
    """Raises ValidationFailed with every field that breaks a rule."""
    try:
        protovalidate.validate(message)
    except protovalidate.ValidationError as error:
        found = tuple(FieldViolation(_path(v), v.proto.rule_id, v.proto.message) for v in error.violations)
        summary = "; ".join(f"{v.field or 'request'}: {v.description}" for v in found[:5])
        raise ValidationFailed(violations=found, summary=summary) from None


def read(kind: type[Read], raw: bytes) -> Read:
    """A message from its bytes that keeps its rules. Raises ValidationFailed."""
    try:
        message = kind.FromString(raw)
    except DecodeError:
        raise ValidationFailed(violations=(), summary=f"not a {kind.DESCRIPTOR.name}") from None
    check(message)
    return message


async def _checked(messages: AsyncIterator[Message]) -> AsyncIterator[Message]:
    async for message in messages:
        check(message)
        yield message


class ValidationStep(Step):
    """Checks the one request, or each message of a stream as it comes."""

    waits = False
    reads = True

    def around(self, policy: Policy, request: Any, context: Context) -> AbstractContextManager[Any]:
        """Raises ValidationFailed."""
        del context
        if policy.request_streaming:
            return nullcontext(_checked(request))
        check(request)
        return nullcontext(request)
