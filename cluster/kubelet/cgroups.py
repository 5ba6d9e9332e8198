"""
Cgroups of pods: where they are, and making and removing them, on cgroup v1 and v2, driver cgroupfs.

Layout as upstream's: /kubepods/pod<uid> for Guaranteed, /kubepods/burstable/pod<uid>, /kubepods/besteffort/pod<uid>;
the runtime puts each container's cgroup below the pod's. With the systemd driver the names are slices and
systemd makes them when the runtime asks, so nothing is made here.
"""

import contextlib
import errno
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from cluster.kubelet.pods import uid_of
from cluster.kubelet.resources import (
    CPU_PERIOD_MICROSECONDS,
    cpu_quota,
    cpu_shares,
    pod_limits,
    pod_requests,
    qos_class,
)
from cluster.machinery.objects import Object

log = logging.getLogger(__name__)

V1_CONTROLLERS = ("cpu", "cpuacct", "memory", "pids", "cpuset", "blkio", "devices", "freezer", "hugetlb", "systemd")


def weight_of_shares(shares: int) -> int:
    """cgroup v2's cpu.weight (1…10000) for v1's cpu.shares (2…262144), as runc converts."""
    return 1 + ((shares - 2) * 9999) // 262142


def cgroup_parent(pod: Object, root: str, driver: str) -> str:
    """What the runtime is given as the pod's cgroup: a path, or for systemd a slice."""
    quality = qos_class(pod)
    tier = "" if quality == "Guaranteed" else quality.lower()
    if driver == "systemd":
        name = "-".join(filter(None, ("kubepods", tier, f"pod{uid_of(pod).replace('-', '_')}")))
        return f"{name}.slice"
    return "/" + "/".join(filter(None, (root.strip("/"), "kubepods", tier, f"pod{uid_of(pod)}")))


def pod_settings(pod: Object, version: int) -> dict[str, dict[str, str]]:
    """Controller -> file -> value for the pod's own cgroup."""
    wanted, capped = pod_requests(pod), pod_limits(pod)
    shares, quota, memory = cpu_shares(wanted.get("cpu", 0)), cpu_quota(capped.get("cpu", 0)), capped.get("memory", 0)
    if version == 2:
        cpu = {"cpu.weight": str(weight_of_shares(shares))}
        if quota:
            cpu["cpu.max"] = f"{quota} {CPU_PERIOD_MICROSECONDS}"
        return {"cpu": cpu, "memory": {"memory.max": str(memory)} if memory else {}}
    cpu = {"cpu.shares": str(shares)}
    if quota:
        cpu |= {"cpu.cfs_period_us": str(CPU_PERIOD_MICROSECONDS), "cpu.cfs_quota_us": str(quota)}
    return {"cpu": cpu, "memory": {"memory.limit_in_bytes": str(memory)} if memory else {}}


@dataclass(frozen=True, slots=True)
class CgroupTree:
    """The host's cgroup file system."""

    mount: Path = Path("/sys/fs/cgroup")
    root: str = ""
    driver: str = "cgroupfs"

    @property
    def version(self) -> int:
        return 2 if (self.mount / "cgroup.controllers").exists() else 1

    def parent_of(self, pod: Object) -> str:
        return cgroup_parent(pod, self.root, self.driver)

    def ensure(self, pod: Object) -> None:
        """Make the pod's cgroup and set its limits. Raises OSError when the host refuses."""
        if self.driver != "cgroupfs":
            return
        relative, settings = self.parent_of(pod).lstrip("/"), pod_settings(pod, self.version)
        if self.version == 2:
            self._make_v2(relative)
            for files in settings.values():
                _write(self.mount / relative, files)
            return
        for controller in self._controllers():
            directory = self.mount / controller / relative
            if controller == "cpuset":
                _make_cpuset(self.mount / controller, relative)
            directory.mkdir(parents=True, exist_ok=True)
            _write(directory, settings.get(controller, {}))

    def remove(self, pod: Object) -> None:
        """Take the pod's cgroup away; one that still holds processes stays and is named in the log."""
        if self.driver != "cgroupfs":
            return
        relative = self.parent_of(pod).lstrip("/")
        # The runtime makes the pod's cgroup in hierarchies that we do not use too: unified, systemd, rdma …
        bases = [self.mount] if self.version == 2 else sorted(d for d in self.mount.iterdir() if d.is_dir())
        for base in bases:
            remove_tree(base / relative)

    def _controllers(self) -> list[str]:
        return [c for c in V1_CONTROLLERS if (self.mount / c).is_dir()]

    def _make_v2(self, relative: str) -> None:
        current = self.mount
        for part in Path(relative).parts:
            available = (current / "cgroup.controllers").read_text().split()
            for controller in {"cpu", "memory", "pids", "cpuset", "io", "hugetlb"} & set(available):
                # A controller that a parent cannot pass on (realtime processes, say) is not worth a pod.
                with contextlib.suppress(OSError):
                    (current / "cgroup.subtree_control").write_text(f"+{controller}")
            current = current / part
            current.mkdir(exist_ok=True)


def _make_cpuset(base: Path, relative: str) -> None:
    """v1's cpuset groups are born empty, and a task cannot enter an empty one: copy from the parent."""
    current = base
    for part in Path(relative).parts:
        parent, current = current, current / part
        current.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            file = current / name
            if file.exists() and not file.read_text().strip():
                file.write_text((parent / name).read_text())


def _write(directory: Path, files: dict[str, str]) -> None:
    for name, value in files.items():
        file = directory / name
        if file.exists():
            file.write_text(value)


def remove_tree(directory: Path) -> None:
    """rmdir a cgroup and its children, deepest first."""
    if not directory.is_dir():
        return
    for current, _, _ in os.walk(directory, topdown=False):
        try:
            Path(current).rmdir()
        except OSError as error:
            if error.errno != errno.ENOENT:
                log.warning("cgroup stays: %s: %s", current, error.strerror)
                return
