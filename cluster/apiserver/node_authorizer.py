"""
What a kubelet may do: its own Node and Lease, the pods bound to it, and only the objects that those pods use.

The relation is asked from the object's end: a Secret is readable by node n1 when a pod of n1 refers to it. The pod that
proved a relation is remembered, so a kubelet that reads the same object again costs one look-up; no graph is kept.

Called by   cluster.apiserver.authorization.
Pairs with  cluster.apiserver.admission.node_restriction, which sees the objects and not only their names.
Source: kubernetes, plugin/pkg/auth/authorizer/node.
"""

from cluster.api import resources
from cluster.apiserver.pod_references import references_of
from cluster.apiserver.rbac import PolicyRule
from cluster.apiserver.requests import Attributes, Decision, ObjectReader, UserInfo
from cluster.machinery.objects import Object

NODE_USER_PREFIX = "system:node:"
NODE_GROUP = "system:nodes"
NODE_LEASE_NAMESPACE = "kube-node-lease"

PERSISTENT_VOLUME_CLAIMS = resources.named("persistentvolumeclaims")
PERSISTENT_VOLUMES = resources.named("persistentvolumes")
VOLUME_ATTACHMENTS = resources.named("volumeattachments.storage.k8s.io")
RESOURCE_SLICES = resources.by_path("resource.k8s.io", "v1", "resourceslices")

WITNESS_CACHE_SIZE = 50_000
"""Proven relations kept; about 300 bytes each."""

_READ = ("get", "list", "watch")
_OWN_OBJECT_VERBS = ("get", "create", "update", "patch", "delete")

# Not subdivided by node: everything else a kubelet needs, as in the ClusterRole system:node.
NODE_RULES = (
    PolicyRule(("create",), ("authentication.k8s.io",), ("tokenreviews",)),
    PolicyRule(("create",), ("authorization.k8s.io",), ("subjectaccessreviews", "localsubjectaccessreviews")),
    PolicyRule(_READ, ("",), ("services",)),
    PolicyRule(("create", "patch", "update"), ("", "events.k8s.io"), ("events",)),
    PolicyRule(("get",), ("",), ("endpoints",)),
    PolicyRule(("create", *_READ), ("certificates.k8s.io",), ("certificatesigningrequests",)),
    PolicyRule(_READ, ("storage.k8s.io",), ("csidrivers",)),
    PolicyRule(_READ, ("node.k8s.io",), ("runtimeclasses",)),
)


def node_name_of(user: UserInfo) -> str | None:
    """The node a user is; empty for a member of system:nodes without a node's name, None for everybody else."""
    if not user.name.startswith(NODE_USER_PREFIX) or NODE_GROUP not in user.groups:
        return None
    return user.name.removeprefix(NODE_USER_PREFIX)


