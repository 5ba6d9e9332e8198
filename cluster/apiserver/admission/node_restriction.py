"""
NodeRestriction: a kubelet writes its own Node, Lease and CSINode, and the pods bound to it; nothing else.

Pairs with cluster.apiserver.node_authorizer, which decides by names alone; here the objects are seen.
Source: kubernetes, plugin/pkg/admission/noderestriction. Blocks also what CVE-2025-5187 did: own ownerReferences.
"""

from cluster.api import resources
from cluster.apiserver.admission.plugin import CREATE, DELETE, UPDATE, Plugin, metadata_of, refuse, spec_of
from cluster.apiserver.node_authorizer import NODE_LEASE_NAMESPACE, node_name_of
from cluster.apiserver.pod_references import containers_of
from cluster.apiserver.requests import AdmissionRequest
from cluster.machinery.field_errors import quoted
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import not_found

MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
RESTRICTED_PREFIX = "node-restriction.kubernetes.io"

KUBELET_LABELS = frozenset(
    {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "node.kubernetes.io/instance-type",
        "beta.kubernetes.io/instance-type",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
    }
)
KUBELET_LABEL_NAMESPACES = ("kubelet.kubernetes.io", "node.kubernetes.io")
"""Label namespaces, and those below them, in which a kubelet may label its Node as it likes."""


