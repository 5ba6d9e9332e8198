"""What a pod asks for when it only said what it may use at most."""

from decimal import Decimal

from cluster.api.defaults.filling import child, items
from cluster.machinery.objects import Object
from cluster.machinery.quantity import format_quantity, parse_quantity

_POD_LEVEL = ("cpu", "memory")


def requests_from_limits(container: Object) -> None:
    """A limit without a request is the request as well."""
    resources = container.get("resources") or {}
    limits = resources.get("limits")
    if not limits:
        return
    requests = child(resources, "requests")
    for name, limit in limits.items():
        requests.setdefault(name, limit)


def default_pod_level_resources(spec: Object) -> None:
    """Requests of the pod as a whole: what its containers request together, else the pod's own limit."""
    resources = spec.get("resources")
    if not resources or not (resources.get("limits") or resources.get("requests")):
        return
    limits = resources.get("limits") or {}
    requests = dict(resources.get("requests") or {})
    together = _requested_by_containers(spec)
    for name in sorted({*limits, *together}):
        if name in requests or not (name in _POD_LEVEL or name.startswith("hugepages-")):
            continue
        if name in together:
            requests[name] = format_quantity(together[name])
        elif name in limits:
            requests[name] = limits[name]
    if requests:
        resources["requests"] = requests


def _requested_by_containers(spec: Object) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}
    for container in items(spec, "containers"):
        for name, amount in ((container.get("resources") or {}).get("requests") or {}).items():
            total[name] = total.get(name, Decimal(0)) + parse_quantity(amount)
    return total
