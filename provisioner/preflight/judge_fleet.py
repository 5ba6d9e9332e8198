"""Checks between hosts. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from inventory.model import Role
from provisioner.preflight.judge_system import MAX_CLOCK_SKEW
from provisioner.preflight.model import Check, Finding, Fleet, Severity, Subject

_NO_UUID = ("", "Not Settable", "00000000-0000-0000-0000-000000000000", "03000200-0400-0500-0006-000700080009")


def _unique(what: str, value: Callable[[Subject], Iterable[str]]) -> Callable[[Fleet], Iterator[str]]:
    def judge(fleet: Fleet) -> Iterator[str]:
        owners: dict[str, list[str]] = defaultdict(list)
        for subject in fleet.subjects:
            for one in set(value(subject)):
                owners[one].append(subject.host.name)
        for one, names in sorted(owners.items()):
            if len(names) > 1:
                yield f"{', '.join(names)} have the same {what}, {one}"

    return judge


def _machine_ids(subject: Subject) -> Iterable[str]:
    return [subject.examined["machine_id"]] if subject.examined["machine_id"] else []


def _uuids(subject: Subject) -> Iterable[str]:
    contained = subject.examined["virtual"] in ("systemd-nspawn", "lxc", "docker", "podman")
    uuid = subject.examined["product_uuid"]
    return [] if contained or uuid in _NO_UUID else [uuid]


def _macs(subject: Subject) -> Iterable[str]:
    interface = subject.facts.addresses.get(subject.host.address, "")
    return [one["mac"] for one in subject.examined["devices"] if one["name"] == interface and one["mac"]]


def _addresses(subject: Subject) -> Iterable[str]:
    own = {other.address for other in subject.spec.hosts}
    return [address for address in subject.facts.addresses if address in own]


def _clocks(fleet: Fleet) -> Iterator[str]:
    clocks = {subject.host.name: subject.facts.clock_skew for subject in fleet.subjects}
    if not clocks:
        return
    first, last = min(clocks, key=lambda name: clocks[name]), max(clocks, key=lambda name: clocks[name])
    if clocks[last] - clocks[first] > MAX_CLOCK_SKEW:
        yield f"the clocks of {first} and {last} differ by {clocks[last] - clocks[first]:.1f} s"


def _reachable(fleet: Fleet) -> Iterator[Finding]:
    for one in fleet.reach:
        if one.lost:
            yield Finding(f"{one.target} does not answer", host=one.source)


def _ports_open(fleet: Fleet) -> Iterator[Finding]:
    for one in fleet.reach:
        if one.closed and not one.lost:
            ports = ", ".join(str(port) for port in one.closed)
            yield Finding(f"it does not reach {one.target} at port {ports}", host=one.source)


def _whole_packets(fleet: Fleet) -> Iterator[Finding]:
    for one in fleet.reach:
        if not one.whole_mtu and not one.lost:
            yield Finding(f"packets of its interface's size do not arrive at {one.target}", host=one.source)


def _near(fleet: Fleet) -> Iterator[Finding]:
    members = {host.name for host in fleet.spec.with_role(Role.ETCD)}
    beat = fleet.spec.etcd.heartbeat_interval / 1000
    for one in fleet.reach:
        if one.source in members and one.target in members and one.seconds > beat / 2:
            yield Finding(
                f"{one.target} is {one.seconds * 1000:.0f} ms away, and etcd's heartbeat is every {beat * 1000:.0f} ms",
                host=one.source,
            )


def _alike(fleet: Fleet) -> Iterator[str]:
    systems = sorted({subject.facts.os_name for subject in fleet.subjects if subject.facts.os_name})
    if len(systems) > 1:
        yield f"hosts run different systems: {', '.join(systems)}"


def _virtual_address(fleet: Fleet) -> Iterator[str]:
    wanted = fleet.spec.control_plane.virtual_address
    if wanted and not any(subject.ours for subject in fleet.subjects):
        for subject in fleet.subjects:
            if wanted in subject.facts.addresses:
                yield f"{subject.host.name} has the virtual address {wanted} already"


CHECKS: tuple[Check, ...] = (
    Check(
        "fleet.machine-id",
        "every host has its own machine id",
        "Run `rm /etc/machine-id && systemd-machine-id-setup` on copies.",
        fleet=_unique("machine id", _machine_ids),
    ),
    Check(
        "fleet.product-uuid",
        "every host has its own hardware id",
        "Clone machines with a new uuid.",
        Severity.WARNING,
        fleet=_unique("hardware id", _uuids),
    ),
    Check(
        "fleet.mac",
        "every interface has its own address",
        "Give the copies new MAC addresses.",
        fleet=_unique("MAC address", _macs),
    ),
    Check(
        "fleet.addresses",
        "no address is taken twice",
        "Correct the hosts' network settings.",
        by_facts=True,
        fleet=_unique("address", _addresses),
    ),
    Check(
        "fleet.hostnames",
        "every host has its own hostname",
        "Set one with `hostnamectl set-hostname`.",
        Severity.WARNING,
        fleet=_unique("hostname", lambda s: [s.examined["hostname"]]),
    ),
    Check("fleet.clocks", "clocks agree", "Set up time synchronisation on all hosts.", by_facts=True, fleet=_clocks),
    Check("fleet.reach", "hosts reach each other", "Open the network between them.", fleet=_reachable),
    Check("fleet.ports", "hosts reach each other's ports", "Open these ports between them.", fleet=_ports_open),
    Check(
        "fleet.mtu", "large packets arrive", "Lower the interfaces' MTU to what the path carries.", fleet=_whole_packets
    ),
    Check(
        "fleet.distance",
        "etcd's members are near",
        "Raise etcd.heartbeat_interval and etcd.election_timeout.",
        Severity.WARNING,
        fleet=_near,
    ),
    Check(
        "fleet.alike",
        "hosts run the same system",
        "Nothing has to be done; upgrades are simpler with one.",
        Severity.WARNING,
        fleet=_alike,
    ),
    Check(
        "fleet.virtual-address",
        "the virtual address is nobody's",
        "Choose an unused one.",
        by_facts=True,
        fleet=_virtual_address,
    ),
)
