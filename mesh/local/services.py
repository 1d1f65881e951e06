"""VokeTag's own processes in the local mesh: the services and their workers, started as on any server."""

import sys
from collections.abc import Mapping
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mesh.local.errors import LocalError
from mesh.local.http import fetch
from mesh.local.ports import LOOPBACK, require_free
from mesh.local.process import Child
from mesh.local.server import Server, clean_environment


class ServiceServer(Server):
    """`python -m <command>` under its environment; ready when gRPC health, or for workers `/metrics`, says so."""

    stop_seconds = 15.0

    def __init__(self, name: str, command: tuple[str, ...], *, log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self._command = command
        self._log = log
        self._environment = environment

    @property
    def port(self) -> int | None:
        """The port of its gRPC server; None for a worker."""
        port = self._environment.get("VOKETAG_LISTEN_PORT")
        return int(port) if port else None

    @property
    def metrics_port(self) -> int:
        """The port of its metrics."""
        return int(self._environment["VOKETAG_METRICS_PORT"])

    async def prepare(self) -> Child:
        """Raise PortTakenError unless its ports are free."""
        for port in filter(None, (self.port, self.metrics_port)):
            require_free(port)
        environment = {**clean_environment(self._log.parent), **self._environment}
        command = [sys.executable, "-m", *self._command]
        return Child(self.name, command, log=self._log, env=environment)

    async def ready(self) -> bool:
        """Whether it serves."""
        if self.port is None:
            return await fetch(f"http://{LOOPBACK}:{self.metrics_port}/metrics") is not None
        async with grpc.aio.insecure_channel(f"{LOOPBACK}:{self.port}") as channel:
            try:
                answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1)
            except grpc.aio.AioRpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def run_once(name: str, command: tuple[str, ...], *, log: Path, environment: Mapping[str, str]) -> None:
    """Runs `python -m <command>` to its end. Raises LocalError with the log's place when it fails."""
    child = Child(
        name,
        [sys.executable, "-m", *command],
        log=log,
        env={**clean_environment(log.parent), **environment},
    )
    await child.start()
    if status := await child.wait():
        raise LocalError(f"{name} failed with exit code {status}; its log is {log}")
