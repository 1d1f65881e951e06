"""A step around a call, written once for all four call shapes, and how steps are put around handlers."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import grpc
from grpc.aio import ServicerContext

from mesh.policy import Policy

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "ServicerContext[Any, Any]"
SHAPES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class Step(ABC):
    """What happens around a call. Subclasses say it once, in `around`.

    The steps of a method are composed when the server starts, not when a call comes, and a step that has nothing to do
    for a method is left out of it: a call pays for what it needs.
    """

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        self._policies = policies

    def applies(self, policy: Policy) -> bool:
        """True when calls of this method need the step."""
        del policy
        return True

    @abstractmethod
    def around(self, policy: Policy, request: Any, context: Context) -> AbstractAsyncContextManager[Any]:
        """Entered before the handler and left after its last message; gives the request, or iterator, to go on with."""


def _one(step: Step, policy: Policy, inner: Any) -> Any:
    around = step.around

    async def call(request: Any, context: Context) -> Any:
        async with around(policy, request, context) as passed:
            return await inner(passed, context)

    return call


def _many(step: Step, policy: Policy, inner: Any) -> Any:
    around = step.around

    async def call(request: Any, context: Context) -> AsyncIterator[Any]:
        async with around(policy, request, context) as passed:
            async for response in inner(passed, context):
                yield response

    return call


def compose(handler: Handler, policy: Policy, steps: Sequence[Step]) -> Handler:
    """The handler with the steps around it; the first step is the outermost."""
    shape, behaviour = next((shape, found) for shape in SHAPES if (found := getattr(handler, shape)) is not None)
    wrap = _many if policy.response_streaming else _one
    for step in reversed(steps):
        if step.applies(policy):
            behaviour = wrap(step, policy, behaviour)
    make = getattr(grpc, f"{shape}_rpc_method_handler")
    composed: Handler = make(behaviour, handler.request_deserializer, handler.response_serializer)
    return composed
