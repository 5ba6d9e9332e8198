"""Checks of the operating system, the kernel and control groups. Pure."""

import re
from collections.abc import Iterator

from provisioner.bundle import contents
from provisioner.preflight.model import Check, Finding, Severity, Subject, unless

MAX_CLOCK_SKEW = 2.0  # seconds; certificates start five minutes back, leases and etcd want better
MIN_GLIBC = (2, 34)
SLOW_ROUND_TRIP = 0.5  # seconds; a run makes about sixty of them on each host
DISTRIBUTIONS = {"debian": ("12", "13"), "ubuntu": ("22.04", "24.04")}
_PACKAGES = {"useradd": "passwd", "ip": "iproute2", "systemctl": "systemd"}
_MIN_KERNEL = (5, 4)
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
_NEEDED_CONTROLLERS = ("cpu", "memory", "pids")


def _python(subject: Subject) -> Iterator[Finding]:
    wanted = ".".join(str(part) for part in contents.HOST_PYTHON)
    if subject.facts.python != contents.HOST_PYTHON:
        has = ".".join(str(part) for part in subject.facts.python)
        yield Finding(
            f"its Python is {has}, the bundle is compiled for {wanted}",
            f"Use a host with Python {wanted}, as Debian 12 has.",
        )


def _programs(subject: Subject) -> Iterator[Finding]:
    if missing := subject.facts.missing_programs:
        packages = " ".join(sorted({_PACKAGES.get(name, name) for name in missing}))
        yield Finding(f"it lacks {', '.join(missing)}", f"Run `apt-get install {packages}` there.")


def _distribution(subject: Subject) -> Iterator[str]:
    if subject.facts.os_id not in DISTRIBUTIONS:
        yield f"it runs {subject.facts.os_name or 'an unknown system'}"


def _failed_units(subject: Subject) -> Iterator[str]:
    failed = [
        name for name in subject.examined["failed_units"] if name.removesuffix(".service") not in subject.facts.units
    ]
    if failed:
        yield f"units have failed: {', '.join(failed[:5])}"


def _hostname(subject: Subject) -> Iterator[str]:
    name = subject.examined["hostname"]
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", name):
        yield f'its hostname "{name}" is no DNS name'


def _localhost(subject: Subject) -> Iterator[str]:
    if subject.examined["hostname"] in ("localhost", "localhost.localdomain", ""):
        yield "its hostname is localhost, as other hosts' may be"


def _writable(subject: Subject) -> Iterator[str]:
    for folder, can in sorted(subject.examined["writable"].items()):
        # Local machines see the releases of the operator's, which only that writes.
        shared = folder == "/opt/hanse/releases" and subject.ours
        if not can and not shared:
            yield f"{folder} cannot be written"


def _executable(subject: Subject) -> Iterator[str]:
    for folder in ("/opt/hanse/releases", "/var/lib", "/var/lib/containerd", "/var/lib/kubelet"):
        if "noexec" in subject.examined["mounts"][folder][1].split(","):
            yield f"{folder} lies on a filesystem mounted noexec"


def _devices_allowed(subject: Subject) -> Iterator[str]:
    if "nodev" in subject.examined["mounts"]["/var/lib/containerd"][1].split(","):
        yield "/var/lib/containerd lies on a filesystem mounted nodev, and images may hold devices"


def _kernel(subject: Subject) -> Iterator[str]:
    found = re.match(r"(\d+)\.(\d+)", subject.examined["kernel"])
    if not found or (int(found[1]), int(found[2])) < _MIN_KERNEL:
        yield f"its kernel is {subject.examined['kernel']}"


def _overlay(subject: Subject) -> Iterator[str]:
    # A module that is not loaded yet is not listed; the runtime loads it when it mounts the first one.
    if "overlay" not in subject.examined["filesystems"] and "docker" not in subject.examined["units"]:
        yield "its kernel lists no filesystem overlay"


def _link(kind: str) -> Check:
    def judge(subject: Subject) -> Iterator[str]:
        if not subject.examined["links"].get(kind):
            yield f"its kernel makes no {kind} link"

    severity = Severity.ERROR
    title = {
        "veth": "Pods get their interfaces",
        "bridge": "Pods of a node share a bridge",
        "vxlan": "Pods reach other nodes",
    }
    return Check(f"kernel.{kind}", title[kind], f"Use a kernel with {kind} (`modprobe {kind}`).", severity, host=judge)


def _namespaces(subject: Subject) -> Iterator[str]:
    if missing := sorted(set(_NAMESPACES) - set(subject.examined["namespaces"])):
        yield f"its kernel has no namespaces for {', '.join(missing)}"


