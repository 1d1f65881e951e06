"""The user a server runs as: PostgreSQL refuses to be root, and initdb to be a user without a name."""

import asyncio
import os
import pwd
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


def in_namespace() -> ServerUser:
    """Ourselves, seen by the server as a user who has a name: the files stay ours, nobody else need reach them."""
    named = next((entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0), NOBODY)
    prefix = ("unshare", "--user", f"--map-user={named}", f"--map-group={named}", "--")
    return ServerUser(prefix, os.geteuid())


def as_nobody() -> ServerUser:
    """Root gives its rights up for those of uid 65534, who must own the data and reach the programs."""
    return ServerUser(("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"), NOBODY)


async def unprivileged() -> ServerUser:
    """The user for a server that refuses root: plainly ourselves where that will do."""
    ourselves = ServerUser((), os.geteuid())
    if ourselves.uid != 0 and _has_name(ourselves.uid):
        return ourselves
    if await _works(in_namespace()):
        return in_namespace()
    return as_nobody() if ourselves.uid == 0 else ourselves


def _has_name(uid: int) -> bool:
    try:
        return bool(pwd.getpwuid(uid))
    except KeyError:
        return False


async def _works(user: ServerUser) -> bool:
    if shutil.which(user.prefix[0]) is None:
        return False
    quiet = asyncio.subprocess.DEVNULL
    probe = await asyncio.create_subprocess_exec(*user.prefix, "true", stdout=quiet, stderr=quiet)
    return await probe.wait() == 0
