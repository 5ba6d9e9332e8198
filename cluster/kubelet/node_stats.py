"""
How much node, pods and containers use: /stats/summary and /metrics/resource. The rendering is pure.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import psutil

from cluster.kubelet.node_facts import read_pressure
from cluster.kubelet.pod_status import format_time, timestamp
from cluster.kubelet.runtime import Container, ContainerState, ContainerUsage
from cluster.machinery.objects import Object


class Running(NamedTuple):
    pod: Object
    container: Container


class NodeUsage(NamedTuple):
    cpu_nanoseconds: int
    cpu_nanocores: int
    memory_working_set: int
    memory_available: int
    memory_usage: int


class Rates:
    """Nanocores from two readings of a counter; the first reading has none."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, int]] = {}
        self._rates: dict[str, int] = {}

    def nanocores(self, key: str, at: int, counter: int) -> int:
        before = self._last.get(key)
        if before is None or at > before[0]:
            if before is not None and counter >= before[1]:
                self._rates[key] = (counter - before[1]) * 1_000_000_000 // (at - before[0])
            self._last[key] = (at, counter)
        return self._rates.get(key, 0)

    def keep(self, keys: Iterable[str]) -> None:
        known = set(keys)
        self._last = {k: v for k, v in self._last.items() if k in known}
        self._rates = {k: v for k, v in self._rates.items() if k in known}


def read_node_usage(rates: Rates) -> NodeUsage:
    times, memory = psutil.cpu_times(), psutil.virtual_memory()
    busy = int((times.user + times.system + times.nice + times.irq + times.softirq) * 1e9)
    used = memory.total - memory.available
    nanocores = rates.nanocores("", time.time_ns(), busy)
    return NodeUsage(busy, nanocores, used, memory.available, memory.total - memory.free)


def summary(
    node_name: str,
    root_dir: str,
    node: NodeUsage,
    running: Sequence[Running],
    usage: Mapping[str, ContainerUsage],
    rates: Rates,
    started: datetime,
) -> Object:
    """stats.k8s.io's Summary, as metrics-server and `kubectl get --raw` read it."""
    now = format_time(datetime.now(UTC))
    disk = read_pressure(root_dir)
    pods: dict[str, Object] = {}
    for pod, container in running:
        metadata = pod["metadata"]
        entry = pods.setdefault(
            metadata["uid"],
            {
                "podRef": {k: metadata[k] for k in ("name", "namespace", "uid")},
                "startTime": (pod.get("status") or {}).get("startTime") or now,
                "containers": [],
            },
        )
        used = usage.get(container.id)
        if used is not None and container.state is ContainerState.RUNNING:
            entry["containers"].append(_container(container, used, rates))
    for entry in pods.values():
        entry["cpu"] = _total(entry["containers"], "cpu", ("usageNanoCores", "usageCoreNanoSeconds"), now)
        fields = ("usageBytes", "workingSetBytes", "rssBytes", "pageFaults", "majorPageFaults")
        entry["memory"] = _total(entry["containers"], "memory", fields, now)
    return {
        "node": {
            "nodeName": node_name,
            "startTime": format_time(started),
            "cpu": {
                "time": now,
                "usageNanoCores": node.cpu_nanocores,
                "usageCoreNanoSeconds": node.cpu_nanoseconds,
            },
            "memory": {
                "time": now,
                "availableBytes": node.memory_available,
                "usageBytes": node.memory_usage,
                "workingSetBytes": node.memory_working_set,
            },
            "fs": {
                "time": now,
                "availableBytes": disk.disk_available,
                "capacityBytes": disk.disk_capacity,
                "usedBytes": disk.disk_capacity - disk.disk_available,
            },
        },
        "pods": list(pods.values()),
    }


def _container(container: Container, used: ContainerUsage, rates: Rates) -> Object:
    at = timestamp(used.timestamp)
    return {
        "name": container.name,
        "startTime": timestamp(container.started_at),
        "cpu": {
            "time": at,
            "usageNanoCores": rates.nanocores(container.id, used.timestamp, used.cpu_nanoseconds),
            "usageCoreNanoSeconds": used.cpu_nanoseconds,
        },
        "memory": {
            "time": at,
            "usageBytes": used.memory_usage or used.memory_working_set,
            "workingSetBytes": used.memory_working_set,
            "rssBytes": used.memory_rss,
            "pageFaults": used.page_faults,
            "majorPageFaults": used.major_page_faults,
        },
        "rootfs": {"time": at, "usedBytes": used.writable_layer_bytes, "inodesUsed": used.writable_layer_inodes},
    }


def _total(containers: Sequence[Object], part: str, fields: Sequence[str], now: str) -> Object:
    return {"time": now, **{field: sum(c[part][field] for c in containers) for field in fields}}


def resource_metrics(node: NodeUsage, running: Sequence[Running], usage: Mapping[str, ContainerUsage]) -> str:
    """/metrics/resource in Prometheus' text format."""
    lines = [
        "# TYPE node_cpu_usage_seconds_total counter",
        f"node_cpu_usage_seconds_total {node.cpu_nanoseconds / 1e9}",
        "# TYPE node_memory_working_set_bytes gauge",
        f"node_memory_working_set_bytes {node.memory_working_set}",
    ]
    cpu, memory, start = [], [], []
    for pod, container in running:
        used = usage.get(container.id)
        if used is None:
            continue
        metadata = pod["metadata"]
        labels = f'{{container="{container.name}",namespace="{metadata["namespace"]}",pod="{metadata["name"]}"}}'
        cpu.append(f"container_cpu_usage_seconds_total{labels} {used.cpu_nanoseconds / 1e9}")
        memory.append(f"container_memory_working_set_bytes{labels} {used.memory_working_set}")
        start.append(f"container_start_time_seconds{labels} {container.started_at / 1e9}")
    lines += ["# TYPE container_cpu_usage_seconds_total counter", *cpu]
    lines += ["# TYPE container_memory_working_set_bytes gauge", *memory]
    lines += ["# TYPE container_start_time_seconds gauge", *start, "# TYPE scrape_error gauge", "scrape_error 0"]
    return "\n".join([*lines, ""])
