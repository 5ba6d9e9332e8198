"""Checks of memory, processors and disks. Pure."""

from collections.abc import Iterator

from inventory.model import Role
from provisioner.preflight.model import Check, Finding, Severity, Subject, unless

MIN_MEMORY = 900 * 1024**2  # bytes; kubelet, proxy, DNS and runtime take 300 MB, a master's services as much again
MIN_AVAILABLE = 400 * 1024**2
MIN_FREE_STATE = 2 * 1024**3  # bytes below /var/lib: images, Pods' writable layers, etcd
NEEDED_SPACE = {
    "/opt/hanse/releases": 1024**3,  # two releases, so that one can be rolled back
    "/var/lib": MIN_FREE_STATE,
    "/var/lib/containerd": MIN_FREE_STATE,
    "/var/lib/etcd": 512 * 1024**2,
}
"""Folder -> bytes. A folder below another may be a disk of its own."""
MIN_FREE_LOG = 100 * 1024**2
MIN_FREE_RUN = 32 * 1024**2
MIN_FREE_TMP = 32 * 1024**2
MIN_FREE_INODES = 0.05
SLOW_FSYNC, HOPELESS_FSYNC = 0.05, 1.0  # seconds; etcd wants 10 ms and loses its leader from one second on
REMOTE_FILESYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs")
LOAD_PER_CORE = 8.0


def _space(folder: str) -> Check:
    def judge(subject: Subject) -> Iterator[Finding]:
        if folder == "/var/lib/etcd" and not subject.host.has(Role.ETCD):
            return
        least, free = NEEDED_SPACE[folder], subject.facts.free.get(folder, 0)
        # The same disk is told once.
        same = folder != "/var/lib" and free == subject.facts.free.get("/var/lib")
        if free < least and not same:
            yield Finding(f"{folder} has {free >> 20} MB free", f"Make {least >> 20} MB free below {folder}.")

    name = {"/opt/hanse/releases": "releases", "/var/lib": "state"}.get(folder, folder.rpartition("/")[2])
    return Check(f"disk.{name}", f"{folder} has room", "Make room.", host=judge, by_facts=True)


def _small_space(name: str, folder: str, least: int) -> Check:
    def judge(subject: Subject) -> Iterator[Finding]:
        free = subject.examined["free"][folder]
        if free < least:
            yield Finding(f"{folder} has {free >> 20} MB free", f"Make {least >> 20} MB free below {folder}.")

    return Check(f"disk.{name}", f"{folder} has room", "Make room.", Severity.WARNING, host=judge)


def _inodes(subject: Subject) -> Iterator[str]:
    for folder in ("/var/lib", "/var/lib/containerd", "/opt/hanse/releases"):
        if subject.examined["inodes"][folder] < MIN_FREE_INODES:
            yield f"{folder} has {subject.examined['inodes'][folder]:.0%} of its inodes left"
            return


def _fsync(subject: Subject) -> float | None:
    found = subject.examined["fsync"].get("/var/lib/etcd") if subject.host.has(Role.ETCD) else 0.0
    return None if found is None else float(found)


def _slow_fsync(subject: Subject) -> Iterator[str]:
    took = _fsync(subject)
    if took is not None and SLOW_FSYNC < took <= HOPELESS_FSYNC:
        yield f"a write to /var/lib/etcd takes {took * 1000:.0f} ms to be on the disk; etcd wants 10 ms"


def _hopeless_fsync(subject: Subject) -> Iterator[str]:
    took = _fsync(subject)
    if took is not None and took > HOPELESS_FSYNC:
        yield f"a write to /var/lib/etcd takes {took:.1f} s to be on the disk; etcd's members would lose each other"


def _not_written(subject: Subject) -> Iterator[str]:
    if subject.host.has(Role.ETCD) and _fsync(subject) is None:
        yield "nothing can be written to /var/lib/etcd"


def _runtime_filesystem(subject: Subject) -> Iterator[str]:
    kind = subject.examined["mounts"]["/var/lib/containerd"][0]
    if kind in ("overlay", "aufs", "tmpfs", *REMOTE_FILESYSTEMS):
        yield f"/var/lib/containerd is on {kind}, which holds no overlays of containers"


def _etcd_filesystem(subject: Subject) -> Iterator[str]:
    kind = subject.examined["mounts"]["/var/lib/etcd"][0]
    if subject.host.has(Role.ETCD) and kind in ("tmpfs", "ramfs", *REMOTE_FILESYSTEMS):
        yield f"/var/lib/etcd is on {kind}, which loses what was written or lies about it"


def _cores(subject: Subject) -> Iterator[str]:
    if subject.host.has(Role.CONTROL_PLANE) and subject.examined["cpus"] < 2:
        yield "it has one core for a control plane"


def _load(subject: Subject) -> Iterator[str]:
    if subject.examined["load"] > LOAD_PER_CORE * subject.examined["cpus"]:
        yield f"{subject.examined['load']:.0f} programs wait for {subject.examined['cpus']} cores"


def _available(subject: Subject) -> Iterator[str]:
    if not subject.ours and subject.examined["memory_available"] < MIN_AVAILABLE:
        yield f"{subject.examined['memory_available'] >> 20} MB of its memory are free"


CHECKS: tuple[Check, ...] = (
    Check(
        "memory.total",
        "it has memory",
        f"Give it {MIN_MEMORY >> 20} MB.",
        by_facts=True,
        host=lambda s: unless(s.facts.memory >= MIN_MEMORY, f"it has {s.facts.memory >> 20} MB of memory"),
    ),
    Check("memory.available", "its memory is free", "End what takes it.", Severity.WARNING, host=_available),
    Check(
        "memory.swap",
        "it does not swap",
        "Run `swapoff -a` there and take it out of /etc/fstab.",
        by_facts=True,
        host=lambda s: unless(not s.facts.swap, "it swaps, which makes Pods' memory limits meaningless"),
    ),
    Check("cpu.cores", "a master has two cores", "Give it two.", Severity.WARNING, host=_cores),
    Check("cpu.load", "its cores are free", "End what takes them.", Severity.WARNING, host=_load),
    *(_space(folder) for folder in NEEDED_SPACE),
    _small_space("log", "/var/log", MIN_FREE_LOG),
    _small_space("run", "/run", MIN_FREE_RUN),
    _small_space("tmp", "/tmp", MIN_FREE_TMP),  # noqa: S108 - looked at, not used
    Check(
        "disk.inodes", "files can be made", "Remove files, or make the filesystem anew with more inodes.", host=_inodes
    ),
    Check(
        "disk.fsync", "etcd's disk is fast", "Put /var/lib/etcd on a faster disk.", Severity.WARNING, host=_slow_fsync
    ),
    Check(
        "disk.fsync-hopeless", "etcd's disk is bearable", "Put /var/lib/etcd on a faster disk.", host=_hopeless_fsync
    ),
    Check("disk.etcd-written", "etcd's disk takes writes", "Look at the disk (`dmesg`, `df`).", host=_not_written),
    Check(
        "disk.containerd-filesystem",
        "containers' files have a filesystem of their kind",
        "Mount ext4 or xfs at /var/lib/containerd.",
        host=_runtime_filesystem,
    ),
    Check("disk.etcd-filesystem", "etcd's files stay", "Mount ext4 or xfs at /var/lib/etcd.", host=_etcd_filesystem),
)
