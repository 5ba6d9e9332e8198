"""
Are the hosts fit? Everything that is wrong with any of them, said at once, before the first change.

`host_faults` and `fleet_faults` are pure; each check says what to do.
"""

from collections.abc import Mapping, Sequence

from inventory.model import ClusterSpec, HostSpec, Role
from provisioner.bundle import contents
from provisioner.errors import HostUnfitError, ProvisionError
from provisioner.facts.host_facts import HostFacts
from provisioner.phase_runner import raise_together

MIN_MEMORY = 900 * 1024**2  # bytes; kubelet, proxy, DNS and runtime take 300 MB, a master's services as much again
MIN_FREE_STATE = 2 * 1024**3  # bytes below /var/lib: images, Pods' writable layers, etcd
_NEEDED_SPACE = {
    "/opt/hanse/releases": 1024**3,  # two releases, so that one can be rolled back
    "/var/lib": MIN_FREE_STATE,
    "/var/lib/containerd": MIN_FREE_STATE,
    "/var/lib/etcd": 512 * 1024**2,
}
"""Folder -> bytes. A folder below another may be a disk of its own."""
MAX_CLOCK_SKEW = 2.0  # seconds; certificates start five minutes back, leases and etcd want better
MIN_GLIBC = (2, 34)

PORTS: Mapping[Role, Mapping[int, str]] = {
    Role.ETCD: {2379: "etcd", 2380: "etcd"},
    Role.CONTROL_PLANE: {6443: "kube-apiserver", 10257: "kube-controller-manager", 10259: "kube-scheduler"},
    Role.NODE: {10250: "kubelet", 10248: "kubelet", 10249: "kube-proxy", 10256: "kube-proxy"},
}
"""Role -> port -> the unit that will listen there."""


def validate_hosts(spec: ClusterSpec, facts: Mapping[str, HostFacts]) -> None:
    """Hosts without facts are not made yet. Raises HostUnfitError, or SeveralHostsError of them."""
    if failures := unfit_hosts(spec, facts):
        raise_together(failures, len(spec.hosts))


def unfit_hosts(spec: ClusterSpec, facts: Mapping[str, HostFacts]) -> list[ProvisionError]:
    """An error for each unfit host of those whose facts are known, and one for what is wrong between them."""
    known = [host for host in spec.hosts if host.name in facts]
    failures: list[ProvisionError] = [
        _unfit(host.name, faults) for host in known if (faults := host_faults(host, facts[host.name]))
    ]
    if faults := fleet_faults(facts):
        failures.append(_unfit("", faults))
    return failures


def _unfit(host: str, faults: Sequence[tuple[str, str]]) -> HostUnfitError:
    return HostUnfitError(
        "the host is unfit" if host else "the hosts do not fit together",
        why="; ".join(why for why, _ in faults),
        next_step=" ".join(dict.fromkeys(step for _, step in faults)),
        host=host,
    )


def host_faults(host: HostSpec, facts: HostFacts) -> list[tuple[str, str]]:
    """(what is wrong, what to do) for everything that is wrong with one host."""
    faults = []

    def check(holds: bool, why: str, step: str) -> None:
        if not holds:
            faults.append((why, step))

    wanted = ".".join(str(part) for part in contents.HOST_PYTHON)
    check(facts.systemd, "systemd is not its init", "Use a host that boots with systemd.")
    check(facts.architecture == "x86_64", f"its architecture is {facts.architecture}", "Use x86_64 hosts.")
    check(
        facts.python == contents.HOST_PYTHON,
        f"its Python is {facts.python[0]}.{facts.python[1]}, the bundle is compiled for {wanted}",
        f"Use a host with Python {wanted}, as Debian 12 has.",
    )
    check(facts.glibc >= MIN_GLIBC, f"its C library is {facts.glibc[0]}.{facts.glibc[1]}", "Use glibc 2.34 or newer.")
    check(
        not facts.missing_programs,
        f"it lacks {', '.join(facts.missing_programs)}",
        f"Run `apt-get install {' '.join(_packages(facts.missing_programs))}` there.",
    )
    check(facts.memory >= MIN_MEMORY, f"it has {facts.memory >> 20} MB of memory", f"Give it {MIN_MEMORY >> 20} MB.")
    check(not facts.swap, "it swaps, which makes Pods' memory limits meaningless", "Run `swapoff -a` there.")
    for folder, least in _NEEDED_SPACE.items():
        free = facts.free.get(folder, 0)
        if folder == "/var/lib" or free != facts.free.get("/var/lib"):  # the same disk is told once
            check(free >= least, f"{folder} has {free >> 20} MB free", f"Make {least >> 20} MB free below {folder}.")
    check(
        abs(facts.clock_skew) <= MAX_CLOCK_SKEW,
        f"its clock is {facts.clock_skew:+.1f} s off ours",
        "Set up time synchronisation (`apt-get install systemd-timesyncd`).",
    )
    interface = facts.addresses.get(host.address)
    check(
        interface is not None,
        f"no interface of it holds {host.address}; it has {', '.join(facts.addresses) or 'none'}",
        "Correct `address` in the inventory.",
    )
    for port, unit, program in _foreign_ports(host, facts):
        check(False, f"port {port} of {unit} is taken by {program}", f"Stop {program} there.")
    return faults


def _foreign_ports(host: HostSpec, facts: HostFacts) -> list[tuple[int, str, str]]:
    """Ports that we need and that somebody else has than the unit that should."""
    return [
        (port, unit, facts.listening[port])
        for role in sorted(host.roles)
        for port, unit in PORTS[role].items()
        if port in facts.listening and facts.listening_units.get(port) != unit
    ]


def fleet_faults(facts: Mapping[str, HostFacts]) -> list[tuple[str, str]]:
    """What is wrong between hosts."""
    if not facts:
        return []
    clocks = {name: known.clock_skew for name, known in facts.items()}
    first, last = min(clocks, key=lambda n: clocks[n]), max(clocks, key=lambda n: clocks[n])
    if clocks[last] - clocks[first] > MAX_CLOCK_SKEW:
        gap = clocks[last] - clocks[first]
        return [
            (f"the clocks of {first} and {last} differ by {gap:.1f} s", "Set up time synchronisation on all hosts.")
        ]
    return []


def _packages(programs: Sequence[str]) -> list[str]:
    owners = {"useradd": "passwd", "ip": "iproute2", "systemctl": "systemd"}
    return sorted({owners.get(program, program) for program in programs})
