"""
Hosts that are local systemd-nspawn machines: what the command line's numbers mean as a ClusterSpec. Pure.

Addresses are counted from the subnet, so that the description, and every certificate, exists before the machines do.
"""

import ipaddress
from collections.abc import Mapping

from inventory import topology
from inventory.faults import DescriptionError
from inventory.model import (
    ClusterSpec,
    ControlPlaneSettings,
    FederationSettings,
    HostSpec,
    NetworkSettings,
    Provider,
    SshSettings,
)
from inventory.validate import validate

FIRST_HOST = 11
"""Last number of the first machine's address: dev-1 is .11."""

MAX_MACHINES = 200
"""What a /24 holds beside gateway and virtual address, with room."""

INTERFACE = "host0"
"""What systemd-nspawn calls a machine's interface."""


def local_cluster(
    name: str,
    machines: int,
    subnet: str,
    key: str,
    *,
    masters: int | None = None,
    etcd_members: int | None = None,
    labels: Mapping[str, str] | None = None,
) -> ClusterSpec:
    """
    Describe a cluster of local machines.

    Args:
        name: The cluster's.
        machines: How many.
        subnet: A free /24, e.g. 10.89.0.0/24. The first address is the gateway's, the last the API's.
        key: Private key file that the machines accept.
        masters: Instead of the table's number.
        etcd_members: Likewise.
        labels: Of every Node.

    Raises:
        DescriptionError: The numbers make no cluster.
    """
    faults = topology.override_faults(machines, masters, etcd_members)
    if faults:
        raise DescriptionError("command line", faults)
    spec = ClusterSpec(
        name=name,
        hosts=_machines(name, machines, subnet, key, labels or {}),
        provider=Provider.LOCAL,
        network=NetworkSettings(),
        control_plane=ControlPlaneSettings(virtual_address=_last_address(subnet)),
    )
    return _checked(topology.with_default_roles(spec, masters=masters, etcd_members=etcd_members))


def local_federation(name: str, machines: int, subnet: str, key: str, settings: FederationSettings) -> ClusterSpec:
    """Describe a federation's control plane on local machines; the arguments are `local_cluster`'s. Raises likewise."""
    if faults := topology.federation_size_faults(machines):
        raise DescriptionError("command line", faults)
    address = _last_address(subnet) if machines > 1 else ""
    spec = ClusterSpec(
        name=name,
        hosts=_machines(name, machines, subnet, key, {}),
        provider=Provider.LOCAL,
        control_plane=ControlPlaneSettings(virtual_address=address),
        federation=settings,
    )
    return _checked(topology.with_federation_roles(spec))


def _machines(name: str, machines: int, subnet: str, key: str, labels: Mapping[str, str]) -> tuple[HostSpec, ...]:
    network = ipaddress.ip_network(subnet)
    return tuple(
        HostSpec(
            name=f"{name}-{number + 1}",
            address=str(network[FIRST_HOST + number]),
            ssh=SshSettings(key=key),
            labels=labels,
            interface=INTERFACE,
        )
        for number in range(machines)
    )


def _last_address(subnet: str) -> str:
    return str(ipaddress.ip_network(subnet)[-2])


def _checked(spec: ClusterSpec) -> ClusterSpec:
    if faults := validate(spec):
        raise DescriptionError("command line", faults)
    return spec
