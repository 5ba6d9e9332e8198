"""
The Scale of a custom resource: its definition says at which paths replicas and selector are.

Source: k8s.io/apiextensions-apiserver, pkg/registry/customresource/etcd.go.
"""

from typing import Any

from cluster.api.custom_resource import CustomResource, nested_int
from cluster.api.structural_schema import paths
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError


def scale_of(resource: CustomResource, obj: Object) -> Object:
    """Raises ApiError (500) when there is no number of replicas."""
    where = resource.scale or {}
    metadata = obj["metadata"]
    try:
        replicas = nested_int(obj, where["specReplicasPath"])
        status: Object = {"replicas": nested_int(obj, where["statusReplicasPath"]) or 0}
    except ValueError as fault:
        raise ApiError(f"Internal error occurred: {fault}") from None
    if replicas is None:
        path = where["specReplicasPath"]
        raise ApiError(f'Internal error occurred: the spec replicas field "{path}" does not exist')
    selector = paths.find(where["labelSelectorPath"], obj) if where.get("labelSelectorPath") else []
    if selector and isinstance(selector[0], str) and selector[0]:
        status["selector"] = selector[0]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


def set_replicas(resource: CustomResource, obj: Object, replicas: int) -> None:
    """In place."""
    *holders, last = paths.simple_names((resource.scale or {})["specReplicasPath"])
    inner: Any = obj
    for name in holders:
        inner = inner.setdefault(name, {})
    inner[last] = replicas
