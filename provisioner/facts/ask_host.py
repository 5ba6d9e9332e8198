"""
Runs on a host and prints what it is like, as JSON. Sent by facts.host_facts; writes nothing; standard library alone.
"""

import glob
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from typing import Any

PROGRAMS = ("systemctl", "tar", "zstd", "useradd", "mount", "ip")


def os_release() -> "dict[str, str]":
    found = {}
    with open("/etc/os-release") as file:
        for line in file:
            key, _, value = line.strip().partition("=")
            found[key] = value.strip('"')
    return found


def memory() -> "tuple[int, bool]":
    values = {}
    with open("/proc/meminfo") as file:
        for line in file:
            key, _, rest = line.partition(":")
            values[key] = int(rest.split()[0]) * 1024
    return values["MemTotal"], values.get("SwapTotal", 0) > 0


def free_space() -> "dict[str, int]":
    found = {}
    for folder in ("/opt/hanse/releases", "/var/lib", "/var/lib/containerd", "/var/lib/etcd"):
        path = folder
        while not os.path.isdir(path):
            path = os.path.dirname(path)
        status = os.statvfs(path)
        found[folder] = status.f_bavail * status.f_frsize
    return found


def unit_of(process: str) -> str:
    """Name of the systemd service that a process belongs to; empty when it is in none."""
    with open(os.path.join("/proc", process, "cgroup")) as file:
        for line in file:
            for part in reversed(line.strip().split("/")):
                if part.endswith(".service"):
                    return part[: -len(".service")]
    return ""


def listening() -> "dict[int, list[str]]":
    """Port -> program and systemd service, for every TCP socket that listens."""
    inodes = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(table):
            with open(table) as file:
                for line in list(file)[1:]:
                    columns = line.split()
                    if columns[3] == "0A":
                        inodes[columns[9]] = int(columns[1].rpartition(":")[2], 16)
    ports = {port: ["unknown", ""] for port in inodes.values()}
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            target = os.readlink(link)
            if target.startswith("socket:[") and target[8:-1] in inodes:
                process = link.split("/")[2]
                with open(os.path.join("/proc", process, "comm")) as file:
                    ports[inodes[target[8:-1]]] = [file.read().strip(), unit_of(process)]
        except OSError:
            continue  # ended meanwhile
    return ports


def interfaces() -> "tuple[dict[str, str], dict[str, int]]":
    """Address -> interface, interface -> bytes of its largest packet."""
    if shutil.which("ip") is None:
        return {}, {}
    done = subprocess.run(["ip", "-json", "address"], capture_output=True, check=True)
    links = json.loads(done.stdout)
    held = {entry["local"]: link["ifname"] for link in links for entry in link.get("addr_info", [])}
    return held, {link["ifname"]: link.get("mtu", 0) for link in links}


def laid_down() -> str:
    """Hash of path, mode, owner and content of every file in the roles' records."""
    digest = hashlib.sha256()
    records = sorted(glob.glob("/var/lib/hanse/files/*.json"))
    for record in records:
        with open(record) as file:
            paths = json.load(file)["paths"]
        for path in sorted(paths):
            digest.update(path.encode())
            try:
                status = os.lstat(path)
                digest.update(f"{status.st_mode:o} {status.st_uid} {status.st_gid}".encode())
                if os.path.islink(path):
                    digest.update(os.readlink(path).encode())
                elif os.path.isfile(path):
                    with open(path, "rb") as content:
                        digest.update(content.read())
            except FileNotFoundError:
                digest.update(b"absent")
    return digest.hexdigest() if records else ""


def kubernetes_of(folder: str) -> str:
    """The version that an unpacked release serves; empty when it does not say."""
    try:
        with open(os.path.join(folder, "release.json")) as file:
            return str(json.load(file).get("kubernetes", ""))
    except (OSError, ValueError):
        return ""


def inputs_in(lines: "list[str]") -> str:
    for line in lines:
        _, found, value = line.partition("HANSE_INPUTS=")
        if found:
            return value.strip()
    return ""


def units(names: "list[str]") -> "dict[str, dict[str, str]]":
    properties = "Id,ActiveState,ActiveEnterTimestampMonotonic,MainPID,FragmentPath"
    argv = ["systemctl", "show", f"--property={properties}", *(f"{name}.service" for name in names)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found = {}
    for block in done.stdout.strip().split("\n\n"):
        told = dict(line.partition("=")[::2] for line in block.splitlines())
        running = wanted = ""
        if os.path.exists(told.get("FragmentPath", "")):
            with open(told["FragmentPath"]) as file:
                wanted = inputs_in(file.read().splitlines())
        if told.get("MainPID", "0") != "0":
            try:
                with open(f"/proc/{told['MainPID']}/environ") as file:
                    running = inputs_in(file.read().split("\0"))
            except OSError:
                running = ""  # it ended just now
        found[told["Id"].rpartition(".")[0]] = {
            "active": told["ActiveState"],
            "started": told["ActiveEnterTimestampMonotonic"],
            "running_inputs": running,
            "wanted_inputs": wanted,
        }
    return found


def main() -> None:
    question = json.loads(sys.argv[1])
    total, swap = memory()
    held, mtu = interfaces()
    releases = "/opt/hanse/releases"
    current = "/opt/hanse/current"
    unpacked = [n for n in os.listdir(releases) if "." not in n] if os.path.isdir(releases) else []
    has_systemd = os.path.isdir("/run/systemd/system")
    answer: dict[str, Any] = {
        "os": os_release(),
        "architecture": platform.machine(),
        "python": sys.version_info[:2],
        "glibc": [int(part) for part in (platform.libc_ver()[1] or "0.0").split(".")[:2]],
        "cgroup_version": 2 if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else 1,
        "systemd": has_systemd,
        "memory": total,
        "swap": swap,
        "free": free_space(),
        "time": time.time(),
        "listening": listening(),
        "addresses": held,
        "mtu": mtu,
        "missing_programs": [name for name in PROGRAMS if shutil.which(name) is None],
        "release": os.path.basename(os.readlink(current)) if os.path.islink(current) else "",
        "releases": {name: kubernetes_of(os.path.join(releases, name)) for name in unpacked},
        "laid_down": laid_down(),
        "units": units(question["units"]) if has_systemd else {},
    }
    print(json.dumps(answer))  # noqa: T201 - its output is the answer


if __name__ == "__main__":
    main()
