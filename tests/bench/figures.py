"""What was measured: printed at once, kept for the JSON."""

import time
from pathlib import Path
from typing import Any, TextIO

_TICKS_PER_SECOND = 100  # USER_HZ, the same on every Linux that a user sees


class Figures:
    """name, value, unit: one line each."""

    def __init__(self, out: TextIO, *, full: bool = False) -> None:
        self._out = out
        self.full = full
        """Whether suites that have a short form are to take the long one."""
        self._rows: list[dict[str, Any]] = []

    def add(self, name: str, value: float, unit: str) -> None:
        rounded = round(value, 3)
        self._rows.append({"name": name, "value": rounded, "unit": unit})
        self._out.write(f"{name:<52} {rounded:>12} {unit}\n")
        self._out.flush()

    def as_json(self) -> dict[str, Any]:
        return {"taken": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "figures": self._rows}


def machine_cpu_seconds() -> float:
    """CPU seconds that everything on this machine has used since it booted, idle and waiting left out."""
    user, nice, system, _, _, irq, softirq = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8])
    return (user + nice + system + irq + softirq) / _TICKS_PER_SECOND


def process_cpu_seconds(pid: int) -> float:
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / _TICKS_PER_SECOND


def resident_memory(pid: int) -> float:
    """Resident MiB, shared pages included."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} has no VmRSS line")


def process_memory(pid: int) -> float:
    """Resident MiB, with shared pages divided among those who share them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} has no Pss line")
