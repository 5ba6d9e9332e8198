"""What has to be in a cluster before an object can work there. Pure."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cluster.machinery.objects import Object
from federation.placement.workloads import pod_template

_ORDER = {
    "Namespace": 0,
    "CustomResourceDefinition": 1,
    "PriorityClass": 2,
    "StorageClass": 2,
    "RuntimeClass": 2,
    "IngressClass": 2,
    "ResourceQuota": 3,
    "LimitRange": 3,
    "ServiceAccount": 4,
    "ClusterRole": 4,
    "Role": 4,
    "ConfigMap": 4,
    "Secret": 4,
    "PersistentVolume": 4,
    "PersistentVolumeClaim": 5,
    "ClusterRoleBinding": 5,
    "RoleBinding": 5,
    "Service": 6,
}
_WORKLOADS = 7
_CUSTOM = 8
_LAST = {"APIService": 9, "ValidatingWebhookConfiguration": 9, "MutatingWebhookConfiguration": 9}
"""They take effect on what comes after them, and what they call has to run first."""
_MADE_BY_MEMBERS = frozenset([("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")])
_SECRET_VOLUMES = {
    "azureFile": "secretName",
    "cephfs": "secretRef",
    "flexVolume": "secretRef",
    "iscsi": "secretRef",
    "rbd": "secretRef",
    "scaleIO": "secretRef",
    "storageos": "secretRef",
    "csi": "nodePublishSecretRef",
}


class Reference(NamedTuple):
    """An object that another one names."""

    api_version: str
    kind: str
    namespace: str
    name: str


def dependencies_of(template: Object) -> tuple[Reference, ...]:
    """
    ConfigMaps, Secrets, PersistentVolumeClaims and ServiceAccounts that an object's Pods name; sorted, each once.

    An Ingress names its TLS Secrets, a ServiceAccount its pull Secrets. What is optional counts too: if it is there it
    is meant. What every cluster makes itself is left out.
    """
    namespace = (template.get("metadata") or {}).get("namespace") or ""
    named = {
        (kind, name)
        for kind, name in _named(template)
        if isinstance(name, str) and name and (kind, name) not in _MADE_BY_MEMBERS
    }
    return tuple(Reference("v1", kind, namespace, name) for kind, name in sorted(named))


def apply_order(objects: Iterable[Object]) -> list[Object]:
    """Namespaces, definitions, what Pods need, workloads, custom resources, hooks; deletions go the other way round."""
    return sorted(objects, key=rank)


def rank(obj: Object) -> int:
    """Where an object's kind stands in `apply_order`."""
    kind, group = obj.get("kind") or "", (obj.get("apiVersion") or "").rpartition("/")[0]
    if group and "." in group and not group.endswith(".k8s.io"):
        return _CUSTOM
    return _ORDER.get(kind, _LAST.get(kind, _WORKLOADS))


def _named(template: Object) -> Iterator[tuple[str, object]]:
    spec = template.get("spec") or {}
    if template.get("kind") == "Ingress":
        for entry in spec.get("tls") or ():
            yield "Secret", entry.get("secretName")
    if template.get("kind") == "ServiceAccount":
        for entry in template.get("imagePullSecrets") or ():
            yield "Secret", entry.get("name")
    pod = pod_template(template)
    if pod is None:
        return
    pod_spec = pod.get("spec") or {}
    yield "ServiceAccount", pod_spec.get("serviceAccountName") or pod_spec.get("serviceAccount")
    for entry in pod_spec.get("imagePullSecrets") or ():
        yield "Secret", entry.get("name")
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in pod_spec.get(field) or ():
            yield from _of_environment(container)
    # A StatefulSet's claims are made from its templates; a volume of that name is theirs.
    for volume in pod_spec.get("volumes") or ():
        yield from _of_volume(volume)


def _of_environment(container: Object) -> Iterator[tuple[str, object]]:
    for source in container.get("envFrom") or ():
        yield "ConfigMap", (source.get("configMapRef") or {}).get("name")
        yield "Secret", (source.get("secretRef") or {}).get("name")
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        yield "ConfigMap", (source.get("configMapKeyRef") or {}).get("name")
        yield "Secret", (source.get("secretKeyRef") or {}).get("name")


def _of_volume(volume: Object) -> Iterator[tuple[str, object]]:
    yield "ConfigMap", (volume.get("configMap") or {}).get("name")
    yield "Secret", (volume.get("secret") or {}).get("secretName")
    yield "PersistentVolumeClaim", (volume.get("persistentVolumeClaim") or {}).get("claimName")
    for source in (volume.get("projected") or {}).get("sources") or ():
        yield "ConfigMap", (source.get("configMap") or {}).get("name")
        yield "Secret", (source.get("secret") or {}).get("name")
    for field, reference in _SECRET_VOLUMES.items():
        found = (volume.get(field) or {}).get(reference)
        yield "Secret", found.get("name") if isinstance(found, dict) else found
