"""Checks of one host's network, and of what other installations left there. Pure."""

import ipaddress
from collections.abc import Iterator, Mapping

from inventory.model import Role
from provisioner.preflight.model import Check, Finding, Severity, Subject

PORTS: Mapping[Role, Mapping[int, str]] = {
    Role.ETCD: {2379: "etcd", 2380: "etcd"},
    Role.CONTROL_PLANE: {6443: "kube-apiserver", 10257: "kube-controller-manager", 10259: "kube-scheduler"},
    Role.NODE: {10250: "kubelet", 10248: "kubelet", 10249: "kube-proxy", 10256: "kube-proxy"},
    Role.FEDERATION: {6443: "federation-apiserver", 10253: "federation-controller-manager"},
    Role.API_ADDRESS: {},
}
"""Role -> port -> the unit that will listen there."""
VXLAN_PORT = 4789
MIN_MTU, USUAL_MTU = 1280, 1450
_OUR_LINKS = ("hanse",)
_FOREIGN_LINKS = ("cni0", "flannel", "cali", "cilium", "weave", "antrea", "kube-ipvs0", "nodelocaldns")
_REMAINS = {
    "kubeadm": ("/etc/kubernetes/manifests", "/etc/kubernetes/kubelet.conf", "/var/lib/kubelet/config.yaml"),
    "k3s": ("/etc/rancher/k3s", "/var/lib/rancher/k3s"),
    "RKE2": ("/etc/rancher/rke2", "/var/lib/rancher/rke2"),
    "k0s": ("/etc/k0s", "/var/lib/k0s"),
    "MicroK8s": ("/var/snap/microk8s",),
}
_CURES = {
    "kubeadm": "`kubeadm reset`",
    "k3s": "`k3s-uninstall.sh`",
    "RKE2": "`rke2-uninstall.sh`",
    "k0s": "`k0s reset`",
    "MicroK8s": "`snap remove --purge microk8s`",
}


def _address(subject: Subject) -> Iterator[str]:
    if subject.host.address not in subject.facts.addresses:
        has = ", ".join(subject.facts.addresses) or "none"
        yield f"no interface of it holds {subject.host.address}; it has {has}"


def _interface(subject: Subject) -> Iterator[str]:
    wanted, holds = subject.host.interface, subject.facts.addresses.get(subject.host.address)
    if wanted and holds and wanted != holds:
        yield f"{subject.host.address} is on {holds}, and the inventory says {wanted}"


def foreign_ports(subject: Subject) -> list[tuple[int, str, str]]:
    """(port, our unit, the program that has it) for each TCP port that we need and somebody else has."""
    return [
        (port, unit, subject.facts.listening[port])
        for role in sorted(subject.host.roles)
        for port, unit in PORTS[role].items()
        if port in subject.facts.listening and subject.facts.listening_units.get(port) != unit
    ]


def _ports(subject: Subject) -> Iterator[Finding]:
    for port, unit, program in foreign_ports(subject):
        yield Finding(f"port {port} of {unit} is taken by {program}", f"Stop {program} there.")


def _dns_port(subject: Subject) -> Iterator[str]:
    everywhere = {"0.0.0.0", "*", "[::]"} & set(str(subject.examined["udp"].get("53", "")).split(","))  # noqa: S104
    if everywhere and subject.host.has(Role.NODE):
        yield "a name server listens at port 53 of every address, where cluster DNS has to"


def _vxlan_port(subject: Subject) -> Iterator[str]:
    if not subject.ours and str(VXLAN_PORT) in subject.examined["udp"]:
        yield f"UDP port {VXLAN_PORT} is taken, which carries the Pods' network"


def _mtu(subject: Subject, least: int) -> str:
    interface = subject.facts.addresses.get(subject.host.address, "")
    for device in subject.examined["devices"]:
        if device["name"] == interface and 0 < device["mtu"] < least:
            return f"{interface} carries packets of {device['mtu']} bytes"
    return ""


def _tiny_mtu(subject: Subject) -> Iterator[str]:
    if why := _mtu(subject, MIN_MTU):
        yield f"{why}, less than IPv6 asks for"


def _small_mtu(subject: Subject) -> Iterator[str]:
    if (why := _mtu(subject, USUAL_MTU)) and not _mtu(subject, MIN_MTU):
        yield f"{why}, and Pods get 50 less"


def _overlaps(subject: Subject) -> Iterator[str]:
    if subject.ours:
        return
    networks = {
        "pod_cidr": ipaddress.ip_network(subject.spec.network.pod_cidr),
        "service_cidr": ipaddress.ip_network(subject.spec.network.service_cidr),
    }
    for destination, device in subject.examined["routes"]:
        try:
            route = ipaddress.ip_network(destination)
        except ValueError:
            continue  # default, or a kind of route
        for name, network in networks.items():
            if route.prefixlen and route.version == network.version and route.overlaps(network):
                yield f"its route to {route} by {device} overlaps {name} {network}"


