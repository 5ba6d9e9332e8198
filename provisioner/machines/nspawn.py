"""
Local machines: systemd-nspawn containers that boot like hosts and answer SSH within seconds.

A machine is an overlay over the shared base image with files that a real host would have got from its installer: name,
address, keys. They outlive the run that makes them. Everything is journalled before it is made; what a killed run left
is found again by name and taken over or removed.

Called by   provisioner.phases.create_machines, actions.reset, tests that break machines.
Not here    processes (nspawn_process.py), the network (local_network.py), the image (base_image.py).
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from cluster import settings
from inventory.model import HostSpec
from provisioner.errors import HostUnfitError
from provisioner.journal import Journal
from provisioner.machines import local_network, nspawn_process
from provisioner.machines.base import MachineState, Report
from provisioner.machines.base_image import ensure_base_image
from provisioner.machines.local_network import BRIDGE_PREFIX, LocalNetwork
from provisioner.machines.programs import require_programs, run_program
from provisioner.state import ClusterHome, write_atomically

REAL_DIRECTORIES = {"containerd": "/var/lib/containerd", "etcd": "/var/lib/etcd"}
"""Folder of a machine -> path inside. Overlay on overlay fails, and etcd's fsync should reach a disk."""

_CGROUP_UNIT = """\
# A cgroup-v1 host mounts controllers and /proc/sys read-only into containers; those in this one need to write.
[Unit]
Description=Let containers of this machine write cgroups and sysctls
DefaultDependencies=no
Before=basic.target containerd.service systemd-sysctl.service
After=local-fs.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec 'for c in /sys/fs/cgroup/*/; do \
  mountpoint -q "$c" && mount -o remount,bind,rw,nosuid,nodev,noexec "$c"; done; mount -o remount,bind,rw /proc/sys'

[Install]
WantedBy=sysinit.target
"""

_NETWORK = """\
[Match]
Name=host0
[Network]
Address={address}/{prefix}
Gateway={gateway}
LinkLocalAddressing=no
"""


