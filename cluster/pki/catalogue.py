"""
The table of every certificate of a cluster: who issues it, what it says, where it lies, which hosts get it.

Pure data and pure functions. Read by the provisioner (issues and renews), by `provision certs status` and by the docs.
File names are kubeadm's, relative to `cluster.settings.PKI_DIR`, without `.crt` and `.key`.
"""

import datetime as dt
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cluster import settings
from cluster.pki.issue import LEAF_LIFETIME, CertificateContent, Usage


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a certificate may say about a host."""

    name: str
    """Its Node's name; also its DNS name."""
    addresses: tuple[str, ...] = ()
    """IP addresses, and further DNS names, under which others reach it."""
    is_control_plane: bool = False
    is_etcd: bool = False
    is_federation: bool = False
    """Serves a federation's API: no cluster's, and no node."""


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What a certificate may say about the cluster."""

    service_address: str = settings.API_SERVICE_ADDRESS
    """Address of the Service default/kubernetes."""
    domain: str = settings.CLUSTER_DOMAIN
    extra_names: tuple[str, ...] = ()
    """More names or addresses of the apiserver: a virtual address, a load balancer."""


@dataclass(frozen=True, slots=True)
class AuthorityEntry:
    """One CA. `path` is its stem below PKI_DIR."""

    name: str
    path: str
    common_name: str
    key_hosts: Callable[[HostFacts], bool]
    """Which hosts need its private key. All others get the certificate alone."""


@dataclass(frozen=True, slots=True)
class CertificateEntry:
    """One leaf certificate of one host (or of the operator)."""

    name: str
    path: str
    """Stem below PKI_DIR; empty for the operator's, which lies on no host."""
    authority: str
    """Name in AUTHORITIES."""
    usages: tuple[Usage, ...]
    common_name: str
    """May contain `{host}`."""
    hosts: Callable[[HostFacts], bool]
    used_by: str
    """The unit that reads the private key: its user owns the file."""
    organizations: tuple[str, ...] = ()
    names: Callable[[HostFacts, ClusterFacts], tuple[str, ...]] = lambda host, cluster: ()
    """Subject alternative names, DNS and IP mixed."""
    lifetime: dt.timedelta = LEAF_LIFETIME

    def content(self, host: HostFacts, cluster: ClusterFacts) -> CertificateContent:
        dns_names, ip_addresses = split_names(self.names(host, cluster))
        return CertificateContent(
            common_name=self.common_name.format(host=host.name),
            organizations=self.organizations,
            dns_names=dns_names,
            ip_addresses=ip_addresses,
            usages=self.usages,
        )


