"""A child process: a program that lives no longer than the process that started it."""

import asyncio
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from mesh.local.errors import LocalError, NotInstalledError, StartError

POLL_SECONDS = 0.01
TAIL_LINES = 20
TAIL_BYTES = 16_384


class Child:
    """One program with its log file; may be started again after it has ended.

    The kernel sends it `death_signal` when the thread that started it ends, kill -9 included. It has a session of
    its own, so that Ctrl-C at the terminal reaches only its parent, who then stops it in order.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        death_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        """`prefix` is put before the command (a change of user); `env` replaces the whole environment if given."""
        self.name = name
        self.log = log
        self._command = [*map(str, command)]
        self._env = env
        self._prefix = prefix
        self._death_signal = death_signal
        self._process: asyncio.subprocess.Process | None = None
        self._exit: asyncio.Task[int] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """The running program's process id, None when it does not run."""
        return self._process.pid if self._process and self.running else None

    @property
    def running(self) -> bool:
        """Whether the program was started and has not ended."""
        return self._exit is not None and not self._exit.done()

    async def start(self) -> None:
        """Start the program; returns at once.

        Raises LocalError when it runs already, NotInstalledError without util-linux.
        """
        if self.running:
            raise LocalError(f"{self.name} runs already, as pid {self.pid}")
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [*self._prefix, *_bound_to_parent(self._death_signal), *self._command]
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                start_new_session=True,
            )
        self._exit = asyncio.create_task(self._process.wait(), name=f"{self.name}-exit")

    async def wait(self) -> int:
        """Wait until the program ends; gives its exit code, negative for a signal."""
        if self._exit is None:
            raise LocalError(f"{self.name} was never started")
        return await asyncio.shield(self._exit)

    async def wait_ready(self, probe: Callable[[], Awaitable[bool]], *, within: float) -> None:
        """Ask `probe` until it says yes.

        Raises StartError, with the log's last lines, as soon as the program has ended or after `within` seconds.
        """
        try:
            async with asyncio.timeout(within):
                while not await probe():
                    if await self._exited(POLL_SECONDS):
                        break
        except TimeoutError:
            raise StartError(f"{self.name} was not ready after {within:g} s{self._tail()}") from None
        if not self.running:  # another program may have answered the probe in its place
            raise StartError(f"{self.name} ended with exit code {await self.wait()}{self._tail()}")

    async def stop(self, sig: signal.Signals = signal.SIGTERM, *, grace: float = 10.0) -> None:
        """Send `sig`, and SIGKILL to the whole group if the program still runs after `grace` seconds."""
        if self._process and self.running:
            self._process.send_signal(sig)
            if not await self._exited(grace):
                await self.kill()

    async def kill(self) -> None:
        """End the program and its process group with SIGKILL, as a crash would."""
        if self._process and self.running:
            os.killpg(self._process.pid, signal.SIGKILL)
            await self.wait()

    async def _exited(self, within: float) -> bool:
        if self._exit is None:
            return True
        done, _ = await asyncio.wait({self._exit}, timeout=within)
        return bool(done)

    def _tail(self) -> str:
        with self.log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, end - TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
        said = "".join(f"\n  {line}" for line in lines) or " nothing"
        return f"; its log {self.log} says:{said}"


def _bound_to_parent(sig: signal.Signals) -> list[str]:
    """PR_SET_PDEATHSIG by a program that then becomes the real one: no Python runs between fork and exec.

    It stands innermost: a change of user clears the flag.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise NotInstalledError("the program setpriv (package util-linux) is needed to run the local mesh")
    return [setpriv, "--pdeathsig", sig.name.removeprefix("SIG"), "--"]