class NodeRestriction(Plugin):
    name = "NodeRestriction"
    operations = frozenset({CREATE, UPDATE, DELETE})
    resources = frozenset(
        {
            "pods",
            "nodes",
            "persistentvolumeclaims",
            "serviceaccounts",
            "leases.coordination.k8s.io",
            "csinodes.storage.k8s.io",
            "resourceslices.resource.k8s.io",
        }
    )

    async def mutate(self, request: AdmissionRequest) -> None:
        node = node_name_of(request.user)
        if node is None:
            return
        if not node:
            raise refuse(request, f"could not determine node from user {quoted(request.user.name)}")
        match request.resource.plural:
            case "pods":
                await self._pod(request, node)
            case "nodes":
                _node(request, node)
            case "persistentvolumeclaims":
                _claim(request, node)
            case "serviceaccounts":
                await self._token(request, node)
            case "leases":
                if request.namespace != NODE_LEASE_NAMESPACE:
                    raise refuse(request, f'can only access leases in the "{NODE_LEASE_NAMESPACE}" system namespace')
                if _name(request) != node:
                    raise refuse(request, "can only access node lease with the same name as the requesting node")
            case "csinodes":
                if _name(request) != node:
                    raise refuse(request, "can only access CSINode with the same name as the requesting node")
            case _:
                _resource_slice(request, node)

    async def _pod(self, request: AdmissionRequest, node: str) -> None:
        shown = quoted(node)
        match (request.subresource, request.operation):
            case ("", "CREATE"):
                await self._mirror_pod(request, node)
            case ("", "DELETE"):
                pod = request.old if request.old is not None else await self._existing_pod(request, request.name)
                if spec_of(pod).get("nodeName") != node:
                    raise refuse(request, f"node {shown} can only delete pods with spec.nodeName set to itself")
            case ("", _):
                raise refuse(
                    request,
                    f'unexpected operation "{request.operation}", node {shown} can only create and delete mirror pods',
                )
            case ("status", "UPDATE"):
                self._pod_status(request, node)
            case ("eviction", "CREATE"):
                name = request.name or metadata_of(request).get("name") or ""
                if not name:
                    raise refuse(request, "could not determine pod from request data")
                pod = await self._existing_pod(request, name)
                if spec_of(pod).get("nodeName") != node:
                    raise refuse(request, f"node {node} can only evict pods with spec.nodeName set to itself")
            case ("status" | "eviction", _):
                raise refuse(request, f'unexpected operation "{request.operation}"')
            case _:
                raise refuse(
                    request,
                    f"unexpected pod subresource {quoted(request.subresource)}, only 'status' and 'eviction' are"
                    " allowed",
                )

    def _pod_status(self, request: AdmissionRequest, node: str) -> None:
        shown = quoted(node)
        old, new = request.old or {}, request.obj or {}
        if spec_of(old).get("nodeName") != node:
            why = f"node {shown} can only update pod status for pods with spec.nodeName set to itself"  # noqa: S608  # no SQL
            raise refuse(request, why)
        if (old["metadata"].get("labels") or {}) != ((new.get("metadata") or {}).get("labels") or {}):
            raise refuse(request, f"node {shown} cannot update labels through pod status")
        claims = [(pod.get("status") or {}).get("resourceClaimStatuses") or [] for pod in (old, new)]
        if claims[0] != claims[1]:
            raise refuse(request, f"node {shown} cannot update resource claim statues")

    async def _existing_pod(self, request: AdmissionRequest, name: str) -> Object:
        pod = self.reader.get(resources.PODS, request.namespace, name)
        if pod is None:
            pod = await self.reader.get_current(resources.PODS, request.namespace, name)
        if pod is None:
            raise not_found("", "pods", name)
        return pod

    async def _mirror_pod(self, request: AdmissionRequest, node: str) -> None:
        shown = quoted(node)
        metadata, spec = metadata_of(request), spec_of(request.obj)
        if MIRROR_ANNOTATION not in (metadata.get("annotations") or {}):
            raise refuse(
                request,
                f'pod does not have "{MIRROR_ANNOTATION}" annotation, node {shown} can only create mirror pods',
            )
        if spec.get("nodeName") != node:
            raise refuse(request, f"node {shown} can only create pods with spec.nodeName set to itself")
        owners = metadata.get("ownerReferences") or []
        if len(owners) > 1:
            raise refuse(request, f"node {shown} can only create pods with a single owner reference set to itself")
        owner = owners[0] if owners else {}
        if (owner.get("apiVersion"), owner.get("kind"), owner.get("name")) != ("v1", "Node", node):
            raise refuse(request, f"node {shown} can only create pods with an owner reference set to itself")
        if not owner.get("controller"):
            raise refuse(request, f"node {shown} can only create pods with a controller owner reference set to itself")
        if owner.get("blockOwnerDeletion"):
            raise refuse(request, f"node {shown} must not set blockOwnerDeletion on an owner reference")
        existing = self.reader.get(resources.NODES, "", node)
        if existing is None:
            existing = await self.reader.get_current(resources.NODES, "", node)
        if existing is None:
            raise not_found("", "nodes", node)
        uid = existing["metadata"]["uid"]
        if owner.get("uid") != uid:
            raise refuse(request, f"node {node} UID mismatch: expected {owner.get('uid')} got {uid}")
        if what := _references(spec):
            raise refuse(request, f"node {shown} can not create pods that reference {what}")

    async def _token(self, request: AdmissionRequest, node: str) -> None:
        """A kubelet asks for tokens of pods that it runs, and for no others."""
        if request.operation != CREATE or request.subresource != "token":
            return
        reference = spec_of(request.obj).get("boundObjectRef") or {}
        if reference.get("apiVersion") != "v1" or reference.get("kind") != "Pod" or not reference.get("name"):
            raise refuse(request, "node requested token not bound to a pod")
        if not reference.get("uid"):
            raise refuse(request, "node requested token with a pod binding without a uid")
        pod = await self._existing_pod(request, reference["name"])
        if pod["metadata"].get("uid") != reference["uid"]:
            raise refuse(
                request,
                f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record."
                " The object might have been deleted and then recreated",
            )
        if spec_of(pod).get("nodeName") != node:
            raise refuse(request, "node requested token bound to a pod scheduled on a different node")


def _name(request: AdmissionRequest) -> str:
    return request.name or metadata_of(request).get("name") or ""