class NodeAuthorizer:
    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader
        self._witnesses: dict[tuple[str, str, str, str], str] = {}

    def node_name(self, user: UserInfo) -> str | None:
        return node_name_of(user)

    async def authorize(self, attributes: Attributes) -> Decision:
        node = node_name_of(attributes.user)
        if node is None:
            return _no("")
        if not node:
            return _no(f'unknown node for user "{attributes.user.name}"')
        if attributes.is_resource:
            special = self._special(node, attributes)
            if special is not None:
                return special
        if any(rule.allows(attributes) for rule in NODE_RULES):
            return Decision(True)
        return _no("")

    def _special(self, node: str, a: Attributes) -> Decision | None:
        """The decision on resources that are divided by node; None for the others."""
        match (a.group, a.resource):
            case ("", "secrets" | "configmaps"):
                return self._read_namespaced(node, a)
            case ("", "persistentvolumeclaims") if a.subresource == "status":
                if a.verb not in ("update", "patch"):
                    return _no("can only get/update/patch this type")
                return self._related(node, a)
            case (
                ("", "persistentvolumeclaims" | "persistentvolumes")
                | ("resource.k8s.io", "resourceclaims")
                | ("storage.k8s.io", "volumeattachments")
            ):
                return self._get(node, a)
            case ("", "serviceaccounts"):
                return self._service_account(node, a)
            case ("coordination.k8s.io", "leases"):
                return _lease(node, a)
            case ("storage.k8s.io", "csinodes"):
                return _csi_node(node, a)
            case ("resource.k8s.io", "resourceslices"):
                return self._resource_slice(node, a)
            case ("", "nodes"):
                return _node(node, a)
            case ("", "pods"):
                return self._pod(node, a)
            case _:
                return None

    def _read_namespaced(self, node: str, a: Attributes) -> Decision:
        if a.verb not in _READ:
            return _no("can only read resources of this type")
        if a.subresource:
            return _no("cannot read subresource")
        if not a.namespace:
            return _no("can only read namespaced object of this type")
        return self._related(node, a)

    def _get(self, node: str, a: Attributes) -> Decision:
        if a.verb != "get":
            return _no("can only get individual resources of this type")
        if a.subresource:
            return _no("cannot get subresource")
        return self._related(node, a)

    def _service_account(self, node: str, a: Attributes) -> Decision:
        # A kubelet reads the accounts of its pods to pull images with their credentials, and asks for their tokens.
        if a.verb == "get" and not a.subresource:
            return self._related(node, a)
        if a.verb != "create" or not a.name:
            return _no("can only create tokens for individual service accounts")
        if a.subresource != "token":
            return _no("can only create token subresource of serviceaccount")
        return self._related(node, a)

    def _resource_slice(self, node: str, a: Attributes) -> Decision:
        if a.subresource:
            return _no("cannot authorize ResourceSlice subresources")
        match a.verb:
            case "create":
                return Decision(True)
            case "get" | "update" | "patch" | "delete":
                return self._related(node, a)
            case "watch" | "list" | "deletecollection":
                if _selects(a.field_selector, "nodeName", node):
                    return Decision(True)
                return _no("can only list/watch/deletecollection resourceslices with nodeName field selector")
            case _:
                return _no(
                    "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch,"
                    " delete, deletecollection"
                )

    def _pod(self, node: str, a: Attributes) -> Decision:
        match (a.subresource, a.verb):
            case ("", "get"):
                return self._related(node, a)
            case ("", "list" | "watch"):
                if _selects(a.field_selector, "spec.nodeName", node):
                    return Decision(True)
                if a.name:
                    return self._related(node, a)
                return _no("can only list/watch pods with spec.nodeName field selector")
            case ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create"):
                return Decision(True)
            case _:
                return _no("")

    def _related(self, node: str, a: Attributes) -> Decision:
        if not a.name:
            return _no("No Object name found")
        if self._is_related(node, a):
            return Decision(True)
        return _no(f"no relationship found between node '{node}' and this object")

    def _is_related(self, node: str, a: Attributes) -> bool:
        match a.resource:
            case "pods":
                pod = self._reader.get(resources.PODS, a.namespace, a.name)
                return pod is not None and (pod.get("spec") or {}).get("nodeName") == node
            case "volumeattachments":
                attachment = self._reader.get(VOLUME_ATTACHMENTS, "", a.name)
                return attachment is not None and attachment["spec"].get("nodeName") == node
            case "resourceslices":
                found = self._reader.get(RESOURCE_SLICES, "", a.name) if RESOURCE_SLICES else None
                return found is not None and found["spec"].get("nodeName") == node
            case _:
                return self._is_used(node, a)

    def _is_used(self, node: str, a: Attributes) -> bool:
        if a.resource == "persistentvolumes":
            volume = self._reader.get(PERSISTENT_VOLUMES, "", a.name)
            return volume is not None and self._uses_volume(node, volume)
        if self._uses(node, a.resource, a.namespace, a.name):
            return True
        # node <- pod <- claim <- volume <- secret
        return a.resource == "secrets" and any(
            (a.namespace, a.name) in volume_secrets(volume) and self._uses_volume(node, volume)
            for volume in self._reader.list(PERSISTENT_VOLUMES)
        )

    def _uses_volume(self, node: str, volume: Object) -> bool:
        bound_to = (volume.get("spec") or {}).get("claimRef") or {}
        namespace, name = bound_to.get("namespace") or "", bound_to.get("name") or ""
        claim = self._reader.get(PERSISTENT_VOLUME_CLAIMS, namespace, name)
        return (
            claim is not None
            and (claim.get("spec") or {}).get("volumeName") == volume["metadata"]["name"]
            and self._uses(node, "persistentvolumeclaims", namespace, name)
        )

    def _uses(self, node: str, resource: str, namespace: str, name: str) -> bool:
        """Does a pod of the node refer to the object? The pod that proved it last time is asked first."""
        question = (node, resource, namespace, name)
        witness = self._witnesses.get(question)
        if witness is not None:
            pod = self._reader.get(resources.PODS, namespace, witness)
            if pod is not None and _refers(pod, node, resource, namespace, name):
                return True
        for pod in self._reader.list(resources.PODS, namespace):
            if _refers(pod, node, resource, namespace, name):
                if len(self._witnesses) >= WITNESS_CACHE_SIZE:
                    self._witnesses.clear()
                self._witnesses[question] = pod["metadata"]["name"]
                return True
        return False


