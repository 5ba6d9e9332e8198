"""
What should exist: a cluster and its hosts, as frozen dataclasses.

Made by `inventory.load` (a file) and `inventory.sources` (local machines); read by the provisioner. Nothing here
reads a file, asks a host or knows how anything is made. Whether a description makes sense: `inventory.validate`.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Role(StrEnum):
    """What a host does. In files `master` is an alias of `control_plane`."""

    ETCD = "etcd"
    CONTROL_PLANE = "control_plane"
    NODE = "node"
    FEDERATION = "federation"
    """Serves a federation's API and names. Such a host has no other role but ETCD and API_ADDRESS."""
    API_ADDRESS = "api_address"
    """Takes turns in holding a federation's virtual address; in a cluster, masters do so without it."""


class Provider(StrEnum):
    """Who makes the machines."""

    LOCAL = "local"
    """systemd-nspawn machines on the operator's own."""
    STATIC = "static"
    """Nobody: the hosts of the inventory exist already."""


class PodNetwork(StrEnum):
    """How Pods of different nodes reach each other."""

    VXLAN = "vxlan"
    """A tunnel; needs nothing of the network between the hosts."""
    HOST_ROUTES = "host-routes"
    """Plain routes; the hosts must share one network segment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SshSettings:
    """How a host is reached."""

    user: str = "root"
    port: int = 22
    key: str = ""
    """Private key file; empty means the user's agent and default keys."""
    bastion: str = ""
    """`user@host:port` to jump through; empty means directly."""
    become: bool = False
    """Whether `user` turns into root by sudo."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HostSpec:
    """One machine that is part of the cluster. Its name is also its Node's."""

    name: str
    address: str
    """IP address at which the other hosts, and the operator, reach it."""
    roles: frozenset[Role] = frozenset()
    """Empty means: chosen by `inventory.topology`."""
    ssh: SshSettings = SshSettings()
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()
    """`key=value:Effect` or `key:Effect`, set when the Node is registered."""
    interface: str = ""
    """Network interface that holds `address`; empty means: found on the host."""

    def has(self, role: Role) -> bool:
        return role in self.roles

    @property
    def serves_api(self) -> bool:
        """Whether an apiserver runs there."""
        return self.has(Role.CONTROL_PLANE) or self.has(Role.FEDERATION)


@dataclass(frozen=True, kw_only=True, slots=True)
class EtcdSettings:
    """How the etcd quorum is run. Read from `etcd:`."""

    heartbeat_interval: int = 200
    """Milliseconds between the leader's heartbeats: the round trip between members, with room for shared cores."""
    election_timeout: int = 2000
    """Milliseconds without a heartbeat before an election: 5 heartbeats at least, 50000 at most (etcd's own limits)."""
    quota_bytes: int = 4 * 1024**3
    """Size of the database at which etcd turns read-only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkSettings:
    """The cluster's own networks. Read from `network:`."""

    service_cidr: str = "10.96.0.0/16"
    pod_cidr: str = "10.244.0.0/16"
    node_mask_size: int = 24
    """Prefix length of each node's share of `pod_cidr`."""
    domain: str = "cluster.local"
    pod_network: PodNetwork = PodNetwork.VXLAN

    @property
    def api_service_address(self) -> str:
        """First address of the service network: the Service default/kubernetes."""
        return str(ipaddress.ip_network(self.service_cidr)[1])

    @property
    def dns_address(self) -> str:
        """Tenth address of the service network, as kubeadm has it."""
        return str(ipaddress.ip_network(self.service_cidr)[10])


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlPlaneSettings:
    """How the API is reached. Read from `control_plane:`."""

    virtual_address: str = ""
    """An unused address of the hosts' network that a healthy master holds; empty means none."""
    extra_names: tuple[str, ...] = ()
    """More names or addresses for the apiserver's certificate, e.g. of a load balancer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FederationSettings:
    """What makes the hosts a federation's control plane instead of a cluster."""

    zone: str
    """Its DNS zone, in lower case and without a last dot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterSpec:
    """A whole cluster, or a federation's control plane, as it should be."""

    name: str
    hosts: tuple[HostSpec, ...]
    provider: Provider = Provider.STATIC
    kubernetes_version: str = "1.36"
    etcd: EtcdSettings = EtcdSettings()
    network: NetworkSettings = NetworkSettings()
    control_plane: ControlPlaneSettings = field(default_factory=ControlPlaneSettings)
    federation: FederationSettings | None = None
    """None for a cluster."""
    quorum_formed: bool = False
    """Members of etcd have come since it was made: whoever starts without data joins, and makes no quorum anew."""

    @property
    def kind(self) -> str:
        """What people call it."""
        return "federation" if self.federation else "cluster"

    def with_role(self, role: Role) -> tuple[HostSpec, ...]:
        """Hosts that have the role, in the inventory's order."""
        return tuple(host for host in self.hosts if host.has(role))

    @property
    def api_servers(self) -> tuple[str, ...]:
        """URL of every apiserver."""
        return tuple(f"https://{url_host(host.address)}:6443" for host in self.hosts if host.serves_api)

    @property
    def api_endpoint(self) -> str:
        """URL under which the operator reaches the API."""
        address = self.control_plane.virtual_address
        return f"https://{url_host(address)}:6443" if address else self.api_servers[0]

    @property
    def service_account_issuer(self) -> str:
        if self.federation:
            return f"https://{self.name}.{self.federation.zone}"
        return f"https://kubernetes.default.svc.{self.network.domain}"


def url_host(address: str) -> str:
    """As it stands in a URL."""
    return f"[{address}]" if ":" in address else address
