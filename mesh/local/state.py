"""The state directory `.voketag/`: what the local mesh keeps between two starts, and who uses it now."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mesh.local.errors import LocalError
from mesh.local.files import write_whole


class MeshRunningError(LocalError):
    """Another process runs a mesh in this state directory; `pid` is its process id."""

    def __init__(self, folder: Path, pid: int) -> None:
        super().__init__(f"a mesh runs already in {folder}, started by pid {pid}; `voketag down` stops it")
        self.pid = pid


@dataclass(frozen=True)
class MeshRecord:
    """What is known of the mesh: the port of each server, kept for ever, and the pid of each that runs."""

    ports: dict[str, int] = field(default_factory=dict)
    pids: dict[str, int] = field(default_factory=dict)


class StateDirectory:
    """`data` and `secrets` must survive; `logs` may be deleted; `run` is of use only while the mesh runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.data = self.folder / "data"
        self.run = self.folder / "run"
        self.logs = self.folder / "logs"
        self.secrets = self.folder / "secrets"
        self._record = self.folder / "mesh.json"
        self._lock = self.folder / "lock"

    def make(self) -> None:
        """Make the folders, for this user alone."""
        for folder in (self.folder, self.data, self.run, self.logs, self.secrets):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory; a holder's death frees it. Raises MeshRunningError when it is held."""
        with open(os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise MeshRunningError(self.folder, int(lock.read() or 0)) from None
            lock.write(str(os.getpid()))
            lock.truncate()
            lock.flush()
            yield

    def holder(self) -> int | None:
        """The pid of the process that holds the directory, None when nobody does.

        It looks (proc_locks(5)) and does not try the lock, which might keep a mesh that starts just now from it.
        """
        try:
            said, inode = self._lock.read_text(), self._lock.stat().st_ino
        except FileNotFoundError:
            return None
        rows = [row.split() for row in Path("/proc/locks").read_text().splitlines()]
        held = any(row[1] == "FLOCK" and row[4] == said and row[5].endswith(f":{inode}") for row in rows)
        return int(said) if held else None

    def read(self) -> MeshRecord:
        """The last record written; an empty one at first. Raises LocalError when the file is not ours."""
        try:
            return MeshRecord(**json.loads(self._record.read_bytes()))
        except FileNotFoundError:
            return MeshRecord()
        except (ValueError, TypeError) as error:
            raise LocalError(f"{self._record} cannot be read ({error}); delete it to choose new ports") from error

    def write(self, record: MeshRecord) -> None:
        """Replace the record at once."""
        write_whole(self._record, json.dumps(asdict(record), indent=1).encode())
