"""A whole server of the mesh with a servicer that answers at once: what is tested is the server, not the service.

Run as `python -m tests.fakes.echo_server PORT PROCESSES`. A request for the token `hang` is answered after the file
named in the token's place of the environment, RELEASE, appears; the file HEALTHY missing makes it unhealthy.
"""

import asyncio
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from google.api.httpbody_pb2 import HttpBody
from voketag.scan.v1 import scan_pb2, scan_pb2_grpc

from mesh import policy, processes
from mesh.clock import SystemClock
from mesh.config import LogSettings, ServerSettings
from mesh.limits import LocalLimiter
from mesh.server import Server, ServerParts
from mesh.telemetry import configure


class Echo(scan_pb2_grpc.ScanServiceServicer):
    """Answers with the process's pid."""

    async def Verify(self, request: scan_pb2.VerifyRequest, context: Any) -> scan_pb2.VerifyResponse:
        del context
        while request.token == "hang" and not Path(os.environ["RELEASE"]).exists():
            await asyncio.sleep(0.01)
        return scan_pb2.VerifyResponse(scan_count=os.getpid())

    async def GetReceipt(self, request: scan_pb2.GetReceiptRequest, context: Any) -> HttpBody:
        del request, context
        return HttpBody(content_type="application/json", data=b"{}")

    async def GetPage(self, request: scan_pb2.GetPageRequest, context: Any) -> HttpBody:
        del request, context
        return HttpBody(content_type="text/plain", data=b"page")


class Nobody:
    """An authenticator to whom nobody can prove anything."""

    async def authenticate(self, metadata: Mapping[str, str]) -> None:
        del metadata


async def healthy() -> None:
    if not Path(os.environ["HEALTHY"]).exists():
        raise OSError("not healthy")


async def serve(port: int, count: int, index: int) -> None:
    configure(LogSettings(), f"echo-{index}")
    settings = ServerSettings(
        listen_host="127.0.0.1", listen_port=port, processes=count, drain_seconds=0.3, grace_seconds=5, reflection=True
    )
    parts = ServerParts(
        settings=settings,
        contracts=[scan_pb2],
        register=[(scan_pb2_grpc.add_ScanServiceServicer_to_server, Echo())],  # type: ignore[abstract]
        authenticators=dict.fromkeys((policy.USER, policy.FACTORY, policy.SERVICE), Nobody()),
        limiter=LocalLimiter(SystemClock()),
        checks={"file": healthy},
    )
    await Server(parts).run()


if __name__ == "__main__":
    processes.run(int(sys.argv[2]), partial(serve, int(sys.argv[1]), int(sys.argv[2])))