class NspawnMachines:
    """The local machines of one cluster."""

    def __init__(self, home: ClusterHome, subnet: str, *, share_releases: bool = True) -> None:
        """Without `share_releases` the machines are as bare as anybody's hosts."""
        self._home = home
        self._journal = Journal(home.journal)
        # Two $HANSE_HOMEs may each have a cluster "dev" on this machine.
        tag = hashlib.sha256(str(home.path).encode()).hexdigest()[:5]
        self._releases = home.releases if share_releases else None
        self._prefix = int(subnet.rpartition("/")[2]) if subnet else 24
        self._network = LocalNetwork(
            f"{BRIDGE_PREFIX}{home.name[:4]}{tag}", f"hanse_{home.name}_{tag}".replace("-", "_"), subnet
        )

    def machine_name(self, host: str) -> str:
        """What systemd-nspawn calls it: unique on this machine, and short enough for an interface's name."""
        return "hanse" + hashlib.sha256(str(self._folder(host)).encode()).hexdigest()[:7]

    def observe(self, hosts: Sequence[HostSpec]) -> dict[str, MachineState]:
        return {host.name: self._state(host.name) for host in hosts}

    def _state(self, host: str) -> MachineState:
        folder = self._folder(host)
        if not (folder / "made").exists():
            return MachineState.ABSENT
        running = self._network.exists() and nspawn_process.is_running(self.machine_name(host), folder / "root")
        return MachineState.RUNNING if running else MachineState.STOPPED

    @property
    def shared_releases(self) -> Path | None:
        """Unpacked once for all machines: it saves time, memory and a copy for each."""
        return self._releases

    async def create(self, hosts: Sequence[HostSpec], report: Report) -> None:
        require_programs()
        base = await asyncio.to_thread(ensure_base_image, self._home.cache, report)
        await asyncio.to_thread(self._prepare)
        states = await asyncio.to_thread(self.observe, hosts)
        todo = [host for host in hosts if states[host.name] is not MachineState.RUNNING]
        for host in todo:
            self._journal.will_make("machine", host.name)
        self._pin(await asyncio.gather(*(asyncio.to_thread(self._make, host, base) for host in todo)))
        # Pinned before it runs: a run killed in between would leave a machine whose key nobody knows.
        await asyncio.gather(*(asyncio.to_thread(self._start, host.name) for host in todo))

    def _prepare(self) -> None:
        self._home.make()
        _require_real_filesystem(self._home.path)
        if self._releases:
            self._releases.mkdir(exist_ok=True)
        with _machine_wide_lock():
            self._network.ensure(self._journal)
        ensure_operator_key(self._home.ssh_key)

    def _make(self, host: HostSpec, base: Path) -> str:
        """Returns the machine's line for known_hosts."""
        folder = self._folder(host.name)
        nspawn_process.end_machine(self.machine_name(host.name), folder / "root")
        for part in ("upper", "work", "root", *REAL_DIRECTORIES):
            (folder / part).mkdir(parents=True, exist_ok=True)
        root = folder / "root"
        _mount_overlay(base, folder)
        public = _ensure_host_key(root)
        self._write_files(host, root)
        (folder / "made").touch()
        return f"{host.address} {public}"

    def _start(self, host: str) -> None:
        folder = self._folder(host)
        binds = {folder / part: inside for part, inside in REAL_DIRECTORIES.items()}
        read_only = {}
        if self._releases and not self._has_own_releases(folder):
            read_only[self._releases] = str(settings.RELEASES)
        name = self.machine_name(host)
        console = folder / "console.log"
        nspawn_process.start_machine(name, host, folder / "root", self._network.bridge, binds, read_only, console)

    def _has_own_releases(self, folder: Path) -> bool:
        """Whether releases were sent to the machine; the shared ones would hide them."""
        own = folder / "upper" / settings.RELEASES.relative_to("/")
        return own.is_dir() and any(own.iterdir())

    def start(self, host: str) -> None:
        """
        Switch a stopped machine on again, with all it has on its disks.

        Raises HostUnfitError when this machine was restarted since: mounts and bridge are gone, `create` makes them.
        """
        if not self._network.exists() or not os.path.ismount(self._folder(host) / "root"):
            raise HostUnfitError(
                f"machine {host} cannot be started alone",
                why="this machine was restarted since, and the bridge or the machine's mount is gone",
                next_step=f"Run `provision cluster {self._home.name}`, which makes them again.",
            )
        self.kill(host)
        self._start(host)

    def kill(self, host: str) -> None:
        """Pull the plug."""
        nspawn_process.end_machine(self.machine_name(host), self._folder(host) / "root")

    def _write_files(self, host: HostSpec, root: Path) -> None:
        network = _NETWORK.format(address=host.address, prefix=self._prefix, gateway=self._network.gateway)
        files = {
            "etc/hostname": f"{host.name}\n",
            "etc/hosts": f"127.0.0.1 localhost\n{host.address} {host.name}\n",
            "etc/resolv.conf": _nameservers(),
            "etc/systemd/network/10-host0.network": network,
            "root/.ssh/authorized_keys": self._home.ssh_key.with_suffix(".pub").read_text(),
        }
        if not (root / "etc/machine-id").read_text().strip():
            files["etc/machine-id"] = f"{uuid.uuid4().hex}\n"
        if nspawn_process.has_cgroup_v1():
            files["etc/systemd/system/hanse-machine.service"] = _CGROUP_UNIT
            wants = root / "etc/systemd/system/sysinit.target.wants/hanse-machine.service"
            wants.parent.mkdir(parents=True, exist_ok=True)
            wants.unlink(missing_ok=True)
            wants.symlink_to("../hanse-machine.service")
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        (root / "root/.ssh").chmod(0o700)

    def _unpin(self, host: HostSpec) -> None:
        """Its address may become another machine's."""
        if self._home.known_hosts.exists():
            kept = [
                line for line in self._home.known_hosts.read_text().splitlines() if line.split()[:1] != [host.address]
            ]
            write_atomically(self._home.known_hosts, "".join(f"{line}\n" for line in kept).encode(), mode=0o600)

    def _pin(self, lines: Sequence[str]) -> None:
        """The provider made the host keys, so nobody has to trust a first contact."""
        known = self._home.known_hosts.read_text().splitlines() if self._home.known_hosts.exists() else []
        addresses = {line.split()[0] for line in lines}
        kept = [line for line in known if line.split()[:1] and line.split()[0] not in addresses]
        write_atomically(self._home.known_hosts, "".join(f"{x}\n" for x in [*kept, *lines]).encode(), mode=0o600)

    async def remove(self, hosts: Sequence[HostSpec], report: Report) -> None:
        for host in hosts:
            report(f"{host.name}: remove the machine")
            await asyncio.to_thread(self._remove_machine, host.name)
            self._unpin(host)
            self._journal.has_removed("machine", host.name)

    async def destroy(self, report: Report) -> None:
        await asyncio.to_thread(self._destroy, report)

    def _destroy(self, report: Report) -> None:
        """Backwards through the journal, so that nothing is removed before what stands on it."""
        for made in reversed(self._journal.entries()):
            if made.kind == "machine":
                report(f"{made.name}: remove the machine")
                self._remove_machine(made.name)
            elif made.kind == "nft_table":
                local_network.remove_table(made.name)
            elif made.kind == "bridge":
                local_network.remove_link(made.name)
            elif made.kind == "sysctl":
                continue  # last, when it is known whether another cluster needs it
            self._journal.has_removed(made.kind, made.name)
        for made in self._journal.entries():
            local_network.restore_sysctl(made.name, made.before)
            self._journal.has_removed(made.kind, made.name)

    def _remove_machine(self, host: str) -> None:
        folder = self._folder(host)
        self.kill(host)
        nspawn_process.remove_cgroups(self.machine_name(host))
        while os.path.ismount(folder / "root"):
            run_program(["umount", "--lazy", str(folder / "root")])
        if folder.exists():
            shutil.rmtree(folder)

    def _folder(self, host: str) -> Path:
        return self._home.machines / host


