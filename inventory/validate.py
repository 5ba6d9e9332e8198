"""
Does a description fit together? Everything that can be said without asking a host. Pure.

Called by   inventory.load, and the local source for what the command line says.
Not here    the form of single values (load.py); what real hosts look like (provisioner.phases.validate_hosts).
"""

import ipaddress
import re
from collections import defaultdict
from itertools import combinations

from inventory.faults import Fault, Path
from inventory.fields import CLUSTER_NAME_PATTERN, NAME_PATTERN
from inventory.model import ClusterSpec, Role
from inventory.topology import MAX_ETCD_MEMBERS, even_quorum, federation_size_faults

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MIN_SERVICE_ADDRESSES = 16
"""The API has the first address of the service network, cluster DNS the tenth."""

MAX_ZONE = 200
"""Characters; names below it need the rest of DNS's 253."""

_TAINT = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_./]*(=[-A-Za-z0-9_.]*)?:(NoSchedule|PreferNoSchedule|NoExecute)")
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_BASTION = re.compile(r"([^@\s]+@)?[^@:\s]+(:\d{1,5})?")


def validate(spec: ClusterSpec) -> list[Fault]:
    """Every fault. Roles must have been chosen already (`topology.with_default_roles`)."""
    faults: list[Fault] = []
    if not re.fullmatch(CLUSTER_NAME_PATTERN, spec.name):
        faults.append(Fault(("name",), f'"{spec.name}" is not allowed; it must match {CLUSTER_NAME_PATTERN}'))
    faults += _unique(spec)
    faults += _federation(spec) if spec.federation else _roles(spec)
    faults += _hosts(spec)
    faults += _virtual_address(spec) if spec.federation else _networks(spec)
    if spec.etcd.election_timeout < 5 * spec.etcd.heartbeat_interval:
        least = 5 * spec.etcd.heartbeat_interval
        message = f"{spec.etcd.election_timeout} ms is less than 5 heartbeats, {least} ms"
        faults.append(Fault(("etcd", "election_timeout"), message))
    return faults


def _unique(spec: ClusterSpec) -> list[Fault]:
    faults = []
    for field in ("name", "address"):
        first: dict[str, int] = {}
        for number, host in enumerate(spec.hosts):
            value = getattr(host, field)
            if value in first:
                path: Path = ("hosts", number, field)
                faults.append(Fault(path, f'"{value}" is already the {field} of hosts[{first[value]}]'))
            first.setdefault(value, number)
    return faults


def _roles(spec: ClusterSpec) -> list[Fault]:
    faults = []
    count: dict[Role, int] = defaultdict(int)
    for number, host in enumerate(spec.hosts):
        for role in host.roles:
            count[role] += 1
        if not host.roles:
            faults.append(Fault(("hosts", number), f'"{host.name}" has no roles while other hosts have; give it some'))
    for role, needs in (
        (Role.ETCD, "keeps the state"),
        (Role.CONTROL_PLANE, "serves the API"),
        (Role.NODE, "runs Pods"),
    ):
        if count[role] == 0:
            faults.append(Fault(("hosts",), f"no host has the role {role}, which {needs}"))
    members = count[Role.ETCD]
    if members and members % 2 == 0:
        faults.append(Fault(("hosts",), even_quorum(members)))
    if members > MAX_ETCD_MEMBERS:
        faults.append(Fault(("hosts",), f"{members} etcd members are more than {MAX_ETCD_MEMBERS}"))
    return faults


def _federation(spec: ClusterSpec) -> list[Fault]:
    assert spec.federation is not None  # noqa: S101 - the caller asked
    faults = [*federation_size_faults(len(spec.hosts)), *zone_faults(spec.federation.zone)]
    if spec.control_plane.virtual_address and len(spec.hosts) == 1:
        faults.append(Fault(("control_plane", "virtual_address"), "one host needs none: nobody could take it over"))
    return faults


def zone_faults(zone: str) -> list[Fault]:
    """What is wrong with a DNS zone, in lower case and without its last dot."""
    labels = zone.split(".")
    if len(labels) >= 2 and len(zone) <= MAX_ZONE and all(re.fullmatch(NAME_PATTERN, label) for label in labels):
        return []
    return [Fault(("dns-zone",), f'"{zone}" is no zone for names; give one such as fed.example.com')]


def _hosts(spec: ClusterSpec) -> list[Fault]:
    faults = []
    for number, host in enumerate(spec.hosts):
        here: Path = ("hosts", number)
        for index, taint in enumerate(host.taints):
            if not _TAINT.fullmatch(taint):
                faults.append(Fault((*here, "taints", index), f'"{taint}" is not key=value:Effect'))
        for key, value in host.labels.items():
            if not _LABEL_KEY.fullmatch(key):
                faults.append(Fault((*here, "labels", key), f'"{key}" is not a label\'s key'))
            if not _LABEL_VALUE.fullmatch(value):
                faults.append(Fault((*here, "labels", key), f'"{value}" is not a label\'s value'))
        if host.ssh.bastion and not _BASTION.fullmatch(host.ssh.bastion):
            faults.append(Fault((*here, "ssh", "bastion"), f'"{host.ssh.bastion}" is not user@host:port'))
    return faults


def _networks(spec: ClusterSpec) -> list[Fault]:
    faults = []
    service, pods = ipaddress.ip_network(spec.network.service_cidr), ipaddress.ip_network(spec.network.pod_cidr)
    for one, other in combinations((("service_cidr", service), ("pod_cidr", pods)), 2):
        if _overlap(one[1], other[1]):
            faults.append(Fault(("network", other[0]), f"{other[1]} overlaps {one[0]} {one[1]}"))
    if service.num_addresses < MIN_SERVICE_ADDRESSES:
        faults.append(Fault(("network", "service_cidr"), f"{service} has fewer than {MIN_SERVICE_ADDRESSES} addresses"))
    faults += _node_shares(spec, pods)
    places: list[tuple[Path, str]] = [(("hosts", n, "address"), host.address) for n, host in enumerate(spec.hosts)]
    if spec.control_plane.virtual_address:
        places.append((("control_plane", "virtual_address"), spec.control_plane.virtual_address))
    for path, text in places:
        address = ipaddress.ip_address(text)
        for name, network in (("service_cidr", service), ("pod_cidr", pods)):
            if address in network:
                faults.append(Fault(path, f"{address} lies in {name} {network}; hosts need addresses of their own"))
    return [*faults, *_virtual_address(spec)]


def _virtual_address(spec: ClusterSpec) -> list[Fault]:
    address = spec.control_plane.virtual_address
    if address in {host.address for host in spec.hosts}:
        return [Fault(("control_plane", "virtual_address"), f"{address} is a host's own; give an unused one")]
    return []


def _node_shares(spec: ClusterSpec, pods: Network) -> list[Fault]:
    size = spec.network.node_mask_size
    path: Path = ("network", "node_mask_size")
    if size <= pods.prefixlen:
        return [Fault(path, f"/{size} is no part of pod_cidr {pods}; it must be longer than /{pods.prefixlen}")]
    if size > pods.max_prefixlen - 2:
        return [Fault(path, f"/{size} leaves a node no addresses; use /{pods.max_prefixlen - 2} at most")]
    shares = 2 ** (size - pods.prefixlen)
    if shares < len(spec.with_role(Role.NODE)):
        return [Fault(path, f"pod_cidr {pods} has {shares} shares of /{size}, fewer than there are nodes")]
    return []


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)
