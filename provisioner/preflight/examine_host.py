"""
Runs on a host and prints what preflight wants to know beyond facts, as JSON. Standard library alone, Python 3.9.

It leaves nothing behind: links are tried in a network namespace of their own, the file that measures the disk is
unlinked as soon as it is open.
"""

import json
import os
import socket
import struct
import subprocess
import sys
import time
from typing import Any

FSYNCS = 24
LINKS = {
    "veth": "ip link add hanse0 type veth peer name hanse1",
    "bridge": "ip link add hanse0 type bridge",
    "vxlan": "ip link add hanse0 type vxlan id 77 dev lo dstport 4789",
}
SETTINGS = (
    "kernel/pid_max",
    "kernel/threads-max",
    "fs/file-max",
    "fs/inotify/max_user_instances",
    "fs/inotify/max_user_watches",
    "net/netfilter/nf_conntrack_max",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv6/conf/all/disable_ipv6",
    "net/ipv4/ip_forward",
    "kernel/random/entropy_avail",
    "kernel/tainted",
    "net/core/somaxconn",
    "net/ipv4/ip_local_port_range",
    "vm/overcommit_memory",
    "user/max_user_namespaces",
)
FOREIGN_UNITS = (
    "kubelet",
    "k3s",
    "k3s-agent",
    "rke2-server",
    "rke2-agent",
    "k0scontroller",
    "k0sworker",
    "snap.microk8s.daemon-kubelite",
    "containerd",
    "docker",
    "crio",
    "etcd",
    "firewalld",
    "ufw",
    "chrony",
    "chronyd",
    "ntp",
    "ntpsec",
    "systemd-timesyncd",
    "openntpd",
    "unattended-upgrades",
    "named",
    "dnsmasq",
    "haproxy",
    "keepalived",
)
REMAINS = (
    "/etc/kubernetes/manifests",
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/kubelet.conf",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/etcd/member",
    "/etc/cni/net.d",
    "/etc/rancher/k3s",
    "/var/lib/rancher/k3s",
    "/var/lib/rancher/rke2",
    "/etc/k0s",
    "/var/lib/k0s",
    "/var/snap/microk8s",
    "/etc/rancher/rke2",
    "/var/lib/cni/networks",
)


