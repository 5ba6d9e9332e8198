"""Five bare local machines become a cluster: each phase, the second run, services at rest, removal."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tests.bench.figures import Figures, machine_cpu_seconds, process_cpu_seconds, process_memory

NAME = "bench"
NODES = 5
REST = 30.0  # seconds over which services are watched doing nothing
SERVICES = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "cluster-dns",
    "containerd",
)
BIN = pathlib.Path(sys.executable).parent
HOME = pathlib.Path(os.environ.get("HANSE_BENCH_HOME", "/var/tmp/hanse-bench-home"))


def measure(figures: Figures) -> None:
    _provision("destroy", NAME)
    # The base image and the bundle are made once a user, so a throw-away machine makes them first.
    _provision("cluster", NAME, "--nodes", "1", "--no-merge")
    _provision("destroy", NAME)
    try:
        _first_run(figures)
        _second_run(figures)
        _services_at_rest(figures)
    finally:
        began = time.monotonic()
        _provision("destroy", NAME)
        figures.add("destroy", time.monotonic() - began, "s")


def _first_run(figures: Figures) -> None:
    began, cpu = time.monotonic(), machine_cpu_seconds()
    ended: dict[str, float] = {}
    started: dict[str, float] = {}
    cpu_at: dict[str, float] = {}
    for event in _events("cluster", NAME, "--nodes", str(NODES), "--no-merge"):
        if event["event"] == "phase-started":
            started[event["phase"]], cpu_at[event["phase"]] = event["at"], machine_cpu_seconds()
        elif event["event"] == "phase-ended":
            ended[event["phase"]] = event["at"]
            figures.add(f"phase: {event['phase']}", event["seconds"], "s")
            figures.add(f"phase: {event['phase']}, CPU of the machine",
                        machine_cpu_seconds() - cpu_at[event["phase"]], "CPU s")  # fmt: skip
    done = time.monotonic() - began
    pod = _seconds_to_a_running_pod()
    figures.add("nothing to a cluster, machines booted", done, "s")
    figures.add("nothing to a cluster, CPU of the machine", machine_cpu_seconds() - cpu, "CPU s")
    figures.add("booted bare hosts to five Ready and a pod running", done - ended["Create machines"] + pod, "s")
    figures.add("laid down to five Ready", ended["Join nodes"] - ended["Lay down files"], "s")
    figures.add("a pod, from create to running", pod, "s")


def _seconds_to_a_running_pod() -> float:
    began = time.monotonic()
    _kubectl("run", "first", "--image=hanse.local/web:1")
    _kubectl("wait", "--for=condition=Ready", "pod/first", "--timeout=60s")
    return time.monotonic() - began


def _second_run(figures: Figures) -> None:
    times = []
    for _ in range(3):
        began = time.monotonic()
        changes = [e for e in _events("cluster", NAME, "--nodes", str(NODES), "--no-merge") if e["event"] == "done"]
        times.append(time.monotonic() - began)
        figures.add("second run: changes", changes[0]["changes"], "changes")
    figures.add("second run, best of 3", min(times), "s")
    figures.add("second run, median of 3", statistics.median(times), "s")


def _services_at_rest(figures: Figures) -> None:
    time.sleep(10)  # what the runs before left in queues
    processes = _service_processes()
    before = {pid: process_cpu_seconds(pid) for pids in processes.values() for pid in pids}
    time.sleep(REST)
    for service, pids in processes.items():
        shares = [100 * (process_cpu_seconds(pid) - before[pid]) / REST for pid in pids]
        memory = [process_memory(pid) for pid in pids]
        figures.add(f"at rest: {service} x{len(pids)}, CPU mean", statistics.mean(shares), "% of a core")
        figures.add(f"at rest: {service} x{len(pids)}, CPU highest", max(shares), "% of a core")
        figures.add(f"at rest: {service} x{len(pids)}, memory mean", statistics.mean(memory), "MiB")
        figures.add(f"at rest: {service} x{len(pids)}, memory highest", max(memory), "MiB")


def _service_processes() -> dict[str, list[int]]:
    """Service -> process ids, over all machines: they run below this one and are seen from here."""
    found: dict[str, list[int]] = defaultdict(list)
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended meanwhile
        programs = [word.decode(errors="replace") for word in words[:3]]
        for service in SERVICES:
            if f"/opt/hanse/current/bin/{service}" in programs:
                found[service].append(int(folder.name))
    return {service: sorted(found[service]) for service in SERVICES if found[service]}


def _environment() -> dict[str, str]:
    return {**os.environ, "HANSE_HOME": str(HOME)}


def _provision(*args: str) -> None:
    subprocess.run([str(BIN / "provision"), *args], env=_environment(), capture_output=True, check=False)


def _events(*args: str) -> Iterator[dict[str, Any]]:
    argv = [str(BIN / "provision"), *args, "--json"]
    with subprocess.Popen(argv, env=_environment(), stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            yield json.loads(line)
    if running.returncode != 0:
        raise SystemExit(f"{' '.join(argv)} ended with {running.returncode}")


def _kubectl(*args: str) -> None:
    kubeconfig = HOME / "clusters" / NAME / "kubeconfig"
    subprocess.run([str(BIN / "kubectl"), f"--kubeconfig={kubeconfig}", *args], check=True, capture_output=True)
