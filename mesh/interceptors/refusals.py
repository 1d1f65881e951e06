"""Step: an audited call of somebody known that is refused leaves an audit row."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import Any
from uuid import UUID

from google.protobuf.message import Message

from mesh.error import VokeTagError
from mesh.identity import address_prefix, caller, client_address, metadata_of
from mesh.interceptors.step import Context, Step
from mesh.policy import PUBLIC, Policy
from mesh.refusals import Refusals

KINDS = {"key": "api_key", "case": "fraud_case"}
"""How audit rows call what a field's name calls by another word."""


class _First:
    """A stream's messages; remembers the first, which has the request's id.

    A call that is refused before anything is read must not have begun to read: gRPC's reader is never closed then.
    """

    def __init__(self, messages: AsyncIterator[Message]) -> None:
        self._messages = messages
        self._reader: AsyncIterator[Message] | None = None
        self.first: Message | None = None

    def __aiter__(self) -> "_First":
        return self

    async def __anext__(self) -> Message:
        if self._reader is None:
            self._reader = aiter(self._messages)
        message = await anext(self._reader)
        if self.first is None:
            self.first = message
        return message


class _Witness:
    """Looks at the call's end alone: whatever goes well costs nothing more."""

    __slots__ = ("_context", "_policy", "_refusals", "_request")

    def __init__(self, policy: Policy, request: Any, context: Context, refusals: Refusals) -> None:
        self._policy = policy
        self._request = _First(request) if policy.request_streaming else request
        self._context = context
        self._refusals = refusals

    async def __aenter__(self) -> Any:
        return self._request

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, VokeTagError):
            return
        request = self._request.first if isinstance(self._request, _First) else self._request
        await self._refusals.keep(
            error,
            caller(),
            method=self._policy.method,
            resource=resource_of(request),
            request_id=request_id_of(request),
            address=address_prefix(client_address(metadata_of(self._context), self._context.peer())),
        )


def request_id_of(message: Message | None) -> UUID | None:
    """The idempotency key of a request or of the header in it, if it is a UUID."""
    header = getattr(message, "header", None)
    return _uuid(getattr(header if isinstance(header, Message) else message, "request_id", ""))


def resource_of(message: Message | None) -> str:
    """What a request is aimed at, `kind/id`, by the first of its fields that is a UUID; '' if none is."""
    for field in message.DESCRIPTOR.fields if message is not None else ():
        if field.name.endswith("_id") and field.name != "request_id":
            found = _uuid(getattr(message, field.name))
            if found is not None:
                kind = field.name.split("_")[-2]
                return f"{KINDS.get(kind, kind)}/{found}"
    return ""


def _uuid(text: object) -> UUID | None:
    with suppress(ValueError):
        return UUID(text) if isinstance(text, str) else None
    return None


class RefusalStep(Step):
    """Between the errors step, which ends the call, and all that may refuse it."""

    def __init__(self, policies: Mapping[str, Policy], refusals: Refusals | None) -> None:
        super().__init__(policies)
        self._refusals = refusals

    def applies(self, policy: Policy) -> bool:
        """Only for audited methods that have callers of whom anything is known."""
        return self._refusals is not None and policy.audited and policy.audiences != {PUBLIC}

    def around(self, policy: Policy, request: Any, context: Context) -> AbstractAsyncContextManager[Any]:
        """Keeps what is refused; see mesh.refusals."""
        assert self._refusals is not None, "it does not apply"
        return _Witness(policy, request, context, self._refusals)