def _refers(pod: Object, node: str, resource: str, namespace: str, name: str) -> bool:
    if (pod.get("spec") or {}).get("nodeName") != node:
        return False
    return (namespace, name) in references_of(pod).names(resource)


def volume_secrets(volume: Object) -> set[tuple[str, str]]:
    """(namespace, name) of the Secrets that a PersistentVolume's driver is given on a node."""
    spec = volume.get("spec") or {}
    claim_namespace = (spec.get("claimRef") or {}).get("namespace") or ""
    found: set[tuple[str, str]] = set()

    def add(reference: Object | None) -> None:
        if reference and reference.get("name"):
            found.add((reference.get("namespace") or claim_namespace, reference["name"]))

    csi = spec.get("csi") or {}
    for field in ("nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"):
        add(csi.get(field))
    for source in ("cephfs", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"):
        add((spec.get(source) or {}).get("secretRef"))
    if azure := spec.get("azureFile"):
        add({"name": azure.get("secretName"), "namespace": azure.get("secretNamespace")})
    return found


def _lease(node: str, a: Attributes) -> Decision:
    if a.verb not in _OWN_OBJECT_VERBS:
        return _no("can only get, create, update, patch, or delete a node lease")
    if a.namespace != NODE_LEASE_NAMESPACE:
        return _no(f'can only access leases in the "{NODE_LEASE_NAMESPACE}" system namespace')
    if a.verb != "create" and a.name != node:
        return _no("can only access node lease with the same name as the requesting node")
    return Decision(True)


def _csi_node(node: str, a: Attributes) -> Decision:
    if a.verb not in _OWN_OBJECT_VERBS:
        return _no("can only get, create, update, patch, or delete a CSINode")
    if a.subresource:
        return _no("cannot authorize CSINode subresources")
    if a.verb != "create" and a.name != node:
        return _no("can only access CSINode with the same name as the requesting node")
    return Decision(True)


def _node(node: str, a: Attributes) -> Decision:
    match (a.subresource, a.verb):
        case ("", "create" | "update" | "patch") | ("status", "update" | "patch"):
            return Decision(True)
        case ("", "get" | "list" | "watch"):
            if a.name == node or _selects(a.field_selector, "metadata.name", node):
                return Decision(True)
            if not a.name:
                return _no(f"node '{node}' cannot read all nodes, only its own Node object")
            return _no(f"node '{node}' cannot read '{a.name}', only its own Node object")
        case _:
            return _no("")


def _selects(field_selector: str, field: str, value: str) -> bool:
    return any(
        term in (f"{field}={value}", f"{field}=={value}") for term in field_selector.replace(" ", "").split(",") if term
    )


def _no(reason: str) -> Decision:
    return Decision(False, reason)
