"""The CPU that processes have taken, by /proc/PID/stat."""

import os
from contextlib import suppress
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int, *, children: bool = False) -> float:
    """Of a process; with `children` those of them too that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12]) + (int(fields[13]) + int(fields[14]) if children else 0)
    return ticks / TICKS_A_SECOND


def family_cpu(pid: int) -> float:
    """Of a process, its living children and its dead ones: PostgreSQL by its postmaster."""
    total = cpu_seconds(pid, children=True)
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError):  # it ended meanwhile
            total += family_cpu(int(child))
    return total


class Spending:
    """CPU seconds from now on of processes with a name each, their children included."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._before = {name: family_cpu(pid) for name, pid in pids.items()}

    def seconds(self) -> dict[str, float]:
        return {name: family_cpu(pid) - self._before[name] for name, pid in self._pids.items()}