def text(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def command(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def mounts() -> "dict[str, list[str]]":
    """Mount point -> type and options."""
    found = {}
    for line in text("/proc/self/mounts").splitlines():
        parts = line.split()
        if len(parts) >= 4:
            found[parts[1].replace("\\040", " ")] = [parts[2], parts[3]]
    return found


def mount_of(path: str, known: "dict[str, list[str]]") -> "list[str]":
    """Type and options of the filesystem that a path is or would be on."""
    while path not in known:
        if path == "/":
            return ["", ""]
        path = os.path.dirname(path)
    return known[path]


def writable(folder: str) -> bool:
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return os.access(folder, os.W_OK) and not os.statvfs(folder).f_flag & os.ST_RDONLY


def inodes(folder: str) -> float:
    """The free share; 1.0 where the filesystem does not count them."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    status = os.statvfs(folder)
    return status.f_favail / status.f_files if status.f_files else 1.0


def fsync_seconds(folder: str) -> "float | None":
    """The slowest but one of a few fsyncs, as etcd does them; None where nothing can be written."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    path = os.path.join(folder, f".hanse-preflight-{os.getpid()}")
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return None
    try:
        os.unlink(path)
        took = []
        for _ in range(FSYNCS):
            os.write(handle, b"\0" * 2300)
            began = time.monotonic()
            os.fdatasync(handle)
            took.append(time.monotonic() - began)
    except OSError:
        return None
    finally:
        os.close(handle)
    return sorted(took)[-2]


def links() -> "dict[str, bool]":
    """Kind of link -> whether the kernel makes one."""
    found = {}
    for kind, line in LINKS.items():
        done = subprocess.run(["unshare", "--net", "sh", "-c", line], capture_output=True, check=False)
        found[kind] = done.returncode == 0
    return found


def nf_tables() -> bool:
    """Whether the kernel answers a list of nftables' tables (NFNL_SUBSYS_NFTABLES, NFT_MSG_GETTABLE, dump)."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as asked:
            asked.settimeout(2)
            asked.send(struct.pack("=IHHII", 20, (10 << 8) | 1, 0x301, 1, 0) + struct.pack("=BBH", 0, 0, 0))
            answer = asked.recv(65536)
    except OSError:
        return False
    kind = struct.unpack_from("=H", answer, 4)[0]
    if kind == 2:  # NLMSG_ERROR
        return bool(struct.unpack_from("=i", answer, 16)[0] == 0)
    return True


def udp_ports() -> "dict[str, str]":
    """UDP port -> the addresses it is bound at, joined by commas."""
    found: dict[str, list[str]] = {}
    for line in command("ss", "-Huln").splitlines():
        columns = line.split()
        if len(columns) >= 4:
            address, _, port = columns[3].rpartition(":")
            found.setdefault(port, []).append(address)
    return {port: ",".join(addresses) for port, addresses in found.items()}


def devices() -> "list[dict[str, Any]]":
    told = command("ip", "-json", "link")
    return [
        {
            "name": one["ifname"],
            "mtu": one.get("mtu", 0),
            "mac": one.get("address", ""),
            "state": one.get("operstate", ""),
        }
        for one in json.loads(told or "[]")
    ]


def routes() -> "list[list[str]]":
    """Destination and device of each route but the local ones."""
    return [
        [str(one.get("dst", "")), str(one.get("dev", ""))]
        for family in ("-4", "-6")
        for one in json.loads(command("ip", family, "-json", "route") or "[]")
    ]


def active_units() -> "list[str]":
    argv = ["systemctl", "is-active", *(name + ".service" for name in FOREIGN_UNITS)]
    states = command(*argv).split()
    return [name for name, state in zip(FOREIGN_UNITS, states) if state == "active"]  # noqa: B905 - Python 3.9


def remains() -> "list[str]":
    return [path for path in REMAINS if (os.listdir(path) if os.path.isdir(path) else os.path.exists(path))]


def controllers() -> "list[str]":
    unified = text("/sys/fs/cgroup/cgroup.controllers").split()
    if unified:
        return unified
    lines = [line.split() for line in text("/proc/cgroups").splitlines()[1:]]
    return [line[0] for line in lines if len(line) == 4 and line[3] == "1"]


def main() -> None:
    known = mounts()
    folders = (
        "/",
        "/etc",
        "/opt/hanse/releases",
        "/var/lib",
        "/var/lib/containerd",
        "/var/lib/kubelet",
        "/var/lib/etcd",
        "/var/log",
        "/run",
        "/tmp",  # noqa: S108 - looked at, not used
    )
    answer = {
        "kernel": os.uname().release,
        "hostname": socket.gethostname(),
        "uid": os.getuid(),
        "machine_id": text("/etc/machine-id"),
        "product_uuid": text("/sys/class/dmi/id/product_uuid"),
        "virtual": command("systemd-detect-virt").strip(),
        "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "uptime": float((text("/proc/uptime") or "0").split()[0]),
        "memory_available": next(
            (
                int(line.split()[1]) * 1024
                for line in text("/proc/meminfo").splitlines()
                if line.startswith("MemAvailable")
            ),
            0,
        ),
        "filesystems": [line.split()[-1] for line in text("/proc/filesystems").splitlines()],
        "namespaces": sorted(os.listdir("/proc/self/ns")),
        "controllers": controllers(),
        "seccomp": os.path.exists("/proc/sys/kernel/seccomp/actions_avail"),
        "settings": {name: text("/proc/sys/" + name) for name in SETTINGS},
        "mounts": {folder: mount_of(folder, known) for folder in folders},
        "writable": {folder: writable(folder) for folder in folders},
        "inodes": {folder: inodes(folder) for folder in folders},
        "free": {folder: free(folder) for folder in folders},
        "fsync": {folder: fsync_seconds(folder) for folder in json.loads(sys.argv[1])["fsync"]},
        "links": links(),
        "nf_tables": nf_tables(),
        "udp": udp_ports(),
        "devices": devices(),
        "routes": routes(),
        "resolvers": [
            line.split()[1] for line in text("/etc/resolv.conf").splitlines() if line.startswith("nameserver ")
        ],
        "units": active_units(),
        "system_state": command("systemctl", "is-system-running").strip(),
        "failed_units": [
            line.split()[0]
            for line in command("systemctl", "list-units", "--state=failed", "--plain", "--no-legend").splitlines()
            if line.split()
        ],
        "clock_synchronized": "yes" in command("timedatectl", "show", "--property=NTPSynchronized", "--value"),
        "selinux": text("/sys/fs/selinux/enforce"),
        "reboot_required": os.path.exists("/run/reboot-required"),
        "remains": remains(),
    }
    print(json.dumps(answer))  # noqa: T201 - its output is the answer


def free(folder: str) -> int:
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


if __name__ == "__main__":
    main()
