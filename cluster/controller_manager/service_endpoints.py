"""
Which Pods stand behind a Service, and at which ports. Pure; shared by EndpointSlices and Endpoints.

Source: kube-controller-manager, pkg/controller/endpointslice, k8s.io/endpointslice.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cluster.controller_manager.pods import is_ready, is_terminal
from cluster.machinery.labels import NOTHING, Selector
from cluster.machinery.objects import Object, key_of

TOLERATE_UNREADY = "service.alpha.kubernetes.io/tolerate-unready-endpoints"


@dataclass(frozen=True, slots=True)
class PortOf:
    """One port of a Service as it is at certain Pods; hashable, since Pods may differ in named ports."""

    name: str
    protocol: str
    port: int | None
    app_protocol: str = ""

    def as_object(self) -> Object:
        obj: Object = {"name": self.name, "protocol": self.protocol}
        if self.port is not None:
            obj["port"] = self.port
        if self.app_protocol:
            obj["appProtocol"] = self.app_protocol
        return obj


@dataclass(frozen=True, slots=True)
class Backend:
    """One Pod behind a Service."""

    address: str
    ports: tuple[PortOf, ...]
    ready: bool
    serving: bool
    terminating: bool
    hostname: str
    node_name: str
    zone: str
    namespace: str
    name: str
    uid: str

    @property
    def target_ref(self) -> Object:
        return {"kind": "Pod", "namespace": self.namespace, "name": self.name, "uid": self.uid}


def selector_of_service(service: Object) -> Selector:
    selector = service["spec"].get("selector")
    return Selector.from_labels(selector) if selector else NOTHING


def is_managed(service: Object) -> bool:
    """Whether its endpoints are ours to write: not without selector, not for a name elsewhere."""
    return bool(service["spec"].get("selector")) and service["spec"].get("type") != "ExternalName"


def is_headless(service: Object) -> bool:
    return bool(service["spec"].get("clusterIP") == "None")


def families_of(service: Object) -> list[str]:
    """IPv4, IPv6 or both."""
    families = service["spec"].get("ipFamilies")
    if families:
        return list(families)
    address = service["spec"].get("clusterIP") or ""
    return ["IPv6" if ":" in address else "IPv4"]


def publishes_unready(service: Object) -> bool:
    annotations = service["metadata"].get("annotations") or {}
    return bool(service["spec"].get("publishNotReadyAddresses")) or annotations.get(TOLERATE_UNREADY) == "true"


def ports_at(service: Object, pod: Object) -> tuple[PortOf, ...]:
    """The Service's ports with named targets looked up in the Pod; ports it does not have are left out."""
    found = []
    for port in service["spec"].get("ports") or ():
        protocol = port.get("protocol") or "TCP"
        number = _target_port(port, protocol, pod)
        if number is not None:
            found.append(PortOf(port.get("name") or "", protocol, number, port.get("appProtocol") or ""))
    return tuple(found)


def _target_port(port: Object, protocol: str, pod: Object) -> int | None:
    target = port.get("targetPort")
    if target is None or target == 0 or target == "":
        return int(port["port"])
    if isinstance(target, int):
        return target
    sidecars = [c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in (*(pod["spec"].get("containers") or ()), *sidecars):
        for candidate in container.get("ports") or ():
            if candidate.get("name") == target and (candidate.get("protocol") or "TCP") == protocol:
                return int(candidate["containerPort"])
    return None


def addresses_of(pod: Object, family: str) -> list[str]:
    status = pod.get("status") or {}
    every = [entry["ip"] for entry in status.get("podIPs") or () if entry.get("ip")]
    if not every and status.get("podIP"):
        every = [status["podIP"]]
    return [ip for ip in every if (ipaddress.ip_address(ip).version == 6) == (family == "IPv6")]


def backends_of(service: Object, pods: Iterable[Object], family: str, zones: dict[str, str]) -> list[Backend]:
    """The Pods behind the Service with an address of the family, in a stable order."""
    found = []
    unready = publishes_unready(service)
    for pod in pods:
        addresses = addresses_of(pod, family)
        if not addresses or is_terminal(pod):
            continue
        terminating = bool(pod["metadata"].get("deletionTimestamp"))
        serving = is_ready(pod)
        spec, (namespace, name) = pod["spec"], key_of(pod)
        has_name = spec.get("hostname") and spec.get("subdomain") == service["metadata"]["name"]
        node = spec.get("nodeName") or ""
        found.append(
            Backend(
                address=addresses[0],
                ports=ports_at(service, pod),
                ready=unready or (serving and not terminating),
                serving=serving,
                terminating=terminating,
                hostname=spec["hostname"] if has_name else "",
                node_name=node,
                zone=zones.get(node, ""),
                namespace=namespace,
                name=name,
                uid=pod["metadata"].get("uid") or "",
            )
        )
    return sorted(found, key=lambda backend: (backend.namespace, backend.name))


def by_ports(backends: Sequence[Backend]) -> dict[tuple[PortOf, ...], list[Backend]]:
    """Backends that share their ports share a slice."""
    found: dict[tuple[PortOf, ...], list[Backend]] = {}
    for backend in backends:
        found.setdefault(backend.ports, []).append(backend)
    return found
