"""
The `--audit-*` flags.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cluster.apiserver.audit.log_file import LogSettings
from cluster.apiserver.audit.queue import BATCH, BLOCKING, MODES, QueueSettings


@dataclass(frozen=True, slots=True)
class AuditOptions:
    policy_file: str
    webhook_config_file: str
    webhook_initial_backoff: float
    """Seconds."""
    log: LogSettings
    log_queue: QueueSettings
    webhook_queue: QueueSettings


_QUEUE_FLAGS = (
    "mode", "batch-buffer-size", "batch-max-size", "batch-max-wait", "batch-throttle-enable", "batch-throttle-qps",
    "batch-throttle-burst", "truncate-enabled", "truncate-max-event-size", "truncate-max-batch-size",
)  # fmt: skip
_DESTINATIONS = (
    "policy_file", "webhook_config_file", "webhook_initial_backoff", "log_path", "log_maxage", "log_maxbackup",
    "log_maxsize", "log_compress", "log_format", "log_version", "webhook_version",
)  # fmt: skip


def add_flags(parser: argparse.ArgumentParser, duration: Callable[[str], float], flag: Callable[[str], bool]) -> None:
    """`duration` and `flag` read Go's durations and booleans."""
    add = parser.add_argument
    add("--audit-policy-file", default="")
    add("--audit-webhook-config-file", default="")
    add("--audit-webhook-initial-backoff", type=duration, default=10.0)
    add("--audit-log-path", default="")
    for name in ("maxage", "maxbackup", "maxsize"):
        add(f"--audit-log-{name}", type=int, default=0)
    add("--audit-log-compress", type=flag, nargs="?", const=True, default=False)
    add("--audit-log-format", choices=("json",), default="json")
    for backend in ("log", "webhook"):
        to_file = backend == "log"
        add(f"--audit-{backend}-version", choices=("audit.k8s.io/v1",), default="audit.k8s.io/v1")
        add(f"--audit-{backend}-mode", choices=MODES, default=BLOCKING if to_file else BATCH)
        add(f"--audit-{backend}-batch-buffer-size", type=int, default=10_000)
        add(f"--audit-{backend}-batch-max-size", type=int, default=1 if to_file else 400)
        add(f"--audit-{backend}-batch-max-wait", type=duration, default=0.0 if to_file else 30.0)
        add(f"--audit-{backend}-batch-throttle-enable", type=flag, nargs="?", const=True, default=not to_file)
        add(f"--audit-{backend}-batch-throttle-qps", type=float, default=0.0 if to_file else 10.0)
        add(f"--audit-{backend}-batch-throttle-burst", type=int, default=0 if to_file else 15)
        add(f"--audit-{backend}-truncate-enabled", type=flag, nargs="?", const=True, default=False)
        add(f"--audit-{backend}-truncate-max-event-size", type=int, default=100 * 1024)
        add(f"--audit-{backend}-truncate-max-batch-size", type=int, default=10 * 1024 * 1024)


def take(values: dict[str, Any]) -> AuditOptions:
    """Takes the audit flags out of the parsed ones. Raises ValueError for values that do not go together."""
    given = {name: values.pop(f"audit_{name}") for name in _DESTINATIONS}
    queues = {}
    for backend in ("log", "webhook"):
        flags = {name: values.pop(f"audit_{backend}_{name.replace('-', '_')}") for name in _QUEUE_FLAGS}
        queues[backend] = _queue(backend, flags)
    return AuditOptions(
        given["policy_file"],
        given["webhook_config_file"],
        given["webhook_initial_backoff"],
        LogSettings(
            given["log_path"], given["log_maxage"], given["log_maxbackup"], given["log_maxsize"], given["log_compress"]
        ),
        queues["log"],
        queues["webhook"],
    )


def _queue(backend: str, given: Mapping[str, Any]) -> QueueSettings:
    mode, batched = given["mode"], given["mode"] == BATCH
    if batched:
        for name in ("batch-buffer-size", "batch-max-size"):
            if given[name] <= 0:
                raise ValueError(f"invalid audit batch {backend} {name} {given[name]}, must be a positive number")
    if given["truncate-max-event-size"] <= 0 or given["truncate-max-batch-size"] < given["truncate-max-event-size"]:
        raise ValueError(
            f"invalid audit truncate {backend} max batch size {given['truncate-max-batch-size']}, must be greater than"
            f" max event size ({given['truncate-max-event-size']}), which must be a positive number"
        )
    throttled = batched and given["batch-throttle-enable"]
    if throttled and (given["batch-throttle-qps"] <= 0 or given["batch-throttle-burst"] <= 0):
        raise ValueError(f"invalid audit batch {backend} throttle QPS or burst, must be a positive number")
    truncated = given["truncate-enabled"]
    return QueueSettings(
        mode,
        given["batch-buffer-size"],
        # Whoever waits is written together with all who wait then: one write, whatever the mode.
        max(given["batch-max-size"], 400) if backend == "log" or not batched else given["batch-max-size"],
        given["batch-max-wait"] if batched else 0.0,
        given["batch-throttle-qps"] if throttled else 0.0,
        given["batch-throttle-burst"],
        given["truncate-max-event-size"] if truncated else 0,
        given["truncate-max-batch-size"] if truncated else 0,
    )
