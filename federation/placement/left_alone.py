"""
What the federation does not propagate, although its apiserver stores it. Tables, and a reason a line. Pure.

Kinds and objects that every server or its controllers make for themselves, the federation's own, and whatever is
labelled `federation.hanse.io/local=true`.
"""

from cluster.api.resources import Resource
from cluster.machinery.objects import Object
from federation.api.kinds import CLUSTER_VERSION, GROUP, SYSTEM_NAMESPACE
from federation.api.refs import group_of

LOCAL = "federation.hanse.io/local"
"""Label with the value "true" on objects, and on namespaces with all that is in them, that stay at the federation."""
_VERBS = frozenset({"list", "watch", "create"})
_OWN_GROUPS = frozenset({GROUP, group_of(CLUSTER_VERSION)})
_KINDS = {
    ("apiregistration.k8s.io", "APIService"): "says what this server serves",
    ("apps", "ControllerRevision"): "made by controllers of members from what they run",
    ("certificates.k8s.io", "CertificateSigningRequest"): "addressed to the CA of one cluster",
    ("coordination.k8s.io", "Lease"): "held by a process of one cluster",
    ("coordination.k8s.io", "LeaseCandidate"): "held by a process of one cluster",
    ("internal.apiserver.k8s.io", "StorageVersion"): "of one server's store",
    ("networking.k8s.io", "IPAddress"): "allocated by one server",
    ("networking.k8s.io", "ServiceCIDR"): "of one cluster's network",
    ("resource.k8s.io", "ResourceSlice"): "of one cluster's nodes",
    ("storage.k8s.io", "CSINode"): "of one cluster's nodes",
    ("storage.k8s.io", "CSIStorageCapacity"): "of one cluster's storage",
    ("storage.k8s.io", "VolumeAttachment"): "of one cluster's nodes",
}
_TOKEN = "kubernetes.io/service-account-token"  # noqa: S105  (a type of Secrets)
_BOOTSTRAPPED = "kubernetes.io/bootstrapping"
"""Label that servers put on the roles they start with."""
_AUTO_UPDATED = "apf.kubernetes.io/autoupdate-spec"
"""Annotation that servers put on the flow control they start with."""


def is_propagated_kind(resource: Resource) -> bool:
    """Whether objects of a served resource are templates. Views cannot be created, and so are none."""
    return (
        resource.verbs >= _VERBS and resource.group not in _OWN_GROUPS and (resource.group, resource.kind) not in _KINDS
    )


def is_propagated(obj: Object) -> bool:
    """Whether an object of such a kind is a template."""
    metadata = obj["metadata"]
    labels = metadata.get("labels") or {}
    if labels.get(LOCAL) == "true" or _BOOTSTRAPPED in labels or _AUTO_UPDATED in (metadata.get("annotations") or {}):
        return False
    namespace, name, kind = metadata.get("namespace") or "", metadata["name"], obj["kind"]
    if namespace.startswith("kube-") or namespace == SYSTEM_NAMESPACE:
        return False
    match group_of(obj["apiVersion"]), kind:
        case "", "Namespace":
            return not name.startswith("kube-") and name not in ("default", SYSTEM_NAMESPACE)
        case "", "ServiceAccount":
            return bool(name != "default")
        case "", "ConfigMap":
            return bool(name != "kube-root-ca.crt")
        case "", "Secret":
            return bool(obj.get("type") != _TOKEN)
        case "", "Service":
            return (namespace, name) != ("default", "kubernetes")
        case "scheduling.k8s.io", "PriorityClass":
            return not name.startswith("system-")
        case "rbac.authorization.k8s.io", _:
            return not name.startswith(("system:", "hanse:"))
        case "apiextensions.k8s.io", "CustomResourceDefinition":
            return bool((obj.get("spec") or {}).get("group") not in _OWN_GROUPS)
        case _:
            return True
