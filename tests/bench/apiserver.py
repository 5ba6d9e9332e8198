"""
The apiserver's reads, watches, memory and start, beside what kube-apiserver does.

`python -m tests.bench.apiserver --profile ROW` shows instead where one row's time goes.
"""

import argparse
import contextlib
import pstats
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench import load
from tests.bench.control_plane import NAMESPACE, Server, apiserver, etcd, seed
from tests.bench.figures import Figures, process_memory, resident_memory
from tests.ports import free_port

OBJECTS, MANY_OBJECTS = 9_000, 100_000
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
_COLLECTION = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
_OBJECTS = [f"{_COLLECTION}/object-{at:06d}" for at in range(0, OBJECTS, 18)]


@dataclass(frozen=True, slots=True)
class Row:
    paths: tuple[str, ...]
    accept: str = ""
    peer: float = 0.0
    """What kube-apiserver 1.36.2 with etcd 3.6 served a second on both cores of the machine this is built on."""


ROWS: Mapping[str, Row] = {
    "GET, consistent": Row(tuple(_OBJECTS), peer=4298),
    "GET, rv=0": Row(tuple(f"{path}?resourceVersion=0" for path in _OBJECTS)),
    "LIST 500, consistent": Row((f"{_COLLECTION}?limit=500",), peer=156),
    "LIST 500, rv=0, as client-go pages": Row(
        (f"{_COLLECTION}?limit=500&resourceVersion=0&labelSelector=page%3Dfirst",)
    ),
    "LIST 4.5k of 9k by label, rv=0": Row((f"{_COLLECTION}?labelSelector=half%3Deven&resourceVersion=0",), peer=18.7),
    "LIST 4.5k of 9k by label, consistent": Row((f"{_COLLECTION}?labelSelector=half%3Deven",)),
    "LIST 500 as Table": Row((f"{_COLLECTION}?limit=500",), accept=_TABLE),
}
PEER_EVENTS, PEER_CREATES, PEER_MEMORY, PEER_START = 17_400, 1_523, 540, 2.9


def measure(figures: Figures) -> None:
    with etcd() as url:
        with apiserver(url) as empty:
            _start(figures, "start of an empty store to readyz", empty)
        seed(url, 0, OBJECTS)
        with apiserver(url) as server:
            _start(figures, f"start with {OBJECTS} objects to readyz", server)
            _memory(figures, f"{OBJECTS} objects, at rest", server, peer=PEER_MEMORY)
            _calibrate(figures, server)
            for name, row in ROWS.items():
                _rate(figures, name, load.requests(server.port, server.pid, row.paths, accept=row.accept), row.peer)
            _events(figures, server)
            _rate(figures, "create", load.creates(server, 3000), PEER_CREATES)
            _rate(figures, "create, Pods of two containers", load.creates(server, 1500, "pods"))
            _memory(figures, f"{OBJECTS} objects and the changes of this run, after the load", server)
        seed(url, OBJECTS, MANY_OBJECTS)
        with apiserver(url) as server:
            _start(figures, f"start with {MANY_OBJECTS} objects to readyz", server)
            _memory(figures, f"{MANY_OBJECTS} objects, at rest", server)


def _start(figures: Figures, name: str, server: Server) -> None:
    figures.add(name, server.seconds_to_ready, "s")
    figures.add(f"{name}, of kube-apiserver's {PEER_START} s", server.seconds_to_ready / PEER_START, "x")


def _memory(figures: Figures, name: str, server: Server, peer: float = 0.0) -> None:
    time.sleep(7)  # what start-up needed for a moment goes back to the system
    resident = resident_memory(server.pid)
    figures.add(f"memory, {name}: RSS", resident, "MiB")
    figures.add(f"memory, {name}: PSS", process_memory(server.pid), "MiB")
    if peer:
        figures.add(f"memory, {name}: of kube-apiserver's {peer:.0f} MB", resident * 1.048576 / peer, "x")


def _rate(figures: Figures, name: str, rate: load.Rate, peer: float = 0.0) -> None:
    figures.add(name, rate.per_second, "/s")
    figures.add(f"{name}: CPU of the apiserver", rate.cpu_microseconds, "us a request")
    if rate.refused:
        figures.add(f"{name}: REFUSED", rate.refused, "requests")
    if peer:
        figures.add(f"{name}: against kube-apiserver's {peer:g}/s", rate.per_second / peer, "x")


def _events(figures: Figures, server: Server) -> None:
    for watchers, writes in ((200, 600), (1000, 150)):
        found = load.events(server, watchers, writes)
        name = f"watch, {watchers} watchers"
        figures.add(name, found.per_second, "events/s")
        figures.add(f"{name}: writes meanwhile", found.writes_per_second, "/s")
        figures.add(f"{name}: CPU of the apiserver", found.cpu_microseconds, "us an event")
        if watchers == 200:
            figures.add(f"{name}: against kube-apiserver's {PEER_EVENTS}/s", found.per_second / PEER_EVENTS, "x")


def _calibrate(figures: Figures, server: Server) -> None:
    with _bare_handler(server) as (port, pid):
        _rate(figures, "calibration: a bare aiohttp handler, 2 KB", load.requests(port, pid, ["/"]))


@contextlib.contextmanager
def _bare_handler(server: Server) -> Iterator[tuple[int, int]]:
    port = free_port()
    key = str(server.directory / "apiserver.key")
    argv = [sys.executable, "-m", "tests.bench.bare_handler", str(port), server.certificate, key]
    with subprocess.Popen(argv) as process:
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.05)
            yield port, process.pid
        finally:
            process.send_signal(signal.SIGTERM)


def profile(name: str, seconds: int) -> None:
    """One row under cProfile; the profiler costs more than what it measures, so read shares, not seconds."""
    with tempfile.TemporaryDirectory() as directory, etcd() as url:
        seed(url, 0, OBJECTS)
        told = Path(directory) / "profile"
        with apiserver(url, told) as server:
            if name == "create":
                load.creates(server, 1000 * seconds)
            elif name == "watch":
                load.events(server, 200, 150 * seconds)
            else:
                row = ROWS[name]
                load.requests(server.port, server.pid, row.paths, accept=row.accept, seconds=seconds)
        pstats.Stats(str(told)).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--profile", choices=[*ROWS, "watch", "create"], required=True)
    parser.add_argument("--seconds", type=int, default=4)
    given = parser.parse_args()
    profile(given.profile, given.seconds)