def _conntrack(subject: Subject) -> Iterator[str]:
    if subject.examined.setting("net/netfilter/nf_conntrack_max") is None and not subject.examined["nf_tables"]:
        yield "its kernel follows no connections"


def _at_least(setting: str, least: int, what: str) -> Check:
    key = setting.replace("/", ".")

    def judge(subject: Subject) -> Iterator[str]:
        value = subject.examined.setting(setting)
        if value is not None and value < least:
            yield f"{key} is {value}, {what}"

    identifier = f"kernel.{setting.rpartition('/')[2].replace('_', '-')}"
    return Check(
        identifier, f"{key} is large enough", f"Run `sysctl {key}={least}` there.", Severity.WARNING, host=judge
    )


def _reverse_path(subject: Subject) -> Iterator[str]:
    if subject.examined.setting("net/ipv4/conf/all/rp_filter") == 1:
        yield "net.ipv4.conf.all.rp_filter is strict, and answers to Pods that come another way are dropped"


def _ipv6(subject: Subject) -> Iterator[str]:
    if ":" in subject.host.address and subject.examined.setting("net/ipv6/conf/all/disable_ipv6"):
        yield f"its address is {subject.host.address} and IPv6 is disabled"


def _local_ports(subject: Subject) -> Iterator[str]:
    first = subject.examined.setting("net/ipv4/ip_local_port_range")
    if first is not None and first <= 10259:
        yield f"outgoing connections take ports from {first} on, which our services listen at"


def _controllers(subject: Subject) -> Iterator[str]:
    if missing := sorted(set(_NEEDED_CONTROLLERS) - set(subject.examined["controllers"])):
        yield f"its control groups have no {', '.join(missing)}"


def _cpuset(subject: Subject) -> Iterator[str]:
    if "cpuset" not in subject.examined["controllers"]:
        yield "its control groups have no cpuset"


def _synchronised(subject: Subject) -> Iterator[str]:
    daemons = {"chrony", "chronyd", "ntp", "ntpsec", "systemd-timesyncd", "openntpd"}
    # A container has the clock of the machine that it runs on.
    contained = subject.examined["virtual"] in ("systemd-nspawn", "lxc", "docker", "podman")
    if not contained and not subject.examined["clock_synchronized"] and not daemons & set(subject.examined["units"]):
        yield "nothing keeps its clock right"


def _machine_id(subject: Subject) -> Iterator[str]:
    if not re.fullmatch(r"[0-9a-f]{32}", subject.examined["machine_id"]):
        yield f'its /etc/machine-id "{subject.examined["machine_id"][:40]}" is none'


