"""What a process holds, as the kernel counts it."""

from dataclasses import dataclass
from pathlib import Path

PAGE_BYTES = 4096


@dataclass(frozen=True)
class Held:
    """Bytes of memory that a process has for itself, its open files and its threads."""

    resident: int
    files: int
    threads: int


def held(pid: int) -> Held:
    process = Path(f"/proc/{pid}")
    fields = (process / "statm").read_text().split()
    resident = (int(fields[1]) - int(fields[2])) * PAGE_BYTES
    return Held(resident, len([*(process / "fd").iterdir()]), len([*(process / "task").iterdir()]))
