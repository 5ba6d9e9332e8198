"""Defaults of the core group's objects that hold no pods."""

import base64

from cluster.api.defaults.filling import child, fill, fill_pointer, items
from cluster.api.defaults.volumes import default_volume_source
from cluster.machinery.objects import Object

CLIENT_IP_AFFINITY_SECONDS = 10_800
NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"


def default_service(service: Object) -> None:
    """IP families and addresses are not here: they are allocated."""
    spec = child(service, "spec")
    fill(spec, "type", "ClusterIP")
    _default_affinity(spec)
    for port in items(spec, "ports"):
        fill(port, "protocol", "TCP")
        if port.get("targetPort") in (None, "", 0):
            port["targetPort"] = port.get("port", 0)
    kind = spec["type"]
    if kind in ("NodePort", "LoadBalancer") or (kind == "ClusterIP" and spec.get("externalIPs")):
        fill(spec, "externalTrafficPolicy", "Cluster")
    if kind in ("ClusterIP", "NodePort", "LoadBalancer"):
        fill_pointer(spec, "internalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        fill_pointer(spec, "allocateLoadBalancerNodePorts", True)
    load_balancer = child(child(service, "status"), "loadBalancer")
    if kind == "LoadBalancer":
        for ingress in items(load_balancer, "ingress"):
            if ingress.get("ip"):
                fill_pointer(ingress, "ipMode", "VIP")


def _default_affinity(spec: Object) -> None:
    fill(spec, "sessionAffinity", "None")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        client_ip = child(child(spec, "sessionAffinityConfig"), "clientIP")
        fill_pointer(client_ip, "timeoutSeconds", CLIENT_IP_AFFINITY_SECONDS)


def default_endpoints(endpoints: Object) -> None:
    for subset in items(endpoints, "subsets"):
        for port in items(subset, "ports"):
            fill(port, "protocol", "TCP")


def default_namespace(namespace: Object) -> None:
    metadata = child(namespace, "metadata")
    if name := metadata.get("name"):
        child(metadata, "labels")[NAMESPACE_NAME_LABEL] = name
    child(namespace, "spec")
    fill(child(namespace, "status"), "phase", "Active")


def default_node(node: Object) -> None:
    """What can be allocated is everything, until the node says less."""
    child(node, "spec")
    status = child(node, "status")
    capacity = status.get("capacity")
    if capacity and status.get("allocatable") is None:
        status["allocatable"] = dict(capacity)
    child(child(status, "daemonEndpoints"), "kubeletEndpoint").setdefault("Port", 0)
    info = child(status, "nodeInfo")
    for key in ("machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion",
                "kubeletVersion", "kubeProxyVersion", "operatingSystem", "architecture"):  # fmt: skip
        fill_pointer(info, key, "")


def default_secret(secret: Object) -> None:
    """`stringData` is a way to write only: its values become data."""
    fill(secret, "type", "Opaque")
    plain = secret.pop("stringData", None)
    if plain:
        data = child(secret, "data")
        for key, value in plain.items():
            data[key] = base64.b64encode(str(value).encode()).decode()


def default_event(event: Object) -> None:
    """Times that are not known are written as null: upstream's are no pointers."""
    for key in ("firstTimestamp", "lastTimestamp", "eventTime"):
        event.setdefault(key, None)
    fill_pointer(event, "reportingComponent", "")
    fill_pointer(event, "reportingInstance", "")


def default_new_event(event: Object) -> None:
    """The same in events.k8s.io, whose old times are kept for old readers."""
    for key in ("deprecatedFirstTimestamp", "deprecatedLastTimestamp", "eventTime"):
        event.setdefault(key, None)


def default_limit_range(limit_range: Object) -> None:
    for item in items(child(limit_range, "spec"), "limits"):
        if item.get("type") == "Container":
            _default_container_limits(item)


def _default_container_limits(item: Object) -> None:
    default = {**(item.get("max") or {}), **(item.get("default") or {})}
    request = {**(item.get("min") or {}), **default, **(item.get("defaultRequest") or {})}
    if default:
        item["default"] = default
    if request:
        item["defaultRequest"] = request


def default_resource_quota(quota: Object) -> None:
    child(quota, "spec")
    child(quota, "status")


def default_persistent_volume(volume: Object) -> None:
    spec = child(volume, "spec")
    fill(spec, "persistentVolumeReclaimPolicy", "Retain")
    fill_pointer(spec, "volumeMode", "Filesystem")
    default_volume_source(spec)
    fill(child(volume, "status"), "phase", "Pending")


def default_token_request(request: Object) -> None:
    spec = child(request, "spec")
    fill_pointer(spec, "expirationSeconds", 3600)
    child(request, "status")
