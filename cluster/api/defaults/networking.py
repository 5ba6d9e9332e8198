"""Defaults of networking.k8s.io and discovery.k8s.io."""

from cluster.api.defaults.filling import child, fill_pointer, items, mappings
from cluster.machinery.objects import Object


def default_ingress(ingress: Object) -> None:
    spec = child(ingress, "spec")
    for backend in mappings(spec, "defaultBackend"):
        _default_backend(backend)
    for rule in items(spec, "rules"):
        for http in mappings(rule, "http"):
            for path in items(http, "paths"):
                _default_backend(child(path, "backend"))
    child(child(ingress, "status"), "loadBalancer")


def _default_backend(backend: Object) -> None:
    for service in mappings(backend, "service"):
        child(service, "port")


def default_ingress_class(ingress_class: Object) -> None:
    for parameters in mappings(child(ingress_class, "spec"), "parameters"):
        fill_pointer(parameters, "scope", "Cluster")


def default_network_policy(policy: Object) -> None:
    """Ingress is always meant; egress only where rules for it are given."""
    spec = child(policy, "spec")
    child(spec, "podSelector")
    for rule in [*items(spec, "ingress"), *items(spec, "egress")]:
        for port in items(rule, "ports"):
            fill_pointer(port, "protocol", "TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def default_service_cidr(service_cidr: Object) -> None:
    child(service_cidr, "spec")
    child(service_cidr, "status")


def default_endpoint_slice(endpoint_slice: Object) -> None:
    for port in items(endpoint_slice, "ports"):
        fill_pointer(port, "name", "")
        fill_pointer(port, "protocol", "TCP")
    for endpoint in items(endpoint_slice, "endpoints"):
        child(endpoint, "conditions")
    endpoint_slice.setdefault("endpoints", None)
    endpoint_slice.setdefault("ports", None)
