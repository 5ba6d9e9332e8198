"""
Services -> an nftables ruleset: one table, a few verdict maps, and chains that Services share. Pure.

Each frontend is one element of a verdict map (`service-ips` or `service-nodeports`) that names a chain by what is to
be done and by the number of backends, e.g. `cluster-ip-tcp-3`; the chain draws a number and looks the backend up in
`endpoints-ip-tcp`, `endpoints-nodeport-tcp` and so on. So a change of a Service is a handful of element changes,
whatever the size of the cluster. Only frontends with session affinity have chains of their own.

A second list of backends, for pods and this node under a Local policy, is stored from index INSIDE_OFFSET on.

Called by   cluster.kube_proxy.table (which finds the difference) for cluster.kube_proxy.nftables (which applies it).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from cluster.kube_proxy.services import Backend, Frontend, Origin, ProxiedService
from cluster.machinery.objects import Key, Object

TABLE = "hanse-proxy"
MASQUERADE_MARK = 0x4000
"""The bit kube-proxy has always used; set from NAT to postrouting and cleared there."""
INSIDE_OFFSET = 65_536
PROTOCOLS = ("tcp", "udp", "sctp")

Elements = dict[str, dict[str, str]]
"""Map or set -> key -> value; the value of a set's element is empty."""


@dataclass(slots=True)
class ServiceRules:
    """What one Service puts into the table."""

    elements: Elements = field(default_factory=dict)
    shared_chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Named by their content; other Services use them too."""
    own_chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    affinity_sets: dict[str, int] = field(default_factory=dict)
    """Name -> seconds that a client stays with its endpoint."""

    def put(self, table_map: str, key: str, value: str = "") -> None:
        self.elements.setdefault(table_map, {})[key] = value


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """What the fixed part of the table depends on."""

    cluster_cidr: str
    service_cidr: str
    node_port_addresses: tuple[str, ...]
    """Networks whose local addresses take node ports, e.g. 10.0.0.5/32."""
    masquerade_pods: bool
    """Pods that leave the cluster network get the node's address."""


def base_table(settings: ProxySettings) -> str:
    """The fixed part, inside of `table ip hanse-proxy { … }`."""
    pods = settings.cluster_cidr
    node_ports = ", ".join(settings.node_port_addresses)
    leaving = (
        f"    ip saddr {pods} ip daddr != {{ {pods}, 224.0.0.0/4 }} masquerade fully-random\n"
        if settings.masquerade_pods
        else ""
    )
    endpoints = "\n".join(_endpoint_maps(protocol) for protocol in PROTOCOLS)
    # A TCP client is reset, since the kernel sends it an ICMP error once a second at most.
    return f"""
  map service-ips {{
    type ipv4_addr . inet_proto . inet_service : verdict
  }}
  map service-nodeports {{
    type inet_proto . inet_service : verdict
  }}
  map host-ports {{
    type inet_proto . inet_service : ipv4_addr . inet_service
  }}
  map host-ports-by-ip {{
    type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
  }}
{endpoints}
  map unserved-ips {{
    type ipv4_addr . inet_proto . inet_service : verdict
  }}
  map unserved-nodeports {{
    type inet_proto . inet_service : verdict
  }}
  set cluster-ips {{
    type ipv4_addr
  }}
  set hairpins {{
    type ipv4_addr . ipv4_addr
  }}
  set firewalled {{
    type ipv4_addr . inet_proto . inet_service
  }}
  set admitted {{
    type ipv4_addr . inet_proto . inet_service . ipv4_addr
    flags interval
  }}
  set nodeport-ips {{
    type ipv4_addr
    flags interval
    elements = {{ {node_ports} }}
  }}

  chain mark-for-masquerade {{
    meta mark set meta mark or {MASQUERADE_MARK:#x}
  }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject
  }}
  chain discard {{
    drop
  }}

  chain services {{
    ip daddr . meta l4proto . th dport vmap @service-ips
    fib daddr type local goto node-services
  }}
  chain node-services {{
    ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
    dnat ip to ip daddr . meta l4proto . th dport map @host-ports-by-ip
    ip daddr != 127.0.0.0/8 dnat ip to meta l4proto . th dport map @host-ports
  }}
  chain unserved {{
    ct status dnat return
    ip daddr . meta l4proto . th dport vmap @unserved-ips
    fib daddr type local ip daddr @nodeport-ips meta l4proto . th dport vmap @unserved-nodeports
    fib daddr type local return
    ip daddr @cluster-ips goto refuse
    ip daddr {settings.service_cidr} goto discard
  }}

  chain admission {{
    ip daddr . meta l4proto . th dport . ip saddr @admitted return
    drop
  }}
  chain firewall {{
    type filter hook prerouting priority -110; policy accept;
    ct state new ip daddr . meta l4proto . th dport @firewalled goto admission
  }}
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
    jump services
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    jump services
  }}
  chain filter-input {{
    type filter hook input priority 0; policy accept;
    ct state new jump unserved
  }}
  chain filter-forward {{
    type filter hook forward priority 0; policy accept;
    ct state new jump unserved
  }}
  chain filter-output {{
    type filter hook output priority 0; policy accept;
    ct state new jump unserved
  }}
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    meta mark and {MASQUERADE_MARK:#x} != 0 goto masquerade-marked
    ct status dnat ip saddr . ip daddr @hairpins masquerade fully-random
{leaving}  }}
  chain masquerade-marked {{
    meta mark set meta mark and {0xFFFFFFFF ^ MASQUERADE_MARK:#x}
    masquerade fully-random
  }}
"""


