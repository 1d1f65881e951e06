"""The user a server runs as: PostgreSQL refuses to be root."""

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from mesh.local.errors import LocalError

NOBODY = 65_534


@dataclass(frozen=True)
class ServerUser:
    """How to become the user: a command prefix, and the user id that must own the server's files."""

    prefix: tuple[str, ...]
    uid: int

    def own(self, path: Path) -> None:
        """Give the tree at `path` to this user; nothing to do when its top is theirs already."""
        if path.stat().st_uid == self.uid:
            return
        for folder, _, files in os.walk(path, topdown=False):
            for name in files:
                os.chown(Path(folder, name), self.uid, self.uid, follow_symlinks=False)
            os.chown(folder, self.uid, self.uid)

    def require_reach(self, path: Path) -> None:
        """Raise LocalError when this user may not enter a folder above `path`."""
        if self.uid == os.geteuid():
            return
        for folder in path.resolve().parents:
            status = folder.stat()
            if not status.st_mode & 0o001 and status.st_uid != self.uid:
                raise LocalError(f"user id {self.uid} may not enter {folder}, on the way to {path}")


OURSELVES_IN_A_NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")


def in_namespace() -> ServerUser:
    """Root, seen by the server as uid 1000: the files stay root's, and no other user need reach them."""
    return ServerUser(OURSELVES_IN_A_NAMESPACE, os.geteuid())


def as_nobody() -> ServerUser:
    """Root gives its rights up for those of uid 65534, who must own the data and reach the programs."""
    return ServerUser(("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"), NOBODY)


async def unprivileged() -> ServerUser:
    """The user for a server that refuses root: ourselves unless we are root."""
    if os.geteuid() != 0:
        return ServerUser((), os.geteuid())
    return in_namespace() if await _namespaces_allowed() else as_nobody()


async def _namespaces_allowed() -> bool:
    if shutil.which("unshare") is None:
        return False
    quiet = asyncio.subprocess.DEVNULL
    probe = await asyncio.create_subprocess_exec(*OURSELVES_IN_A_NAMESPACE, "true", stdout=quiet, stderr=quiet)
    return await probe.wait() == 0
