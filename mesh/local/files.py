"""Files that are either whole or not there, and for this user alone."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Replace the file's content at once, mode 0600: a reader or a crash sees the old or the new, never a half."""
    fresh = path.with_name(f".{path.name}.new")
    with open(fresh, "wb", opener=_for_us_alone) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
