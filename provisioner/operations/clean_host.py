"""
Runs on a host whose cluster is removed, in two steps around the playbook that takes the roles' files away. Sent by
actions.reset; standard library alone; may be repeated, also after a run that was cut off anywhere.

    end     what still lives when the units are stopped: containers, mounts, links, addresses, packet rules
    remove  what services wrote at run time, the releases and the users
"""

import contextlib
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import time

DEVICES = ("hanse-vxlan", "hanse-dns0")
USERS = ("hanse-etcd", "hanse-control", "hanse-federation", "hanse-dns")
MOUNTED = ("/run/netns/cni-", "/run/containerd/", "/var/lib/kubelet/", "/var/lib/containerd/")
FOLDERS = (
    "/opt/hanse",
    "/run/containerd",
    "/run/hanse",
    "/var/lib/cni/results",
    "/var/lib/hanse",
    "/var/lib/hanse-federation",
    "/var/log/containers",
    "/var/log/hanse",
    "/var/log/pods",
)
"""Ours alone, whatever is in them."""
DATA = ("/var/lib/containerd", "/var/lib/etcd", "/var/lib/kubelet")
"""These may be disks of their own: emptied, and removed where they are plain folders."""
SHARED = ("/etc/cni/net.d", "/etc/cni", "/etc/containerd", "/etc/kubernetes", "/opt/containerd/bin",
          "/opt/containerd/lib", "/opt/containerd", "/var/lib/cni")  # fmt: skip
"""Removed when nothing of anybody else is in them."""
FILES = (
    "/etc/cni/net.d/10-hanse.conflist",
    "/run/hanse-provision.lock",  # held until the connection ends, by whoever sent this
)
CGROUPS = "/sys/fs/cgroup"
PATIENCE = 10.0  # seconds for killed processes to be gone


def container_cgroups() -> "list[str]":
    """Of Pods, in every hierarchy, the innermost first."""
    found = []
    for top in glob.glob(f"{CGROUPS}/kubepods*") + glob.glob(f"{CGROUPS}/*/kubepods*"):
        found += [folder for folder, _, _ in os.walk(top, topdown=False)]
    return found


def container_processes() -> "set[int]":
    """Whatever runs in Pods, and the shims, which outlive containerd on purpose."""
    found = set()
    for group in container_cgroups():
        with contextlib.suppress(OSError), open(f"{group}/cgroup.procs") as file:
            found |= {int(line) for line in file}
    for process in glob.glob("/proc/[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if os.readlink(f"{process}/exe").startswith("/opt/hanse/") and "containerd-shim" in os.readlink(
                f"{process}/exe"
            ):
                found.add(int(process.rpartition("/")[2]))
    return found


def end_containers() -> None:
    deadline = time.monotonic() + PATIENCE
    while left := container_processes():
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise SystemExit(f"processes {sorted(left)} of containers do not end")
        time.sleep(0.05)
    for group in container_cgroups():
        with contextlib.suppress(OSError):  # a group that is busy for the moment is empty and harms nobody
            os.rmdir(group)


def unmount() -> None:
    with open("/proc/mounts") as file:
        mounted = [line.split()[1] for line in file]
    for path in reversed(mounted):
        if path.startswith(MOUNTED):
            subprocess.run(["umount", "--lazy", path], check=False)
    for path in glob.glob("/run/netns/cni-*"):
        os.unlink(path)
    with contextlib.suppress(OSError):
        os.rmdir("/run/netns")


def forget_network(address: str) -> None:
    """Packet rules by the proxy's own means, since hosts need no `nft`; then links, and the API's address."""
    proxy = "/opt/hanse/current/bin/kube-proxy"
    if os.path.exists(proxy):
        library = {"LD_LIBRARY_PATH": "/opt/hanse/current/lib"}
        done = subprocess.run([proxy, "--cleanup"], env={**os.environ, **library}, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"`{proxy} --cleanup` failed: {done.stderr.strip()[-300:]}")
    for device in DEVICES:
        if os.path.exists(f"/sys/class/net/{device}"):
            subprocess.run(["ip", "link", "delete", device], check=True)
    told = subprocess.run(["ip", "-json", "address"], capture_output=True, text=True, check=True)
    for link in json.loads(told.stdout):
        if address and any(known.get("local") == address for known in link["addr_info"]):
            subprocess.run(["ip", "address", "delete", address, "dev", link["ifname"]], check=True)


def remove_files() -> None:
    for folder in FOLDERS:
        shutil.rmtree(folder, ignore_errors=not os.path.exists(folder))
    for folder in DATA:
        for entry in os.scandir(folder) if os.path.isdir(folder) else ():
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
    for path in FILES:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    for folder in (*DATA, *SHARED):
        with contextlib.suppress(OSError):  # somebody else's files, a mount, or not there
            os.rmdir(folder)


def remove_users() -> None:
    with open("/etc/passwd") as file:
        known = {line.partition(":")[0] for line in file}
    for user in known.intersection(USERS):
        subprocess.run(["userdel", user], check=True, capture_output=True)


def main() -> None:
    if sys.argv[1] == "end":
        end_containers()
        unmount()
        forget_network(sys.argv[2])
    else:
        remove_files()
        remove_users()


if __name__ == "__main__":
    main()