def _mount_overlay(base: Path, folder: Path) -> None:
    """Mount the machine's root unless it is: a restart of the operator's machine unmounts it."""
    if not os.path.ismount(folder / "root"):
        options = f"lowerdir={base},upperdir={folder / 'upper'},workdir={folder / 'work'}"
        run_program(["mount", "-t", "overlay", "overlay", "-o", options, str(folder / "root")])


def _ensure_host_key(root: Path) -> str:
    """The machine's SSH identity; returns `ssh-ed25519 …`."""
    path = root / "etc/ssh/ssh_host_ed25519_key"
    return ensure_key(path)


def ensure_operator_key(path: Path) -> str:
    """The key the machines accept; returns its public half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    return ensure_key(path)


def ensure_key(path: Path) -> str:
    """An Ed25519 key pair in OpenSSH's form, made when there is none."""
    public = path.with_name(f"{path.name}.pub")
    if not path.exists() or not public.exists():
        key = ed25519.Ed25519PrivateKey.generate()
        private_bytes = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        public_bytes = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        write_atomically(path, private_bytes, mode=0o600)
        write_atomically(public, public_bytes + b"\n", mode=0o644)
    return public.read_text().strip()


def _nameservers() -> str:
    """This machine's name servers; a stub on loopback would be the machine's own."""
    for source in ("/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"):
        path = Path(source)
        if path.exists():
            return path.read_text()
    return ""


def _require_real_filesystem(path: Path) -> None:
    kind = run_program(["stat", "--file-system", "--format=%T", str(path)]).stdout.strip()
    if kind in ("overlayfs", "nfs", "fuseblk"):
        raise HostUnfitError(
            "local machines cannot be made",
            why=f"{path} lies on {kind}, which carries no overlay",
            next_step="Set HANSE_HOME to a folder on ext4, xfs or btrfs, then run again.",
        )


@contextlib.contextmanager
def _machine_wide_lock() -> Iterator[None]:
    """Clusters of different homes share this machine's links and tables."""
    with Path("/run/hanse-local.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