CHECKS: tuple[Check, ...] = (
    Check(
        "os.systemd",
        "systemd is its init",
        "Use a host that boots with systemd.",
        by_facts=True,
        host=lambda s: unless(s.facts.systemd, "systemd is not its init"),
    ),
    Check(
        "os.distribution",
        "a distribution that is tried",
        "Use Debian 12 or a system with the same Python and C library.",
        by_facts=True,
        host=_distribution,
    ),
    Check(
        "os.architecture",
        "x86_64",
        "Use x86_64 hosts.",
        by_facts=True,
        host=lambda s: unless(s.facts.architecture == "x86_64", f"its architecture is {s.facts.architecture}"),
    ),
    Check("os.python", "the Python that the bundle is compiled for", "Use Debian 12.", by_facts=True, host=_python),
    Check(
        "os.glibc",
        "a C library that is new enough",
        "Use glibc 2.34 or newer.",
        by_facts=True,
        host=lambda s: unless(s.facts.glibc >= MIN_GLIBC, f"its C library is {s.facts.glibc[0]}.{s.facts.glibc[1]}"),
    ),
    Check("os.programs", "programs that laying down needs", "Install them.", by_facts=True, host=_programs),
    Check(
        "os.failed-units",
        "no unit has failed",
        "Read `systemctl --failed` there.",
        Severity.WARNING,
        host=_failed_units,
    ),
    Check(
        "os.reboot",
        "no reboot is due",
        "Reboot it before it carries Pods.",
        Severity.WARNING,
        host=lambda s: unless(not s.examined["reboot_required"], "an update asks for a reboot"),
    ),
    Check(
        "os.hostname",
        "its hostname is a DNS name",
        "Set one with `hostnamectl set-hostname`.",
        Severity.WARNING,
        host=_hostname,
    ),
    Check(
        "os.localhost",
        "it is called something",
        "Set one with `hostnamectl set-hostname`.",
        Severity.WARNING,
        host=_localhost,
    ),
    Check("os.machine-id", "it has an identity", "Run `systemd-machine-id-setup` there.", host=_machine_id),
    Check("os.writable", "folders can be written", "Mount it read-write.", host=_writable),
    Check("os.noexec", "programs can run from where they lie", "Mount it without noexec.", host=_executable),
    Check("os.nodev", "images can hold devices", "Mount it without nodev.", Severity.WARNING, host=_devices_allowed),
    Check(
        "os.selinux",
        "SELinux does not enforce",
        "Run `setenforce 0`, or write a policy for the services.",
        host=lambda s: unless(s.examined["selinux"] != "1", "SELinux enforces, and our services have no policy"),
    ),
    Check(
        "access.root",
        "commands run as root",
        "Log in as root, or set `become: true` in the inventory.",
        host=lambda s: unless(s.examined["uid"] == 0, f"commands run as user {s.examined['uid']}"),
    ),
    Check(
        "access.round-trip",
        "it answers soon",
        "Look at the network between, or use a bastion that is nearer.",
        Severity.WARNING,
        host=lambda s: unless(s.examined.round_trip < SLOW_ROUND_TRIP, f"commands take {s.examined.round_trip:.1f} s"),
    ),
    Check(
        "clock.skew",
        "its clock agrees with ours",
        "Set up time synchronisation (`apt-get install systemd-timesyncd`).",
        by_facts=True,
        host=lambda s: unless(
            abs(s.facts.clock_skew) <= MAX_CLOCK_SKEW, f"its clock is {s.facts.clock_skew:+.1f} s off ours"
        ),
    ),
    Check(
        "clock.synchronised",
        "something keeps its clock right",
        "Run `apt-get install systemd-timesyncd` there.",
        Severity.WARNING,
        host=_synchronised,
    ),
    Check("kernel.version", "a kernel that is new enough", "Use Linux 5.4 or newer.", host=_kernel),
    Check("kernel.overlay", "images can be layered", "Run `modprobe overlay` there.", host=_overlay),
    Check(
        "kernel.nf-tables",
        "Services can be translated",
        "Use a kernel with nf_tables (`modprobe nf_tables`).",
        host=lambda s: unless(bool(s.examined["nf_tables"]), "its kernel has no nf_tables"),
    ),
    Check("kernel.conntrack", "connections are followed", "Run `modprobe nf_conntrack` there.", host=_conntrack),
    _link("veth"),
    _link("bridge"),
    _link("vxlan"),
    Check("kernel.namespaces", "containers can be kept apart", "Use a kernel with all namespaces.", host=_namespaces),
    Check(
        "kernel.seccomp",
        "system calls can be filtered",
        "Use a kernel with seccomp filters.",
        Severity.WARNING,
        host=lambda s: unless(
            bool(s.examined["seccomp"]), "its kernel filters no system calls, so RuntimeDefault does nothing"
        ),
    ),
    Check(
        "kernel.rp-filter",
        "answers may come another way",
        "Run `sysctl net.ipv4.conf.all.rp_filter=2` there.",
        Severity.WARNING,
        host=_reverse_path,
    ),
    Check(
        "kernel.ipv6",
        "IPv6 is there where it is used",
        "Run `sysctl net.ipv6.conf.all.disable_ipv6=0` there.",
        host=_ipv6,
    ),
    Check(
        "kernel.local-ports",
        "outgoing connections leave our ports alone",
        "Run `sysctl net.ipv4.ip_local_port_range='32768 60999'` there.",
        Severity.WARNING,
        host=_local_ports,
    ),
    _at_least("kernel/pid_max", 32768, "few for a host with Pods"),
    _at_least("kernel/threads-max", 10000, "few for a host with Pods"),
    _at_least("fs/file-max", 100_000, "few for a host with Pods"),
    _at_least("fs/inotify/max_user_instances", 128, "and kubelets and log followers run out of it"),
    _at_least("fs/inotify/max_user_watches", 8192, "and log followers run out of it"),
    _at_least("net/netfilter/nf_conntrack_max", 32768, "and connections are dropped beyond"),
    _at_least("net/core/somaxconn", 128, "short for an apiserver's queue"),
    _at_least("kernel/random/entropy_avail", 128, "little for making keys"),
    Check(
        "cgroup.controllers", "Pods can be limited", "Boot with cgroups for cpu, memory and pids.", host=_controllers
    ),
    Check(
        "cgroup.cpuset",
        "cores can be given to Pods",
        "Boot with the cgroup controller cpuset.",
        Severity.WARNING,
        host=_cpuset,
    ),
)
