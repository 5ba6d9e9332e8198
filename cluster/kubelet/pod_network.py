"""
What a pod sees of names: host name, /etc/hosts, resolv.conf. Pure.

Source: upstream pkg/kubelet/network/dns and pkg/kubelet/util/hosts.
"""

from collections.abc import Iterable, Sequence

from cluster.kubelet.pods import uses_host_network
from cluster.kubelet.runtime import DnsConfig
from cluster.machinery.objects import Object

MAX_HOSTNAME = 63
MAX_SEARCHES = 32
MAX_NAMESERVERS = 3
CLUSTER_OPTIONS = ("ndots:5",)


def pod_hostname(pod: Object) -> str:
    """spec.hostname or the pod's name, cut to what the kernel takes."""
    name = str(pod["spec"].get("hostnameOverride") or pod["spec"].get("hostname") or pod["metadata"]["name"])
    return name[:MAX_HOSTNAME].rstrip("-.") if len(name) > MAX_HOSTNAME else name


def pod_domain(pod: Object, cluster_domain: str) -> str:
    """The FQDN's tail: subdomain.namespace.svc.domain, or empty without a subdomain."""
    subdomain = pod["spec"].get("subdomain")
    return f"{subdomain}.{pod['metadata']['namespace']}.svc.{cluster_domain}" if subdomain else ""


def sandbox_hostname(pod: Object, cluster_domain: str) -> str:
    domain = pod_domain(pod, cluster_domain)
    if pod["spec"].get("setHostnameAsFQDN") and domain:
        return f"{pod_hostname(pod)}.{domain}"
    return pod_hostname(pod)


def hosts_file(pod: Object, pod_ips: Sequence[str], cluster_domain: str, node_hosts: str = "") -> str:
    """
    The pod's /etc/hosts.

    Args:
        node_hosts: content of the node's own file, used for hostNetwork pods.
    """
    if uses_host_network(pod):
        text = f"# Kubernetes-managed hosts file (host network).\n{node_hosts}"
    else:
        hostname, domain = pod_hostname(pod), pod_domain(pod, cluster_domain)
        names = f"{hostname}.{domain}\t{hostname}" if domain else hostname
        lines = [
            "# Kubernetes-managed hosts file.",
            "127.0.0.1\tlocalhost",
            "::1\tlocalhost ip6-localhost ip6-loopback",
            "fe00::0\tip6-localnet",
            "fe00::0\tip6-mcastprefix",
            "fe00::1\tip6-allnodes",
            "fe00::2\tip6-allrouters",
            *(f"{ip}\t{names}" for ip in pod_ips),
        ]
        text = "\n".join(lines) + "\n"
    aliases = pod["spec"].get("hostAliases") or ()
    if aliases:
        text += "\n# Entries added by HostAliases.\n"
        text += "".join(f"{a['ip']}\t{chr(9).join(a.get('hostnames') or ())}\n" for a in aliases)
    return text


def parse_resolv_conf(text: str) -> DnsConfig:
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if len(words) < 2:
            continue
        match words[0]:
            case "nameserver":
                servers.append(words[1])
            case "search":
                searches = [w.rstrip(".") or "." for w in words[1:]]
            case "options":
                options = words[1:]
            case _:
                continue
    return DnsConfig(tuple(servers), tuple(searches), tuple(options))


def pod_dns(pod: Object, node: DnsConfig, cluster_dns: Sequence[str], cluster_domain: str) -> DnsConfig:
    """What goes into the pod's resolv.conf, by dnsPolicy and dnsConfig."""
    policy = pod["spec"].get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and uses_host_network(pod):
        policy = "Default"
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet") and cluster_dns:
        namespace = pod["metadata"]["namespace"]
        searches = [f"{namespace}.svc.{cluster_domain}", f"svc.{cluster_domain}", cluster_domain]
        base = DnsConfig(tuple(cluster_dns), _distinct([*searches, *node.searches]), CLUSTER_OPTIONS)
    elif policy == "None":
        base = DnsConfig()
    else:
        base = node
    extra = pod["spec"].get("dnsConfig") or {}
    options = dict(option.partition(":")[::2] for option in base.options)
    for option in extra.get("options") or ():
        options[option["name"]] = str(option.get("value") or "")
    return DnsConfig(
        _distinct([*base.servers, *(extra.get("nameservers") or ())])[:MAX_NAMESERVERS],
        _distinct([*base.searches, *(extra.get("searches") or ())])[:MAX_SEARCHES],
        tuple(f"{name}:{value}" if value else name for name, value in options.items()),
    )


def _distinct(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))
