"""Load on a TLS server on loopback: wrk for requests, a small event loop of our own for watches and creates."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.control_plane import USER, Server
from tests.bench.figures import process_cpu_seconds

CONNECTIONS = 32
SECONDS = 4

_SCRIPT = """
local paths = {%s}
local requests, at = {}, 0
init = function(args)
  wrk.headers["Authorization"] = "Bearer %s"
  %s
  for i, path in ipairs(paths) do requests[i] = wrk.format(nil, path) end
end
request = function()
  at = at %% #requests + 1
  return requests[at]
end
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """What one run of the load brought."""

    requests: int
    seconds: float
    cpu_seconds: float
    """Of the server's process."""
    refused: int
    """Answers other than 2xx and 3xx, and broken connections."""

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def cpu_microseconds(self) -> float:
        return 1e6 * self.cpu_seconds / max(self.requests, 1)


def requests(
    port: int,
    pid: int,
    paths: Sequence[str],
    *,
    accept: str = "",
    connections: int = CONNECTIONS,
    seconds: int = SECONDS,
) -> Rate:
    """GET the paths in turn over keep-alive connections. Needs wrk (Debian package of that name)."""
    program = shutil.which("wrk")
    if program is None:
        raise SystemExit("wrk is not installed; `make bench` installs it, or: apt-get install wrk")
    accepts = f'wrk.headers["Accept"] = {json.dumps(accept)}' if accept else ""
    with TemporaryDirectory() as directory:
        script = Path(directory) / "load.lua"
        script.write_text(_SCRIPT % (",".join(json.dumps(path) for path in paths), USER, accepts))
        argv = [program, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), f"https://127.0.0.1:{port}"]
        before = process_cpu_seconds(pid)
        told = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
        cpu = process_cpu_seconds(pid) - before
    counted = re.search(r"(\d+) requests in ([\d.]+)(m?s)", told)
    if counted is None:
        raise SystemExit(f"wrk said something unexpected:\n{told}")
    took = float(counted[2]) / (1000 if counted[3] == "ms" else 1)
    refused = sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", told)))
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", told)
    refused += sum(map(int, broken.groups()[:3])) if broken else 0
    return Rate(int(counted[1]), took, cpu, refused)


@dataclass(frozen=True, slots=True)
class Events:
    per_second: float
    """That reached all watchers, from the first write to the last event."""
    writes_per_second: float
    cpu_microseconds: float
    """Of the server's process, an event; the writes and the opening of the watches are in it."""


def events(server: Server, watchers: int, writes: int) -> Events:
    argv = [sys.executable, "-m", "tests.bench.watchers", str(server.port), str(watchers), str(writes)]
    before = process_cpu_seconds(server.pid)
    told = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True, timeout=180).stdout)
    cpu = process_cpu_seconds(server.pid) - before
    return Events(told["events_per_second"], writes / told["write_seconds"], 1e6 * cpu / (watchers * writes))


def creates(server: Server, number: int, kind: str = "configmaps") -> Rate:
    """Create objects (ConfigMaps or Pods) over CONNECTIONS connections."""
    argv = [sys.executable, "-m", "tests.bench.watchers", str(server.port), "0", str(number), kind]
    before = process_cpu_seconds(server.pid)
    told = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True, timeout=180).stdout)
    return Rate(number, float(told["write_seconds"]), process_cpu_seconds(server.pid) - before, 0)