def _endpoint_maps(protocol: str) -> str:
    """
    One pair a protocol, for a number in a key can be told by `typeof` only, and that binds the map to a protocol.

    With `th dport` nft 1.0.6 makes the map but refuses any rule that is added to it later.
    """
    number = f"numgen random mod {2 * INSIDE_OFFSET}"
    return f"""\
  map endpoints-ip-{protocol} {{
    typeof ip daddr . {protocol} dport . {number} : ip daddr . {protocol} dport
  }}
  map endpoints-nodeport-{protocol} {{
    typeof {protocol} dport . {number} : ip daddr . {protocol} dport
  }}"""


def compile_service(key: Key, service: ProxiedService, cluster_cidr: str) -> ServiceRules:
    """The rules of one Service."""
    rules = ServiceRules()
    for address in service.cluster_ips:
        rules.put("cluster-ips", address)
    for frontend in service.frontends:
        _compile_frontend(rules, key, frontend, cluster_cidr)
    return rules


def _compile_frontend(rules: ServiceRules, key: Key, frontend: Frontend, cluster_cidr: str) -> None:
    what = _match_key(frontend)
    nodeport = frontend.origin is Origin.NODE_PORT
    for network in frontend.source_ranges:
        rules.put("firewalled", what)
        rules.put("admitted", f"{what} . {network}")
    if not frontend.backends:
        verdict = "goto discard" if frontend.exists_elsewhere else "goto refuse"
        rules.put("unserved-nodeports" if nodeport else "unserved-ips", what, verdict)
    if not frontend.backends and not frontend.inside_backends:
        return
    for backend in {*frontend.backends, *frontend.inside_backends}:
        rules.put("hairpins", f"{backend.address} . {backend.address}")
    if frontend.affinity_seconds:
        chain = _affinity_chain(rules, key, frontend, cluster_cidr)
    else:
        chain = _shared_chain(rules, frontend, cluster_cidr)
        _put_endpoints(rules, frontend)
    rules.put("service-nodeports" if nodeport else "service-ips", what, f"goto {chain}")


def _match_key(frontend: Frontend) -> str:
    key = f"{frontend.protocol} . {frontend.port}"
    return f"{frontend.address} . {key}" if frontend.address else key


def _needs_inside_list(frontend: Frontend) -> bool:
    return frontend.local and frontend.origin is not Origin.CLUSTER_IP


def _put_endpoints(rules: ServiceRules, frontend: Frontend) -> None:
    target = _endpoints_map(frontend)
    what = f"{frontend.address} . {frontend.port}" if frontend.address else str(frontend.port)
    for index, backend in enumerate(frontend.backends):
        rules.put(target, f"{what} . {index}", f"{backend.address} . {backend.port}")
    if _needs_inside_list(frontend):
        for index, backend in enumerate(frontend.inside_backends):
            rules.put(target, f"{what} . {INSIDE_OFFSET + index}", f"{backend.address} . {backend.port}")


def _endpoints_map(frontend: Frontend) -> str:
    return f"endpoints-{'ip' if frontend.address else 'nodeport'}-{frontend.protocol}"


