"""
Which host gets which role when only a number is said. Pure.

    machines   masters   etcd members   where
    1          1         1              the one
    2          1         1              the first
    3, 4       1         3              masters first
    5 and on   3         3              the masters

Every machine is a node. Masters carry a taint as long as a node without it remains.
"""

import dataclasses
from collections.abc import Collection, Mapping

from inventory.faults import Fault
from inventory.model import ClusterSpec, HostSpec, Role

CONTROL_PLANE_TAINT = "node-role.kubernetes.io/control-plane:NoSchedule"

MAX_ETCD_MEMBERS = 7
"""More members make writes slower and survive no fault that happens. Source: etcd's FAQ, which names 7."""


FEDERATION_SIZES = (1, 3, 5)
"""Hosts of a federation: all are members of its etcd, except for a single one."""


def default_masters(machines: int) -> int:
    return 3 if machines >= 5 else 1


def default_etcd_members(machines: int, masters: int) -> int:
    """Odd; at least as many as the table says, and on every master up to the limit."""
    wanted = max(3 if machines >= 3 else 1, min(masters, machines, MAX_ETCD_MEMBERS))
    return wanted if wanted % 2 else wanted - 1


def override_faults(machines: int, masters: int | None, etcd_members: int | None) -> list[Fault]:
    """What is wrong with the numbers on the command line."""
    faults = []
    if machines < 1:
        faults.append(Fault(("nodes",), f"{machines} machines make no cluster; give 1 or more"))
    if masters is not None and not 1 <= masters <= max(machines, 1):
        faults.append(Fault(("masters",), f"{masters} is not between 1 and the number of machines, {machines}"))
    if etcd_members is not None:
        if not 1 <= etcd_members <= min(max(machines, 1), MAX_ETCD_MEMBERS):
            most = min(machines, MAX_ETCD_MEMBERS)
            faults.append(Fault(("etcd",), f"{etcd_members} is not between 1 and {most}"))
        if etcd_members % 2 == 0:
            faults.append(Fault(("etcd",), even_quorum(etcd_members)))
    return faults


def even_quorum(members: int) -> str:
    return (
        f"{members} etcd members are an even number: they survive the loss of {max(members // 2 - 1, 0)},"
        f" as {members - 1} do; use {members - 1} or {members + 1}"
    )


def default_roles(machines: int, masters: int | None = None, etcd_members: int | None = None) -> list[frozenset[Role]]:
    """Roles of the first, second, … machine. The numbers must have no `override_faults`."""
    masters = default_masters(machines) if masters is None else masters
    members = default_etcd_members(machines, masters) if etcd_members is None else etcd_members
    roles = []
    for number in range(machines):
        has = {Role.NODE}
        if number < masters:
            has.add(Role.CONTROL_PLANE)
        if number < members:
            has.add(Role.ETCD)
        roles.append(frozenset(has))
    return roles


def with_default_roles(
    spec: ClusterSpec, *, masters: int | None = None, etcd_members: int | None = None
) -> ClusterSpec:
    """
    The cluster with a role for every host, and the taint on masters where it belongs.

    Roles are chosen only when no host says its own: half a choice would surprise either way.
    """
    hosts = spec.hosts
    if not any(host.roles for host in hosts):
        roles = default_roles(len(hosts), masters, etcd_members)
        hosts = tuple(dataclasses.replace(host, roles=has) for host, has in zip(hosts, roles, strict=True))
    return dataclasses.replace(spec, hosts=with_taints(hosts))


def with_federation_roles(spec: ClusterSpec) -> ClusterSpec:
    """Every host serves the federation. One keeps its store itself; several are an etcd quorum."""
    roles = {Role.FEDERATION}
    if len(spec.hosts) > 1:
        roles.add(Role.ETCD)
    if spec.control_plane.virtual_address:
        roles.add(Role.API_ADDRESS)
    hosts = tuple(dataclasses.replace(host, roles=frozenset(roles)) for host in spec.hosts)
    return dataclasses.replace(spec, hosts=hosts)


def federation_size_faults(hosts: int) -> list[Fault]:
    """What is wrong with the number of a federation's hosts."""
    if hosts in FEDERATION_SIZES:
        return []
    why = even_quorum(hosts) if hosts in (2, 4) else "one, three or five do"
    return [Fault(("hosts",), f"{hosts} hosts make no federation: {why}")]


def with_taints(hosts: tuple[HostSpec, ...]) -> tuple[HostSpec, ...]:
    """Masters get the control-plane taint when at least one untainted node remains."""
    masters = [host for host in hosts if host.has(Role.NODE) and host.has(Role.CONTROL_PLANE)]
    others = [host for host in hosts if host.has(Role.NODE) and not host.has(Role.CONTROL_PLANE) and not host.taints]
    if not others:
        return hosts
    return tuple(
        dataclasses.replace(host, taints=(*host.taints, CONTROL_PLANE_TAINT))
        if host in masters and CONTROL_PLANE_TAINT not in host.taints
        else host
        for host in hosts
    )


def with_changes(spec: ClusterSpec, absent: Collection[str], roles: Mapping[str, Collection[str]]) -> ClusterSpec:
    """
    The description as it is after hosts came and went.

    Args:
        spec: As described, roles chosen.
        absent: Names of hosts that left.
        roles: Host name -> roles that hold instead of the described ones.
    """
    hosts = []
    for host in spec.hosts:
        if host.name in absent:
            continue
        now = frozenset(Role(role) for role in roles.get(host.name, host.roles))
        # The taint came with the role, and goes with it.
        loses = host.has(Role.CONTROL_PLANE) and Role.CONTROL_PLANE not in now
        taints = tuple(taint for taint in host.taints if not (loses and taint == CONTROL_PLANE_TAINT))
        hosts.append(dataclasses.replace(host, roles=now, taints=taints))
    return dataclasses.replace(spec, hosts=with_taints(tuple(hosts)))
