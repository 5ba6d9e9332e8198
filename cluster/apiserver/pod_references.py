"""
Which other objects a pod uses: what its kubelet must be able to read. Pure.

Used by the Node authorizer (may this node read it?), NodeRestriction (mirror pods use none), ServiceAccount admission.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from cluster.machinery.objects import Object

Name = tuple[str, str]
"""Namespace and name."""


@dataclass(slots=True)
class PodReferences:
    """Namespaced names by plural resource name."""

    by_resource: dict[str, set[Name]] = field(default_factory=dict)

    def names(self, resource: str) -> set[Name]:
        return self.by_resource.get(resource) or set()

    def add(self, other: "PodReferences") -> None:
        for resource, names in other.by_resource.items():
            self.by_resource.setdefault(resource, set()).update(names)

    def note(self, resource: str, namespace: str, name: str | None) -> None:
        if name:
            self.by_resource.setdefault(resource, set()).add((namespace, name))


def containers_of(spec: Object) -> Iterator[Object]:
    """All containers of a pod spec: init, ordinary, ephemeral."""
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind) or ()


def references_of(pod: Object) -> PodReferences:
    """
    Everything a pod's spec names: secrets, configmaps, serviceaccounts, persistentvolumeclaims, resourceclaims.

    A mirror pod grants nothing: a kubelet made it, so it would be granting to itself.
    """
    found = PodReferences()
    metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    namespace = metadata.get("namespace") or ""
    if "kubernetes.io/config.mirror" in (metadata.get("annotations") or {}):
        return found
    found.note("serviceaccounts", namespace, spec.get("serviceAccountName"))
    for reference in spec.get("imagePullSecrets") or ():
        found.note("secrets", namespace, reference.get("name"))
    for container in containers_of(spec):
        _container(found, namespace, container)
    for volume in spec.get("volumes") or ():
        _volume(found, namespace, metadata.get("name") or "", volume)
    for claim in spec.get("resourceClaims") or ():
        found.note("resourceclaims", namespace, claim.get("resourceClaimName"))
    for claim in (pod.get("status") or {}).get("resourceClaimStatuses") or ():
        found.note("resourceclaims", namespace, claim.get("resourceClaimName"))
    return found


def _container(found: PodReferences, namespace: str, container: Object) -> None:
    for source in container.get("envFrom") or ():
        found.note("secrets", namespace, (source.get("secretRef") or {}).get("name"))
        found.note("configmaps", namespace, (source.get("configMapRef") or {}).get("name"))
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        found.note("secrets", namespace, (source.get("secretKeyRef") or {}).get("name"))
        found.note("configmaps", namespace, (source.get("configMapKeyRef") or {}).get("name"))


def _volume(found: PodReferences, namespace: str, pod_name: str, volume: Object) -> None:
    found.note("secrets", namespace, (volume.get("secret") or {}).get("secretName"))
    found.note("configmaps", namespace, (volume.get("configMap") or {}).get("name"))
    found.note("persistentvolumeclaims", namespace, (volume.get("persistentVolumeClaim") or {}).get("claimName"))
    if "ephemeral" in volume and pod_name:
        found.note("persistentvolumeclaims", namespace, f"{pod_name}-{volume.get('name')}")
    for source in (volume.get("projected") or {}).get("sources") or ():
        found.note("secrets", namespace, (source.get("secret") or {}).get("name"))
        found.note("configmaps", namespace, (source.get("configMap") or {}).get("name"))
    found.note("secrets", namespace, (volume.get("azureFile") or {}).get("secretName"))
    for kind in ("csi", "cephfs", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"):
        source = volume.get(kind) or {}
        field_name = "nodePublishSecretRef" if kind == "csi" else "secretRef"
        found.note("secrets", namespace, (source.get(field_name) or {}).get("name"))
