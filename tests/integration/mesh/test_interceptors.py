"""The steps as plain interceptors of a plain grpc.aio server, on pytest-grpc's fixtures in its real-server mode."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2
from voketag.scan.v1 import scan_pb2, scan_pb2_grpc

from mesh.errors import ProductNotFound
from mesh.interceptors.deadline import DeadlineStep
from mesh.interceptors.errors import STATUS_KEY, ErrorsStep
from mesh.interceptors.step import Step
from mesh.interceptors.telemetry import TelemetryStep
from mesh.interceptors.validation import ValidationStep
from mesh.policy import policies
from mesh.telemetry import trace_id
from tests.fakes.echo_server import Echo

ONCE: dict[str, Any] = {"scope": "module", "loop_scope": "module"}
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Refusing(Echo):
    """Knows no product named `missing`, and tells its trace id."""

    async def Verify(self, request: scan_pb2.VerifyRequest, context: Any) -> scan_pb2.VerifyResponse:
        if request.token == "missing":
            raise ProductNotFound
        return scan_pb2.VerifyResponse(product=scan_pb2.ProductCard(product_id=trace_id()))


@pytest.fixture(scope="module")
def grpc_interceptors() -> Sequence[Step]:
    rules = policies([scan_pb2])
    telemetry, deadline = TelemetryStep(rules, tracing=False), DeadlineStep(rules, default_seconds=5)
    return [telemetry, ErrorsStep(rules), deadline, ValidationStep(rules)]


@pytest.fixture(scope="module")
def grpc_add_to_server() -> Callable[..., None]:
    return scan_pb2_grpc.add_ScanServiceServicer_to_server


@pytest.fixture(scope="module")
def grpc_servicer() -> Echo:
    return Refusing()  # type: ignore[abstract]


@pytest_asyncio.fixture(**ONCE)
async def _grpc_server(grpc_interceptors: Sequence[Step]) -> grpc.aio.Server:
    return grpc.aio.server(interceptors=grpc_interceptors)


@pytest_asyncio.fixture(**ONCE)
async def grpc_server(
    _grpc_server: grpc.aio.Server, grpc_add_to_server: Callable[..., None], grpc_servicer: Echo
) -> AsyncIterator[int]:
    grpc_add_to_server(grpc_servicer, _grpc_server)
    port = _grpc_server.add_insecure_port("127.0.0.1:0")
    await _grpc_server.start()
    yield port
    await _grpc_server.stop(None)


@pytest_asyncio.fixture(**ONCE)
async def grpc_channel(grpc_server: int) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{grpc_server}") as channel:
        yield channel


@pytest.fixture(scope="module")
def grpc_stub_cls(grpc_channel: grpc.aio.Channel) -> type[scan_pb2_grpc.ScanServiceStub]:
    del grpc_channel
    return scan_pb2_grpc.ScanServiceStub


async def reason(call: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = status_pb2.Status.FromString(dict(caught.value.trailing_metadata() or ())[STATUS_KEY])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason


async def test_telemetry_names_the_call(grpc_stub: Any) -> None:
    answer = await grpc_stub.Verify(scan_pb2.VerifyRequest(token="x"))
    assert len(answer.product.product_id) == 32


async def test_errors_and_validation_speak_the_contract(grpc_stub: Any) -> None:
    assert await reason(grpc_stub.Verify(scan_pb2.VerifyRequest(token="missing"))) == "PRODUCT_NOT_FOUND"
    assert await reason(grpc_stub.Verify(scan_pb2.VerifyRequest(token=""))) == "VALIDATION_FAILED"