def split_names(names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sort names into (DNS names, IP addresses), each once, in order."""
    dns_names: dict[str, None] = {}
    ip_addresses: dict[str, None] = {}
    for name in names:
        try:
            ip_addresses[str(ipaddress.ip_address(name))] = None
        except ValueError:
            dns_names[name] = None
    return tuple(dns_names), tuple(ip_addresses)


def certificates_for(host: HostFacts) -> tuple[CertificateEntry, ...]:
    """Every leaf that belongs on this host."""
    return tuple(entry for entry in CERTIFICATES if entry.path and entry.hosts(host))


def _control_plane(host: HostFacts) -> bool:
    return host.is_control_plane


def _federation(host: HostFacts) -> bool:
    return host.is_federation


def _apiserver(host: HostFacts) -> bool:
    return host.is_control_plane or host.is_federation


def _apiserver_with_etcd(host: HostFacts) -> bool:
    return host.is_control_plane or (host.is_federation and host.is_etcd)


def _etcd(host: HostFacts) -> bool:
    return host.is_etcd


def _etcd_or_control_plane(host: HostFacts) -> bool:
    return host.is_etcd or host.is_control_plane


def _in_cluster(host: HostFacts) -> bool:
    return not host.is_federation


def _nobody(host: HostFacts) -> bool:
    return False


_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


def _host_names(host: HostFacts, cluster: ClusterFacts) -> tuple[str, ...]:
    return (host.name, *host.addresses)


def _host_and_local_names(host: HostFacts, cluster: ClusterFacts) -> tuple[str, ...]:
    return (host.name, *_LOCAL, *host.addresses)


def _apiserver_names(host: HostFacts, cluster: ClusterFacts) -> tuple[str, ...]:
    return (
        host.name,
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        f"kubernetes.default.svc.{cluster.domain}",
        *_LOCAL,
        cluster.service_address,
        *host.addresses,
        *cluster.extra_names,
    )


AUTHORITIES: Final = (
    # Controller managers sign CertificateSigningRequests with it, a federation's those of agents, so their hosts hold
    # its key.
    AuthorityEntry("ca", "ca", "kubernetes", key_hosts=_apiserver),
    AuthorityEntry("etcd-ca", "etcd/ca", "etcd-ca", key_hosts=_nobody),
    AuthorityEntry("front-proxy-ca", "front-proxy-ca", "front-proxy-ca", key_hosts=_nobody),
)

_BOTH: Final = (Usage.SERVER, Usage.CLIENT)

CERTIFICATES: Final = (
    CertificateEntry(
        name="apiserver",
        path="apiserver",
        authority="ca",
        usages=(Usage.SERVER,),
        common_name="kube-apiserver",
        hosts=_apiserver,
        used_by="kube-apiserver",
        names=_apiserver_names,
    ),
    CertificateEntry(
        # No group: the ClusterRole system:kubelet-api-admin, bound to this name at bootstrap, is all it needs.
        name="apiserver-kubelet-client",
        path="apiserver-kubelet-client",
        authority="ca",
        usages=(Usage.CLIENT,),
        common_name="kube-apiserver-kubelet-client",
        hosts=_control_plane,
        used_by="kube-apiserver",
    ),
    CertificateEntry(
        name="front-proxy-client",
        path="front-proxy-client",
        authority="front-proxy-ca",
        usages=(Usage.CLIENT,),
        common_name="front-proxy-client",
        hosts=_apiserver,
        used_by="kube-apiserver",
    ),
    CertificateEntry(
        name="apiserver-etcd-client",
        path="apiserver-etcd-client",
        authority="etcd-ca",
        usages=(Usage.CLIENT,),
        common_name="kube-apiserver-etcd-client",
        hosts=_apiserver_with_etcd,
        used_by="kube-apiserver",
    ),
    CertificateEntry(
        # etcd's gRPC gateway dials its own server port with this certificate, hence client auth too.
        name="etcd-server",
        path="etcd/server",
        authority="etcd-ca",
        usages=_BOTH,
        common_name="{host}",
        hosts=_etcd,
        used_by="etcd",
        names=_host_and_local_names,
    ),
    CertificateEntry(
        name="etcd-peer",
        path="etcd/peer",
        authority="etcd-ca",
        usages=_BOTH,
        common_name="{host}",
        hosts=_etcd,
        used_by="etcd",
        names=_host_and_local_names,
    ),
    CertificateEntry(
        name="etcd-healthcheck-client",
        path="etcd/healthcheck-client",
        authority="etcd-ca",
        usages=(Usage.CLIENT,),
        common_name="kube-etcd-healthcheck-client",
        hosts=_etcd_or_control_plane,
        used_by="root",
    ),
    CertificateEntry(
        name="controller-manager",
        path="controller-manager",
        authority="ca",
        usages=(Usage.CLIENT,),
        common_name="system:kube-controller-manager",
        hosts=_control_plane,
        used_by="kube-controller-manager",
    ),
    CertificateEntry(
        name="controller-manager-server",
        path="controller-manager-server",
        authority="ca",
        usages=(Usage.SERVER,),
        common_name="kube-controller-manager",
        hosts=_control_plane,
        used_by="kube-controller-manager",
        names=_host_and_local_names,
    ),
    CertificateEntry(
        name="scheduler",
        path="scheduler",
        authority="ca",
        usages=(Usage.CLIENT,),
        common_name="system:kube-scheduler",
        hosts=_control_plane,
        used_by="kube-scheduler",
    ),
    CertificateEntry(
        name="scheduler-server",
        path="scheduler-server",
        authority="ca",
        usages=(Usage.SERVER,),
        common_name="kube-scheduler",
        hosts=_control_plane,
        used_by="kube-scheduler",
        names=_host_and_local_names,
    ),
    CertificateEntry(
        # The Node authorizer knows a kubelet by exactly this name and group.
        name="kubelet-client",
        path="kubelet-client",
        authority="ca",
        usages=(Usage.CLIENT,),
        common_name="system:node:{host}",
        organizations=("system:nodes",),
        hosts=_in_cluster,
        used_by="kubelet",
    ),
    CertificateEntry(
        name="kubelet-server",
        path="kubelet-server",
        authority="ca",
        usages=(Usage.SERVER,),
        common_name="system:node:{host}",
        organizations=("system:nodes",),
        hosts=_in_cluster,
        used_by="kubelet",
        names=_host_names,
    ),
    CertificateEntry(
        name="kube-proxy",
        path="kube-proxy",
        authority="ca",
        usages=(Usage.CLIENT,),
        common_name="system:kube-proxy",
        hosts=_in_cluster,
        used_by="kube-proxy",
    ),
    CertificateEntry(
        name="cluster-dns",
        path="cluster-dns",
        authority="ca",
        usages=(Usage.CLIENT,),
        common_name="system:cluster-dns",
        hosts=_in_cluster,
        used_by="cluster-dns",
    ),
    CertificateEntry(
        # It writes whatever kinds users have, so nothing less would do.
        name="federation-controller-manager",
        path="federation-controller-manager",
        authority="ca",
        usages=(Usage.CLIENT,),
        common_name="federation-controller-manager",
        organizations=("system:masters",),
        hosts=_federation,
        used_by="federation-controller-manager",
    ),
    CertificateEntry(
        name="federation-controller-manager-server",
        path="federation-controller-manager-server",
        authority="ca",
        usages=(Usage.SERVER,),
        common_name="federation-controller-manager",
        hosts=_federation,
        used_by="federation-controller-manager",
        names=_host_and_local_names,
    ),
    CertificateEntry(
        name="federation-dns",
        path="federation-dns",
        authority="ca",
        usages=(Usage.CLIENT,),
        common_name="federation-dns",
        hosts=_federation,
        used_by="federation-dns",
    ),
    CertificateEntry(
        name="api-address",
        path="api-address",
        authority="ca",
        usages=(Usage.CLIENT,),
        common_name="hanse:api-address",
        hosts=_federation,
        used_by="api-address",
    ),
    CertificateEntry(
        # The operator's kubeconfig. system:masters is beyond RBAC, so it works when every binding is lost.
        name="admin",
        path="",
        authority="ca",
        usages=(Usage.CLIENT,),
        common_name="kubernetes-admin",
        organizations=("system:masters",),
        hosts=_nobody,
        used_by="operator",
    ),
)

ADMIN: Final = next(entry for entry in CERTIFICATES if entry.name == "admin")


def authority_named(name: str) -> AuthorityEntry:
    """Raises KeyError for a name the table does not have."""
    found = next((entry for entry in AUTHORITIES if entry.name == name), None)
    if found is None:
        raise KeyError(f"no CA is called {name!r}; there are {', '.join(a.name for a in AUTHORITIES)}")
    return found
