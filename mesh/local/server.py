"""A server of the local mesh: a child process that is prepared, started, asked until ready, and stopped."""

import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from mesh.local.errors import LocalError
from mesh.local.process import Child


class Server(ABC):
    """One server on the loopback address; `async with` starts and stops it."""

    stop_signal = signal.SIGTERM
    start_seconds = 30.0
    stop_seconds = 10.0
    _child: Child | None = None

    @abstractmethod
    async def prepare(self) -> Child:
        """Lay out what the server needs on disk, check its ports, and give the process to start."""

    @abstractmethod
    async def ready(self) -> bool:
        """Whether the server answers its own protocol."""

    @property
    def child(self) -> Child:
        """The server's process. Raises LocalError before the first start."""
        if self._child is None:
            raise LocalError("the server was never started")
        return self._child

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._child is not None and self._child.running

    async def start(self) -> None:
        """Prepare, start and wait until ready. Raises LocalError; nothing is left running then."""
        if self.running:
            raise LocalError(f"{self.child.name} runs already, as pid {self.child.pid}")
        child = self._child = await self.prepare()
        try:
            await child.start()
            await child.wait_ready(self.ready, within=self.start_seconds)
        except BaseException:
            await child.kill()
            raise

    async def stop(self) -> None:
        """Stop in order, by force after `stop_seconds`; no error when it does not run."""
        if self._child is not None:
            await self._child.stop(self.stop_signal, grace=self.stop_seconds)

    async def kill(self) -> None:
        """End it as a crash would."""
        if self._child is not None:
            await self._child.kill()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


def clean_environment(home: Path) -> Mapping[str, str]:
    """An environment in which no variable of the person's shell (PGDATA, HOME, a proxy) bends a server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LC_ALL": "C", "TZ": "UTC"}