def _references(spec: Object) -> str:
    """What a mirror pod refers to although it may not; empty when it refers to nothing."""
    if spec.get("serviceAccountName"):
        return "a service account"
    volumes = spec.get("volumes") or ()
    projected = [s for v in volumes for s in (v.get("projected") or {}).get("sources") or ()]
    variables = [e.get("valueFrom") or {} for c in containers_of(spec) for e in c.get("env") or ()]
    imported = [e for c in containers_of(spec) for e in c.get("envFrom") or ()]
    checks = {
        "secrets": (
            any("secret" in source for source in (*volumes, *projected))
            or any("secretKeyRef" in source for source in variables)
            or any("secretRef" in source for source in imported)
            or bool(spec.get("imagePullSecrets"))
        ),
        "configmaps": (
            any("configMap" in source for source in (*volumes, *projected))
            or any("configMapKeyRef" in source for source in variables)
            or any("configMapRef" in source for source in imported)
        ),
        "clustertrustbundles": any("clusterTrustBundle" in source for source in projected),
        "persistentvolumeclaims": any("persistentVolumeClaim" in source for source in volumes),
        "resourceclaims": bool(spec.get("resourceClaims")),
    }
    return next((what for what, found in checks.items() if found), "")


def _node(request: AdmissionRequest, node: str) -> None:
    shown = quoted(node)
    name = _name(request)
    if name != node:
        raise refuse(request, f"node {shown} is not allowed to modify node {quoted(name)}")
    if request.operation == DELETE:
        return
    spec, old_spec = spec_of(request.obj), spec_of(request.old)
    metadata = metadata_of(request)
    old_metadata = (request.old or {}).get("metadata") or {}
    labels, old_labels = metadata.get("labels") or {}, old_metadata.get("labels") or {}
    modified = {key for key in labels.keys() | old_labels.keys() if labels.get(key) != old_labels.get(key)}
    forbidden_labels = ", ".join(sorted(key for key in modified if not _kubelet_may_label(key)))
    if request.operation == CREATE:
        if spec.get("configSource") is not None:
            raise refuse(request, f"node {shown} is not allowed to create pods with a non-nil configSource")
        if forbidden_labels:
            raise refuse(request, f"node {shown} is not allowed to set the following labels: {forbidden_labels}")
        return
    if spec.get("configSource") is not None and spec.get("configSource") != old_spec.get("configSource"):
        raise refuse(request, f"node {shown} is not allowed to update configSource to a new non-nil configSource")
    if (spec.get("taints") or []) != (old_spec.get("taints") or []):
        raise refuse(request, f"node {shown} is not allowed to modify taints")
    if forbidden_labels:
        raise refuse(request, f"is not allowed to modify labels: {forbidden_labels}")
    if (metadata.get("ownerReferences") or []) != (old_metadata.get("ownerReferences") or []):
        raise refuse(request, f"node {shown} is not allowed to modify ownerReferences")


def _kubelet_may_label(key: str) -> bool:
    namespace = key.partition("/")[0] if "/" in key else ""
    if _within(namespace, RESTRICTED_PREFIX):
        return False
    if not _within(namespace, "kubernetes.io") and not _within(namespace, "k8s.io"):
        return True
    return key in KUBELET_LABELS or any(_within(namespace, allowed) for allowed in KUBELET_LABEL_NAMESPACES)


def _within(namespace: str, domain: str) -> bool:
    return namespace == domain or namespace.endswith("." + domain)


def _claim(request: AdmissionRequest, node: str) -> None:
    if request.subresource != "status":
        raise refuse(request, "may only update PVC status")
    if request.operation != UPDATE:
        raise refuse(request, f'unexpected operation "{request.operation}"')
    free = ("capacity", "conditions", "allocatedResources", "allocatedResourceStatuses")

    def rest(claim: Object | None) -> Object:
        claim = claim or {}
        metadata = {k: v for k, v in claim["metadata"].items() if k not in ("resourceVersion", "managedFields")}
        status = {k: v for k, v in (claim.get("status") or {}).items() if k not in free}
        return {**claim, "metadata": metadata, "status": status}

    if rest(request.obj) != rest(request.old):
        raise refuse(
            request,
            f"node {quoted(node)} is not allowed to update fields other than status.capacity and status.conditions",
        )


def _resource_slice(request: AdmissionRequest, node: str) -> None:
    for obj in (request.obj, request.old):
        if obj is not None and spec_of(obj).get("nodeName") != node:
            why = "can only create ResourceSlice with the same NodeName as the requesting node"
            if request.operation == DELETE:
                why = "can only delete ResourceSlice with the same NodeName as the requesting node"
            raise refuse(request, why)
