"""Generates everything that follows from proto/: stubs and descriptors in gen/.

`--check` generates into a scratch folder and fails when gen/ differs from it.
"""

import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GEN = ROOT / "gen"
DESCRIPTORS = Path("voketag", "descriptors.binpb")


def run(*command: str) -> None:
    """Runs a tool of the environment that runs this file."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "PATH": path})


def generate(out: Path) -> None:
    """Stubs with their types, and the descriptor set that Envoy transcodes by."""
    run("buf", "generate", "proto", "-o", str(out.parent))
    run("buf", "generate", "--path", "third_party/buf", "-o", str(out.parent))
    run("buf", "build", ".", "--as-file-descriptor-set", "--exclude-source-info", "-o", str(out / DESCRIPTORS))
    for folder in (out, *out.rglob("*")):
        if folder.is_dir() and folder != out and any(folder.glob("*_pb2.py")):
            (folder / "__init__.py").touch()


def differences(fresh: Path, kept: Path) -> list[str]:
    """Files that are in one tree only or differ, by their path."""
    names = {p.relative_to(tree) for tree in (fresh, kept) for p in tree.rglob("*") if p.is_file()}
    names = {n for n in names if "__pycache__" not in n.parts and n.parts[0] in ("voketag", "buf") and generated(n)}
    return sorted(
        str(n)
        for n in names
        if not ((fresh / n).exists() and (kept / n).exists() and filecmp.cmp(fresh / n, kept / n, shallow=False))
    )


def generated(name: Path) -> bool:
    """True for files that this tool writes."""
    return name.suffix in (".py", ".pyi", ".binpb")


def main() -> int:
    """Entry point."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "gen")
        generate(out)
        if "--check" in sys.argv:
            for name in (wrong := differences(out, GEN)):
                print(f"gen/{name} is not what proto/ gives: run `make gen`")
            return 1 if wrong else 0
        for package in ("voketag", "buf"):
            shutil.copytree(out / package, GEN / package, dirs_exist_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
