"""Writes what the Kubernetes base's edge reads: Envoy's configuration and the descriptor set.

`--check` fails when the files in deploy/k8s/base/edge differ from what it would write.
"""

import sys
from pathlib import Path

from mesh.contract import DESCRIPTORS
from mesh.edge.configuration import Address, EdgeSettings, Tls, render

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy" / "k8s" / "base" / "edge"
MOUNTED = Path("/etc/voketag/edge")
CERTIFICATE = Path("/etc/voketag/tls")

CLUSTER = EdgeSettings(
    public=Address("0.0.0.0", 8443),
    internal=Address("0.0.0.0", 8081),
    admin=Address("127.0.0.1", 9901),
    upstreams={name: Address(name, 50051) for name in ("scan", "factory", "anchor", "admin")},
    descriptors=MOUNTED / "descriptors.binpb",
    tls=Tls(CERTIFICATE / "tls.crt", CERTIFICATE / "tls.key"),
    origins=("https://app.voketag.com",),
    health_seconds=1.0,
)


def files() -> dict[Path, bytes]:
    """Content by path."""
    return {
        FOLDER / "envoy.yaml": render(CLUSTER).encode(),
        FOLDER / "descriptors.binpb": DESCRIPTORS.read_bytes(),
    }


def main() -> int:
    """Entry point."""
    for path, content in files().items():
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        elif not path.exists() or path.read_bytes() != content:
            print(f"{path.relative_to(ROOT)} is not what the template gives: run `make gen`")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
