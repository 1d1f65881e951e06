"""A step around a call, written once for all four call shapes, and how steps are put around handlers."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, ClassVar, TypeAlias

import grpc
from grpc.aio import ServicerContext
from grpc_interceptor.server import AsyncServerInterceptor

from mesh.policy import Policy

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "ServicerContext[Any, Any]"
Around: TypeAlias = "AbstractAsyncContextManager[Any] | AbstractContextManager[Any]"
SHAPES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class Step(AsyncServerInterceptor, ABC):
    """What happens around a call. Subclasses say it once, in `around`.

    A step is an interceptor of grpc-interceptor, and any grpc.aio server takes it as it is. Our own servers `compose`
    the steps of a method when they start and not when a call comes, and leave out a step that has nothing to do for
    it: a call pays for what it needs.
    """

    waits: ClassVar[bool] = True
    """False: `around` gives a context manager that waits for nothing, which costs less than an asynchronous one."""

    reads: ClassVar[bool] = False
    """True: the step looks into requests, and a behaviour that takes them as bytes does the same itself."""

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        self._policies = policies

    def applies(self, policy: Policy) -> bool:
        """True when calls of this method need the step."""
        del policy
        return True

    @abstractmethod
    def around(self, policy: Policy, request: Any, context: Context) -> Around:
        """Entered before the handler and left after its last message; gives the request, or iterator, to go on with."""

    def intercept(self, method: Any, request_or_iterator: Any, context: Any, method_name: str) -> Any:
        """grpc-interceptor's entry: a coroutine for one response, an async generator for many."""
        policy = self._policies[method_name]
        run = self.wrap(policy, method) if self.applies(policy) else method
        return run(request_or_iterator, context)

    def wrap(self, policy: Policy, inner: Any) -> Any:
        """The behaviour of a method with this step around it."""
        wrappers = (_one, _many) if self.waits else (_one_at_once, _many_at_once)
        return wrappers[policy.response_streaming](self, policy, inner)


def _one(step: Step, policy: Policy, inner: Any) -> Any:
    around: Any = step.around

    async def call(request: Any, context: Context) -> Any:
        async with around(policy, request, context) as passed:
            return await inner(passed, context)

    return call


def _many(step: Step, policy: Policy, inner: Any) -> Any:
    around: Any = step.around

    async def call(request: Any, context: Context) -> AsyncIterator[Any]:
        async with around(policy, request, context) as passed:
            async for response in inner(passed, context):
                yield response

    return call


def _one_at_once(step: Step, policy: Policy, inner: Any) -> Any:
    around: Any = step.around

    async def call(request: Any, context: Context) -> Any:
        with around(policy, request, context) as passed:
            return await inner(passed, context)

    return call


def _many_at_once(step: Step, policy: Policy, inner: Any) -> Any:
    around: Any = step.around

    async def call(request: Any, context: Context) -> AsyncIterator[Any]:
        with around(policy, request, context) as passed:
            async for response in inner(passed, context):
                yield response

    return call


def compose(handler: Handler, policy: Policy, steps: Sequence[Step]) -> Handler:
    """The handler with the steps around it; the first step is the outermost."""
    shape, behaviour = next((shape, found) for shape in SHAPES if (found := getattr(handler, shape)) is not None)
    for step in reversed(steps):
        if step.applies(policy):
            behaviour = step.wrap(policy, behaviour)
    make = getattr(grpc, f"{shape}_rpc_method_handler")
    composed: Handler = make(behaviour, handler.request_deserializer, handler.response_serializer)
    return composed
