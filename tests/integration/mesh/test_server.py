"""A server's life: start, health, drain, stop; one process and several; and what stops it from starting."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from voketag.scan.v1 import scan_pb2, scan_pb2_grpc

from mesh.local.ports import LOOPBACK
from mesh.local.process import Child
from mesh.local.server import clean_environment
from tests.servers import free_port

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def status(port: int) -> int | None:
    """The server's health now; None when nobody listens."""
    async with grpc.aio.insecure_channel(f"{LOOPBACK}:{port}") as channel:
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
            return int(answer.status)
        except grpc.aio.AioRpcError:
            return None


async def until(port: int, wanted: int | None) -> None:
    async with asyncio.timeout(20):
        while await status(port) != wanted:
            await asyncio.sleep(0.02)


class Running:
    def __init__(self, folder: Path, processes: int) -> None:
        self.port = free_port()
        self.release, self.healthy = folder / "release", folder / "healthy"
        self.healthy.touch()
        environment = {"RELEASE": str(self.release), "HEALTHY": str(self.healthy)}
        command = (sys.executable, "-m", "tests.fakes.echo_server", str(self.port), str(processes))
        self.log = folder / "echo.log"
        self.child = Child("echo", command, log=self.log, env={**clean_environment(folder), **environment})


@asynccontextmanager
async def running(folder: Path, processes: int = 1) -> AsyncIterator[Running]:
    server = Running(folder, processes)
    await server.child.start()
    try:
        await until(server.port, SERVING)
        yield server
    finally:
        await server.child.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_drains_and_answers_what_is_under_way(tmp_path: Path, number: signal.Signals) -> None:
    async with running(tmp_path) as server, grpc.aio.insecure_channel(f"{LOOPBACK}:{server.port}") as channel:
        call = scan_pb2_grpc.ScanServiceStub(channel).Verify(scan_pb2.VerifyRequest(token="hang"))
        await call.initial_metadata() if call.done() else None
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        stopping = asyncio.create_task(server.child.stop(number, grace=15))
        assert (await watch.read()).status == NOT_SERVING, "it says so before it stops accepting"
        watch.cancel()
        server.release.touch()
        assert (await call).scan_count > 0, "a call under way is finished"
        await stopping
        assert await server.child.wait() == 0
        assert await status(server.port) is None


async def test_health_follows_the_checks(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        server.healthy.unlink()
        await until(server.port, NOT_SERVING)
        server.healthy.touch()
        await until(server.port, SERVING)


async def test_processes_share_the_port_and_stop_together(tmp_path: Path) -> None:
    async with running(tmp_path, processes=2) as server:
        pids: set[int] = set()
        async with asyncio.timeout(30):
            while len(pids) < 2:
                options = [("grpc.use_local_subchannel_pool", 1)]
                async with grpc.aio.insecure_channel(f"{LOOPBACK}:{server.port}", options) as channel:
                    stub = scan_pb2_grpc.ScanServiceStub(channel)
                    pids.add((await stub.Verify(scan_pb2.VerifyRequest(token="x"), timeout=5)).scan_count)
        await server.child.stop(grace=15)
        assert await server.child.wait() == 0
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


async def test_taken_port_is_named(tmp_path: Path) -> None:
    async with running(tmp_path) as first:
        (tmp_path / "second").mkdir()
        second = Running(tmp_path / "second", 1)
        command = (sys.executable, "-m", "tests.fakes.echo_server", str(first.port), "1")
        child = Child(
            "echo", command, log=second.log, env={**clean_environment(tmp_path), "HEALTHY": "", "RELEASE": ""}
        )
        await child.start()
        assert await child.wait() == 1
        assert f"127.0.0.1:{first.port}: is the port taken?" in second.log.read_text()


async def test_reflection_lists_the_services(tmp_path: Path) -> None:
    async with running(tmp_path) as server, grpc.aio.insecure_channel(f"{LOOPBACK}:{server.port}") as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = [answer async for answer in stub.ServerReflectionInfo(iter([request]))]
    names = {service.name for service in answers[0].list_services_response.service}
    assert names >= {"voketag.scan.v1.ScanService", "grpc.health.v1.Health"}


async def test_unimplemented_and_invalid(tmp_path: Path) -> None:
    async with running(tmp_path) as server, grpc.aio.insecure_channel(f"{LOOPBACK}:{server.port}") as channel:
        stub = scan_pb2_grpc.ScanServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Verify(scan_pb2.VerifyRequest(token="x" * 129))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/voketag.scan.v1.ScanService/Nothing")(b"")  # type: ignore[arg-type]
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
