"""`buf breaking` of proto/ against the branch main: no message, field or method may go or change its meaning.

On main itself, and in a clone without that branch, it compares with the commit before.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def git(*arguments: str) -> str | None:
    """What git prints, or None when it refuses."""
    done = subprocess.run(("git", *arguments), cwd=ROOT, check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def baseline() -> str | None:
    """The commit to compare with: main, or the parent of HEAD where that is main; None without history."""
    head, main_branch = git("rev-parse", "HEAD"), git("rev-parse", "--verify", "-q", "main")
    commit = main_branch if main_branch not in (None, head) else git("rev-parse", "--verify", "-q", "HEAD~1")
    return commit if commit and git("cat-file", "-e", f"{commit}:proto") is not None else None


def image(commit: str, folder: Path) -> Path:
    """The contracts of a commit, built."""
    archive = subprocess.run(("git", "archive", commit, "proto", "buf.yaml"), cwd=ROOT, check=True, capture_output=True)
    subprocess.run(("tar", "-x", "-C", str(folder)), input=archive.stdout, check=True)
    (folder / "third_party").symlink_to(ROOT / "third_party")
    buf("build", "proto", "-o", "image.binpb", cwd=folder).check_returncode()
    return folder / "image.binpb"


def buf(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    """Runs the buf of the environment that runs this file."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(("buf", *arguments), cwd=cwd, check=False, env={**os.environ, "PATH": path})


def main() -> int:
    """Entry point: buf's exit status."""
    commit = baseline()
    if commit is None:
        print("no earlier contracts to compare with")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        against = image(commit, Path(folder))
        return buf("breaking", "proto", "--exclude-imports", "--against", str(against), cwd=ROOT).returncode


if __name__ == "__main__":
    sys.exit(main())
