"""A step around a call, written once for all four call shapes, and how steps are put around handlers."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import grpc
from grpc.aio import ServicerContext
from grpc_interceptor.server import AsyncServerInterceptor

from mesh.policy import Policy

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "ServicerContext[Any, Any]"


class Step(AsyncServerInterceptor, ABC):
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

    def intercept(self, method: Any, request_or_iterator: Any, context: Any, method_name: str) -> Any:
        """grpc-interceptor's entry: a coroutine for one response, an async generator for many."""
        policy = self._policies[method_name]
        run = self._many if policy.response_streaming else self._one
        return run(method, policy, request_or_iterator, context)

    async def _one(self, method: Any, policy: Policy, request: Any, context: Context) -> Any:
        async with self.around(policy, request, context) as passed:
            return await method(passed, context)

    async def _many(self, method: Any, policy: Policy, request: Any, context: Context) -> AsyncIterator[Any]:
        async with self.around(policy, request, context) as passed:
            async for response in method(passed, context):
                yield response


class _Details(grpc.HandlerCallDetails):
    """What grpc-interceptor wants to know of a method."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.invocation_metadata = ()


async def compose(handler: Handler, policy: Policy, steps: Sequence[Step]) -> Handler:
    """The handler with the steps around it; the first step is the outermost."""
    details = _Details(policy.method)
    for step in reversed(steps):
        if step.applies(policy):
            inner = handler

            async def found(_: Any, inner: Handler = inner) -> Handler:
                return inner

            handler = await step.intercept_service(found, details)  # type: ignore[no-untyped-call]
    return handler
