"""Ports on the loopback address: free ones, and who holds one that is not."""

import errno
import os
import random
import socket
import weakref
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path

from mesh.local.errors import LocalError

LOOPBACK = "127.0.0.1"
# Below the kernel's default range for outgoing connections (32768-60999), so none of those takes a remembered port.
LOWEST, HIGHEST = 20_000, 32_000
CLAIMS_KEPT = 256
_LISTEN = "0A"


class PortTakenError(LocalError):
    """A port that was asked for is held by another process; `holder` says which."""

    def __init__(self, port: int, holder: str) -> None:
        super().__init__(f"port {port} is taken by {holder}")
        self.port = port
        self.holder = holder


class PortPicker:
    """Gives out ports, none of them twice; nor does any other picker meanwhile, in whatever process.

    What is given is claimed by a UDP socket on the same number, which nothing of ours listens on: between picking and
    the start of its server the port would else be anybody's. A claim ends with the picker, or CLAIMS_KEPT picks later.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._given: set[int] = set()
        self._claims: deque[socket.socket] = deque()
        weakref.finalize(self, _release, self._claims, 0)

    def pick(self, wanted: int | None = None) -> int:
        """The wanted port, or a free one. Raises PortTakenError when the wanted one is not free."""
        if wanted is not None:
            require_free(wanted)
            self._claim(wanted)  # whether or not it can be claimed: it was asked for
            return wanted
        for _ in range(HIGHEST - LOWEST):
            port = self._rng.randrange(LOWEST, HIGHEST)
            if port not in self._given and self._claim(port) and is_free(port):
                return port
        raise LocalError(f"no port between {LOWEST} and {HIGHEST} is free")

    def _claim(self, port: int) -> bool:
        claim = socket.socket(type=socket.SOCK_DGRAM)
        try:
            claim.bind((LOOPBACK, port))
        except OSError:
            claim.close()
            return False
        self._given.add(port)
        self._claims.append(claim)
        _release(self._claims, CLAIMS_KEPT)
        return True


def _release(claims: deque[socket.socket], kept: int) -> None:
    while len(claims) > kept:
        claims.popleft().close()


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
