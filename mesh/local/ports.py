"""Ports on the loopback address: free ones, and who holds one that is not."""

import errno
import os
import random
import socket
from collections.abc import Collection, Iterator
from pathlib import Path

from mesh.local.errors import LocalError

LOOPBACK = "127.0.0.1"
# Below the kernel's default range for outgoing connections (32768-60999), so none of those takes a remembered port.
LOWEST, HIGHEST = 20_000, 32_000
_LISTEN = "0A"


class PortTakenError(LocalError):
    """A port that was asked for is held by another process; `holder` says which."""

    def __init__(self, port: int, holder: str) -> None:
        super().__init__(f"port {port} is taken by {holder}")
        self.port = port
        self.holder = holder


class PortPicker:
    """Gives out ports, none of them twice. A port is only free at the moment of picking: start its server soon."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._given: set[int] = set()

    def pick(self, wanted: int | None = None) -> int:
        """The wanted port, or a free one. Raises PortTakenError when the wanted one is not free."""
        if wanted is not None:
            require_free(wanted)
            self._given.add(wanted)
            return wanted
        for _ in range(HIGHEST - LOWEST):
            port = self._rng.randrange(LOWEST, HIGHEST)
            if port not in self._given and is_free(port):
                self._given.add(port)
                return port
        raise LocalError(f"no port between {LOWEST} and {HIGHEST} is free")


def require_free(port: int) -> None:
    """Raise PortTakenError, naming the holder, unless the port is free."""
    if not is_free(port):
        raise PortTakenError(port, holder_of(port))


def is_free(port: int) -> bool:
    """Whether a server could listen on the loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def holder_of(port: int) -> str:
    """Who listens on the port, as far as this user may see: `pid 12 (postgres -D …)`."""
    owners = dict(_listening(port))
    if not owners:
        return "a process that has just gone, or one that does not listen"
    for pid in _pids():
        if _holds(pid, owners.keys()):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            return f"pid {pid} ({command.strip()[:100]})"
    uid = next(iter(owners.values()))
    return f"a process of user id {uid}, whose details this user may not read"


def _listening(port: int) -> Iterator[tuple[str, int]]:
    """(socket inode, user id) of each listener on the port; the columns are those of proc_net_tcp(5)."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            rows = Path(table).read_text().splitlines()[1:]
        except FileNotFoundError:
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == _LISTEN and int(fields[1].rsplit(":", 1)[1], 16) == port:
                yield fields[9], int(fields[7])


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _holds(pid: int, inodes: Collection[str]) -> bool:
    try:
        with os.scandir(f"/proc/{pid}/fd") as fds:
            return any(os.readlink(fd.path)[8:-1] in inodes for fd in fds)
    except OSError:  # gone, or another user's
        return False
