"""
Background processes that outlive the command that started them, found again by pid and start time.

A pid alone is not trusted: after a crash or a reboot it may be somebody else's.
"""

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster.single_process.identity import write_private

STOP_SECONDS = 15.0
_CLOCK_SECONDS = 1.0
"""How exact a start time is over a change of the clock."""


@dataclass(frozen=True, slots=True)
class Service:
    """One process."""

    name: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Processes:
    """Those whose records lie in one folder."""

    folder: Path

    def running(self, name: str) -> "psutil.Process | None":
        """The recorded process, when it is still that one."""
        try:
            record = json.loads((self.folder / f"{name}.pid").read_text())
            process = psutil.Process(int(record["pid"]))
            same = abs(process.create_time() - float(record["started"])) < _CLOCK_SECONDS
            alive = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
            return process if same and alive else None
        except (FileNotFoundError, ValueError, KeyError, TypeError, psutil.Error):
            return None

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def last_words(self, name: str) -> str:
        try:
            lines = self.log(name).read_text(errors="replace").strip().splitlines()
        except FileNotFoundError:
            return "it left no log"
        return lines[-1] if lines else "it said nothing"

    def start(self, service: Service) -> bool:
        """Unless it runs, with these arguments. Returns whether it had to be started. Raises OSError."""
        present = self.running(service.name)
        if present is not None:
            if self._argv(service.name) == list(service.argv):
                return False
            self.stop(service.name)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.log(service.name).open("ab") as log:
            child = subprocess.Popen(
                service.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        record = {"pid": child.pid, "started": _started(child.pid), "argv": service.argv}
        write_private(self.folder / f"{service.name}.pid", json.dumps(record).encode())
        child.returncode = 0  # it is not ours to wait for
        return True

    def _argv(self, name: str) -> Sequence[str]:
        found: list[str] = json.loads((self.folder / f"{name}.pid").read_text())["argv"]
        return found

    def stop(self, name: str) -> bool:
        """Ask it to end, and make it when it does not. Returns whether it ran."""
        process = self.running(name)
        if process is not None:
            try:
                process.terminate()
                try:
                    process.wait(STOP_SECONDS)
                except psutil.TimeoutExpired:
                    process.kill()
                    process.wait(STOP_SECONDS)
            except psutil.NoSuchProcess:
                pass
        (self.folder / f"{name}.pid").unlink(missing_ok=True)
        return process is not None


def _started(pid: int) -> float:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return time.time()
