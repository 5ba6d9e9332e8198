"""
One systemd-nspawn machine as a process: start it, find it again, end it.

A machine outlives the run that started it, so it is found by what the kernel says, never by remembered process ids: the
supervisor by its exact `--machine=` argument, the machine's own PID 1 by its root directory. Both must be ended:
killing the supervisor alone leaves the machine running.
"""

import errno
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from provisioner.errors import HostUnfitError, ProvisionError

_CGROUPS = Path("/sys/fs/cgroup")

_END_PATIENCE = 10.0  # seconds until a killed machine must be gone; the kernel tears namespaces down in well under one


def start_machine(
    name: str,
    hostname: str,
    root: Path,
    bridge: str,
    binds: Mapping[Path, str],
    read_only: Mapping[Path, str],
    log: Path,
) -> None:
    """
    Start a machine and return at once; it takes a second or two to answer.

    Args:
        name: Of the machine, 12 letters at most: `vb-NAME` is its end of the bridge.
        hostname: What it calls itself.
        root: Its mounted root.
        bridge: Where its network interface `host0` is connected.
        binds: Directory here -> path inside.
        read_only: Likewise, closed to changes by the machine.
        log: Gets the console.
    """
    argv = [
        "systemd-nspawn",
        f"--directory={root}",
        "--boot",
        "--register=no",
        f"--machine={name}",
        f"--hostname={hostname}",
        f"--network-bridge={bridge}",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        # containerd mounts, kube-proxy writes rules, runc makes namespaces: what a real host may do.
        "--capability=all",
        "--system-call-filter=@known",
        "--bind=/dev/kmsg",
        *(f"--bind={here}:{inside}" for here, inside in binds.items()),
        *(f"--bind-ro={here}:{inside}" for here, inside in read_only.items()),
    ]
    if has_cgroup_v1():
        # Nobody here delegates a scope, so each machine gets cgroups of its own: two in one would share units' groups.
        argv = [*_enter(make_cgroups(name)), *argv, "--keep-unit"]
    else:
        argv.append("--property=DevicePolicy=auto")
    with log.open("ab") as console:
        # Forked away: the machine has no parent here that would have to collect it.
        subprocess.run(
            ["setsid", "--fork", *argv],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            cwd="/",
            check=True,
        )


def _enter(cgroups: list[Path]) -> list[str]:
    script = 'for group in $1; do echo $$ > "$group/cgroup.procs"; done; shift; exec "$@"'
    return ["/bin/sh", "-ec", script, "sh", " ".join(str(group) for group in cgroups)]


def has_cgroup_v1() -> bool:
    return not (_CGROUPS / "cgroup.controllers").exists()


def make_cgroups(name: str) -> list[Path]:
    """One cgroup for the machine in every hierarchy."""
    made = []
    for hierarchy in sorted(path for path in _CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()):
        if not (hierarchy / "cgroup.procs").exists():
            continue
        group = hierarchy
        for part in ("hanse", name):
            parent, group = group, group / part
            group.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):  # empty in a new cpuset, and then nothing may enter
                if (group / setting).exists():
                    (group / setting).write_text((parent / setting).read_text())
        made.append(group)
    return made


def remove_cgroups(name: str) -> None:
    """The machine's cgroups and those that its containers left. Nothing may run in them any more."""
    if not has_cgroup_v1():
        return
    deadline = time.monotonic() + _END_PATIENCE
    for hierarchy in (path for path in _CGROUPS.iterdir() if path.is_dir() and not path.is_symlink()):
        for folder, _, _ in os.walk(hierarchy / "hanse" / name, topdown=False):
            _remove_cgroup(Path(folder), deadline)


def _remove_cgroup(group: Path, deadline: float) -> None:
    """A killed process holds its cgroup for the moment that the kernel needs to free its memory."""
    while True:
        try:
            group.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise ProvisionError(
                    f"cgroup {group} cannot be removed", why=error.strerror or str(error),
                    next_step="Run again; `cat cgroup.procs` there names what still runs in it.",
                ) from error  # fmt: skip
            time.sleep(0.02)
        else:
            return


def supervisors(name: str) -> list[int]:
    """Process ids of systemd-nspawn for the machine."""
    argument = f"--machine={name}".encode()
    found = []
    for process in _processes():
        try:
            argv = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # ended meanwhile
        if argument in argv and argv[0].endswith(b"systemd-nspawn"):
            found.append(int(process.name))
    return found


def inits(root: Path) -> list[int]:
    """Process ids (as seen from here) of whatever is PID 1 of a namespace with this root."""
    try:
        wanted = root.stat()
    except FileNotFoundError:
        return []
    found = []
    for process in _processes():
        try:
            status = os.stat(process / "root")
            if (status.st_dev, status.st_ino) != (wanted.st_dev, wanted.st_ino):
                continue
            numbers = next(line for line in (process / "status").read_text().splitlines() if line.startswith("NSpid:"))
        except (OSError, StopIteration):
            continue
        if len(numbers.split()) > 2 and numbers.split()[-1] == "1":
            found.append(int(process.name))
    return found


def is_running(name: str, root: Path) -> bool:
    return bool(supervisors(name)) and bool(inits(root))


def end_machine(name: str, root: Path) -> None:
    """Pull the plug: everything of the machine is gone, with its network interface, when this returns."""
    deadline = time.monotonic() + _END_PATIENCE
    link = Path("/sys/class/net", f"vb-{name}")
    while (left := [*supervisors(name), *inits(root)]) or link.exists():
        for process in left:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if not left:
            # The kernel removes it with the namespace, but a namespace full of Pods' interfaces can take half a minute.
            subprocess.run(["ip", "link", "delete", link.name], capture_output=True, check=False)
        if time.monotonic() > deadline:
            raise ProvisionError(
                f"machine {name} does not end",
                why=f"processes {left} or interface {link.name} are still there after {_END_PATIENCE:g} s",
                next_step="Run again; if it stays, look at `ps` for these processes in state D.",
            )
        time.sleep(0.02)


def _processes() -> Iterator[Path]:
    return (path for path in Path("/proc").iterdir() if path.name.isdigit())


def check_started(name: str, root: Path, log: Path) -> None:
    """Raises HostUnfitError with the console's last words when the machine ended right after its start."""
    if not supervisors(name):
        words = " / ".join(log.read_text(errors="replace").strip().splitlines()[-3:])
        raise HostUnfitError(
            f"machine {name} did not start", why=words or "no output", next_step=f"Read {log}, then run again."
        )
