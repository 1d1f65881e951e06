"""Lays the Protobuf files that ours import into the git-ignored third_party/: google/api, google/rpc, buf/validate.

They come out of pinned packages: googleapis-common-protos (installed) and the source archive of protovalidate
(requirements/proto.txt), because the schema registry need not be in reach.
"""

import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "third_party"
GOOGLE = ("annotations", "field_behavior", "http", "httpbody")
RPC = ("error_details", "status", "code")
VALIDATE = "proto/buf/validate/validate.proto"


def lay_google() -> None:
    """Copies google/api and google/rpc from the installed package."""
    wanted = {f"google/api/{name}.proto" for name in GOOGLE} | {f"google/rpc/{name}.proto" for name in RPC}
    for file in files("googleapis-common-protos") or []:
        if str(file) in wanted:
            path = TARGET / str(file)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), path)


def lay_validate() -> None:
    """Takes buf/validate/validate.proto out of the pinned source archive."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
    with tempfile.TemporaryDirectory() as folder:
        requirements = str(ROOT / "requirements" / "proto.txt")
        subprocess.run([*pip, "--require-hashes", "-d", folder, "-r", requirements], check=True)
        with tarfile.open(next(Path(folder).glob("*.tar.gz"))) as archive:
            member = next(m for m in archive.getmembers() if m.name.endswith(VALIDATE))
            source = archive.extractfile(member)
            assert source is not None
            path = TARGET / "buf" / "validate" / "validate.proto"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.read())


if __name__ == "__main__":
    if not (TARGET / "buf" / "validate" / "validate.proto").exists():
        lay_google()
        lay_validate()