def _shared_chain(rules: ServiceRules, frontend: Frontend, cluster_cidr: str) -> str:
    """Name of the chain for this behaviour and these numbers; put into the rules too."""
    count, inside = len(frontend.backends), len(frontend.inside_backends)
    kind = f"{frontend.origin}-{frontend.protocol}"
    if _needs_inside_list(frontend):
        name = f"{kind}-local-{count}-of-{inside}"
        lines = _local_policy(cluster_cidr, [_draw(frontend, inside, INSIDE_OFFSET)])
        lines += [_draw(frontend, count, 0)] if count else []
    elif frontend.origin is Origin.CLUSTER_IP:
        name = f"cluster-ip-{frontend.protocol}-{count}"
        lines = [f"ip saddr != {cluster_cidr} jump mark-for-masquerade", _draw(frontend, count, 0)]
    else:
        name = f"{kind}-{count}"
        lines = ["jump mark-for-masquerade", _draw(frontend, count, 0)]
    rules.shared_chains[name] = tuple(lines)
    return name


def _local_policy(cluster_cidr: str, inside: Iterable[str]) -> list[str]:
    """
    Pods of this node and the node itself are not bound by externalTrafficPolicy: Local.

    The node's own packets are masqueraded: the backend may be elsewhere, and the answer has to come back here.
    """
    lines = ["fib saddr type local jump mark-for-masquerade"]
    for line in inside:
        lines += [f"ip saddr {cluster_cidr} {line}", f"fib saddr type local {line}"]
    return lines


def _draw(frontend: Frontend, count: int, offset: int) -> str:
    number = f"numgen random mod {count}" + (f" offset {offset}" if offset else "")
    address = "ip daddr . " if frontend.address else ""
    return f"dnat ip to {address}{frontend.protocol} dport . {number} map @{_endpoints_map(frontend)}"


def _affinity_chain(rules: ServiceRules, key: Key, frontend: Frontend, cluster_cidr: str) -> str:
    """A chain of this frontend's own, which sends known clients to their endpoint and draws for the others."""
    name = f"affinity-{_digest(str(key), frontend.protocol, _match_key(frontend))}"
    inside_list = _needs_inside_list(frontend)
    if frontend.origin is Origin.CLUSTER_IP:
        lines = [f"ip saddr != {cluster_cidr} jump mark-for-masquerade"]
    elif inside_list:
        inner = f"{name}-inside"
        rules.own_chains[inner] = tuple(_stay_or_draw(rules, key, frontend, frontend.inside_backends))
        lines = _local_policy(cluster_cidr, [f"goto {inner}"])
    else:
        lines = ["jump mark-for-masquerade"]
    rules.own_chains[name] = (*lines, *_stay_or_draw(rules, key, frontend, frontend.backends))
    return name


def _stay_or_draw(
    rules: ServiceRules, key: Key, frontend: Frontend, backends: tuple[Backend, ...]
) -> list[str]:  # fmt: skip
    if not backends:
        return []
    chains = []
    lines = []
    for backend in backends:
        target = f"{backend.address}:{backend.port}"
        digest = _digest(str(key), frontend.protocol, str(frontend.affinity_seconds), target)
        clients, chain = f"clients-{digest}", f"endpoint-{digest}"
        rules.affinity_sets[clients] = frontend.affinity_seconds
        rules.own_chains[chain] = (
            f"update @{clients} {{ ip saddr }}",
            f"meta l4proto {frontend.protocol} dnat ip to {target}",
        )
        lines.append(f"ip saddr @{clients} goto {chain}")
        chains.append(chain)
    drawn = ", ".join(f"{index} : goto {chain}" for index, chain in enumerate(chains))
    return [*lines, f"numgen random mod {len(chains)} vmap {{ {drawn} }}"]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def compile_host_ports(pods: Iterable[Object]) -> ServiceRules:
    """hostPort of the pods on this node that have an address of their own."""
    rules = ServiceRules()
    for pod in sorted(pods, key=lambda p: str((p.get("metadata") or {}).get("creationTimestamp") or "")):
        spec, status = pod.get("spec") or {}, pod.get("status") or {}
        address = status.get("podIP") or ""
        if spec.get("hostNetwork") or ":" in address or not address or status.get("phase") in ("Succeeded", "Failed"):
            continue
        for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
            for port in container.get("ports") or ():
                if port.get("hostPort"):
                    _put_host_port(rules, address, port)
    return rules


def _put_host_port(rules: ServiceRules, address: str, port: Object) -> None:
    key = f"{(port.get('protocol') or 'TCP').lower()} . {port['hostPort']}"
    target = f"{address} . {port['containerPort']}"
    host_ip = port.get("hostIP") or ""
    rules.put("hairpins", f"{address} . {address}")
    if host_ip in ("", "0.0.0.0"):  # noqa: S104  (what pods write for "every address")
        rules.put("host-ports", key, target)
    elif ":" not in host_ip:
        rules.put("host-ports-by-ip", f"{host_ip} . {key}", target)
