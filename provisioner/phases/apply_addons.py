"""
Objects that every cluster has beyond what its apiserver makes by itself: the Service of cluster DNS, and what the DNS
and the pod network may read; in a federation what its name servers may.
"""

from collections.abc import Mapping
from typing import Any

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import NotFound
from inventory.model import ClusterSpec

_CLUSTER_ROLES = resources.named("clusterroles.rbac.authorization.k8s.io")
_CLUSTER_ROLE_BINDINGS = resources.named("clusterrolebindings.rbac.authorization.k8s.io")


def addons(spec: ClusterSpec) -> list[tuple[Resource, Mapping[str, Any]]]:
    """Desired objects. Pure."""
    return _federation_addons() if spec.federation else _cluster_addons(spec)


def _federation_addons() -> list[tuple[Resource, Mapping[str, Any]]]:
    """Its controller manager is beyond RBAC; name servers and whoever holds the API's address are not."""
    records = [
        {"apiGroups": ["federation.hanse.io"], "resources": ["dnsrecordsets"], "verbs": ["get", "list", "watch"]},
        # Serials count from the federation's birth, which is this namespace's.
        {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"]},
    ]
    turns = [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": ["api-virtual-address"],
            "verbs": ["get", "update", "patch"],
        },
    ]
    return [
        *_granted("hanse:federation-dns", "federation-dns", records),
        *_granted("hanse:api-address", "hanse:api-address", turns),
    ]


def _cluster_addons(spec: ClusterSpec) -> list[tuple[Resource, Mapping[str, Any]]]:
    read = ["get", "list", "watch"]
    # kube-proxy is the pod network's agent and the holder of the API's virtual address too.
    proxy_rules = [
        {"apiGroups": [""], "resources": ["nodes", "services", "pods"], "verbs": read},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
        {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": read},
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": read},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "verbs": ["get", "create", "update", "patch", "list", "watch"],
        },
    ]
    return [
        (resources.SERVICES, _dns_service(spec)),
        *_granted("hanse:pod-network", "system:kube-proxy", proxy_rules),
    ]


def _dns_service(spec: ClusterSpec) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {
                "k8s-app": "kube-dns",
                "kubernetes.io/name": "CoreDNS",
                # The DNS of each node answers on this address itself; kube-proxy must leave it alone.
                "service.kubernetes.io/service-proxy-name": "cluster-dns",
            },
        },
        "spec": {
            "clusterIP": spec.network.dns_address,
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
            ],
        },
    }


def _granted(name: str, user: str, rules: list[dict[str, Any]]) -> list[tuple[Resource, Mapping[str, Any]]]:
    group = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }
    return [(_CLUSTER_ROLES, role), (_CLUSTER_ROLE_BINDINGS, binding)]


async def pending_addons(client: ApiClient, spec: ClusterSpec) -> list[str]:
    """A sentence for each object that is missing or differs. Reads only."""
    return [f"{verb} {wanted['kind']} {_name(wanted)}" for verb, _, wanted in await _differences(client, spec)]


async def apply_addons(client: ApiClient, spec: ClusterSpec) -> list[str]:
    """Write what differs; returns what was done."""
    done = []
    for verb, resource, wanted in await _differences(client, spec):
        namespace = wanted["metadata"].get("namespace", "")
        if verb == "create":
            await client.create(resource, dict(wanted), namespace=namespace)
        else:
            name = wanted["metadata"]["name"]
            await client.patch(resource, name, dict(wanted), namespace=namespace, patch_type="merge")
        done.append(f"{verb} {wanted['kind']} {_name(wanted)}")
    return done


async def _differences(client: ApiClient, spec: ClusterSpec) -> list[tuple[str, Resource, Mapping[str, Any]]]:
    found = []
    for resource, wanted in addons(spec):
        metadata = wanted["metadata"]
        try:
            have = await client.get(resource, metadata["name"], namespace=metadata.get("namespace", ""))
        except NotFound:
            found.append(("create", resource, wanted))
            continue
        if not contains(have, wanted):
            found.append(("update", resource, wanted))
    return found


def contains(have: Any, wanted: Any) -> bool:
    """Whether everything wanted is there; what the server added does not count."""
    if isinstance(wanted, Mapping):
        return isinstance(have, Mapping) and all(key in have and contains(have[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(have, list) and len(have) == len(wanted) and all(map(contains, have, wanted))
    return bool(have == wanted)


def _name(wanted: Mapping[str, Any]) -> str:
    metadata = wanted["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if "namespace" in metadata else str(metadata["name"])