def _default_route(subject: Subject) -> Iterator[str]:
    if not any(destination == "default" for destination, _ in subject.examined["routes"]):
        yield "it has no default route, and Pods cannot reach beyond its networks"


def _resolvers(subject: Subject) -> Iterator[str]:
    if not subject.examined["resolvers"]:
        yield "its /etc/resolv.conf names no name server, and Pods with dnsPolicy Default resolve nothing"


def _firewall(subject: Subject) -> Iterator[str]:
    running = [name for name in ("firewalld", "ufw") if name in subject.examined["units"]]
    if running:
        yield f"{running[0]} filters what passes, and does not know of Pods"


def _remains_of(product: str) -> Check:
    def judge(subject: Subject) -> Iterator[str]:
        found = [path for path in _REMAINS[product] if path in subject.examined["remains"]]
        if found and not subject.ours:
            yield f"{product} left {found[0]}"

    return Check(f"remains.{product.lower()}", f"no {product} was here", f"Run {_CURES[product]} there.", host=judge)


def _path_remains(identifier: str, path: str, why: str, cure: str, severity: Severity = Severity.ERROR) -> Check:
    def judge(subject: Subject) -> Iterator[str]:
        if path in subject.examined["remains"] and not subject.ours:
            yield why

    return Check(identifier, f"{path} is free", cure, severity, host=judge)


def _foreign_unit(name: str, severity: Severity = Severity.ERROR) -> Check:
    def judge(subject: Subject) -> Iterator[str]:
        if name in subject.examined["units"] and not subject.ours:
            yield f"a {name} that is not ours runs"

    return Check(
        f"remains.{name}-runs",
        f"no other {name} runs",
        f"Run `systemctl disable --now {name}` there.",
        severity,
        host=judge,
    )


def _foreign_links(subject: Subject) -> Iterator[Finding]:
    names = [device["name"] for device in subject.examined["devices"]]
    if found := [name for name in names if name.startswith(_FOREIGN_LINKS) and not name.startswith(_OUR_LINKS)]:
        yield Finding(f"another pod network left {', '.join(found[:4])}", f"Run `ip link delete {found[0]}` there.")


CHECKS: tuple[Check, ...] = (
    Check("net.address", "it has its address", "Correct `address` in the inventory.", by_facts=True, host=_address),
    Check(
        "net.interface",
        "its address is where the inventory says",
        "Correct `interface` in the inventory.",
        by_facts=True,
        host=_interface,
    ),
    Check("net.ports", "our ports are free", "Stop what listens there.", by_facts=True, host=_ports),
    Check(
        "net.dns-port",
        "port 53 is free where Pods ask",
        "Bind that name server to addresses of its own.",
        host=_dns_port,
    ),
    Check("net.vxlan-port", "the Pods' network has its port", "Stop what uses it (`ss -ulpn`).", host=_vxlan_port),
    Check("net.mtu-tiny", "packets have a usable size", "Raise the interface's MTU to 1280 or more.", host=_tiny_mtu),
    Check(
        "net.mtu-small",
        "packets have the usual size",
        "Raise the interface's MTU where the network allows it.",
        Severity.WARNING,
        host=_small_mtu,
    ),
    Check(
        "net.overlap", "networks do not overlap", "Choose another network in the inventory's `network`.", host=_overlaps
    ),
    Check("net.default-route", "it knows a way out", "Add a default route.", Severity.WARNING, host=_default_route),
    Check(
        "net.resolvers", "it knows a name server", "Name one in /etc/resolv.conf.", Severity.WARNING, host=_resolvers
    ),
    Check(
        "net.firewall",
        "no other firewall filters",
        "Run `systemctl disable --now firewalld ufw`, or let it forward Pods.",
        Severity.WARNING,
        host=_firewall,
    ),
    *(_remains_of(product) for product in _REMAINS),
    _path_remains(
        "remains.etcd-data",
        "/var/lib/etcd/member",
        "/var/lib/etcd holds the data of another etcd",
        "Move /var/lib/etcd away.",
    ),
    _path_remains(
        "remains.cni-config",
        "/etc/cni/net.d",
        "another pod network is configured in /etc/cni/net.d",
        "Move the files in /etc/cni/net.d away.",
    ),
    _path_remains(
        "remains.admin-conf",
        "/etc/kubernetes/admin.conf",
        "a kubeconfig of another cluster lies in /etc/kubernetes",
        "Move /etc/kubernetes away.",
        Severity.WARNING,
    ),
    _foreign_unit("kubelet"),
    _foreign_unit("containerd"),
    _foreign_unit("etcd"),
    _foreign_unit("crio"),
    _foreign_unit("docker", Severity.WARNING),
    _foreign_unit("keepalived", Severity.WARNING),
    Check("remains.links", "no other pod network's links", "Remove them.", Severity.WARNING, host=_foreign_links),
)
