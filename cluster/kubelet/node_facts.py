"""
Reads the machine: CPUs, memory, disk, kernel, addresses, and what is short. Blocking but fast.
"""

import platform
import shutil
import socket
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from cluster.kubelet.node_status import MachineFacts, Pressure

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "ppc64le": "ppc64le", "s390x": "s390x"}


def read_machine(root_dir: str, api_server: str) -> MachineFacts:
    """`api_server` is the URL whose route tells which address of ours the cluster sees; empty for the default route."""
    return MachineFacts(
        cpus=psutil.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        disk_bytes=shutil.disk_usage(existing(root_dir)).total,
        hugepages=_hugepages(),
        architecture=_ARCHITECTURES.get(platform.machine(), platform.machine()),
        kernel=platform.release(),
        os_image=_os_image(),
        machine_id=_line("/etc/machine-id"),
        system_uuid=_line("/sys/class/dmi/id/product_uuid") or _line("/etc/machine-id"),
        boot_id=_line("/proc/sys/kernel/random/boot_id"),
        addresses=own_addresses(api_server),
    )


def existing(path: str) -> Path:
    """The path or its nearest parent that is there."""
    current = Path(path)
    while not current.exists():
        current = current.parent
    return current


def read_pressure(root_dir: str) -> Pressure:
    disk = shutil.disk_usage(existing(root_dir))
    threads = _line("/proc/loadavg").split()
    used = int(threads[3].partition("/")[2]) if len(threads) > 3 else 0
    return Pressure(
        memory_available=psutil.virtual_memory().available,
        disk_available=disk.free,
        disk_capacity=disk.total,
        pids_used=used,
        pids_max=int(_line("/proc/sys/kernel/pid_max") or 0),
    )


def own_addresses(api_server: str) -> tuple[str, ...]:
    """The address that packets to the apiserver leave from. No packet is sent."""
    target = urlsplit(api_server).hostname or "192.0.2.1"
    try:
        found = socket.getaddrinfo(target, 6443, type=socket.SOCK_DGRAM)
    except OSError:
        return ()
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as probe:
            try:
                probe.connect(address)
            except OSError:
                continue
            return (str(probe.getsockname()[0]),)
    return ()


def _hugepages() -> dict[str, int]:
    found = {}
    for directory in Path("/sys/kernel/mm/hugepages").glob("hugepages-*kB"):
        kilobytes = int(directory.name[len("hugepages-") : -2])
        pages = int(_line(str(directory / "nr_hugepages")) or 0)
        found[f"{kilobytes // 1024}Mi" if kilobytes < 1024**2 else f"{kilobytes // 1024**2}Gi"] = (
            pages * kilobytes * 1024
        )
    return found


def _os_image() -> str:
    for line in _text("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "Linux"


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _line(path: str) -> str:
    return _text(path).strip()
