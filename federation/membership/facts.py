"""
What a member is and can hold, for Cluster.status: version, APIs, nodes, zones, room.

`collect` asks the member; `facts_of` is pure. Quantities are sums over Ready nodes that take Pods.
"""

import asyncio
import datetime as dt
from collections.abc import Iterable
from typing import Any

import orjson

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.client.discovery import served_resources
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.quantity import Quantity, QuantityError
from federation.membership.shortages import shortages

ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
PAGE = 500


async def collect(client: ApiClient) -> Object:
    """The facts as fields of Cluster.status. Raises ApiError when the member cannot be asked."""
    answered, (served, _missing), nodes, pods = await asyncio.gather(
        client.request("GET", "/version"),
        served_resources(client),
        _all(client, resources.NODES),
        _all(client, resources.PODS, field_selector="status.phase!=Succeeded,status.phase!=Failed"),
    )
    version: Object = orjson.loads(answered)
    found = facts_of(str(version.get("gitVersion") or ""), served, nodes, pods)
    return {**found, "shortages": shortages(pods, dt.datetime.now(dt.UTC))}


async def _all(client: ApiClient, resource: Resource, *, field_selector: str = "") -> list[Object]:
    found: list[Object] = []
    continue_ = ""
    while True:
        page = await client.list(resource, limit=PAGE, continue_=continue_, field_selector=field_selector)
        found += page.get("items") or ()
        continue_ = (page.get("metadata") or {}).get("continue") or ""
        if not continue_:
            return found


def facts_of(version: str, served: Iterable[Resource], nodes: Iterable[Object], pods: Iterable[Object]) -> Object:
    kinds: dict[str, set[str]] = {}
    for resource in served:
        kinds.setdefault(resource.api_version, set()).add(resource.kind)
    listed = list(nodes)
    ready = [node for node in listed if _is_ready(node)]
    taking = {node["metadata"]["name"]: node for node in ready if not (node.get("spec") or {}).get("unschedulable")}
    there = [pod for pod in pods if (pod.get("spec") or {}).get("nodeName") in taking]
    allocatable = [(node.get("status") or {}).get("allocatable") or {} for node in taking.values()]
    requested = [_requests(pod) for pod in there]
    room = sum(_whole(one.get("pods")) for one in allocatable) - len(there)
    zones, regions = _labels(listed, ZONE), _labels(listed, REGION)
    return {
        "kubernetesVersion": version,
        "zones": zones,
        "region": regions[0] if regions else "",
        "nodes": {"total": len(listed), "ready": len(ready)},
        "resources": {
            "allocatable": {name: _sum(name, allocatable) for name in ("cpu", "memory")},
            "requested": {name: _sum(name, requested) for name in ("cpu", "memory")},
            "pods": max(0, room),
        },
        "apis": [{"groupVersion": version, "kinds": sorted(kinds[version])} for version in sorted(kinds)],
    }


def _labels(nodes: Iterable[Object], label: str) -> list[str]:
    found = {(node["metadata"].get("labels") or {}).get(label) for node in nodes}
    return sorted(value for value in found if value)


def _is_ready(node: Object) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _requests(pod: Object) -> dict[str, Any]:
    """What a Pod's containers ask for together; whoever runs before them asks for no more in what counts here."""
    containers = (pod.get("spec") or {}).get("containers") or ()
    asked = [((container.get("resources") or {}).get("requests") or {}) for container in containers]
    return {name: _sum(name, asked) for name in ("cpu", "memory")}


def _sum(name: str, amounts: Iterable[Object]) -> str:
    total = sum(_amount(name, one.get(name)) for one in amounts)
    return f"{total}m" if name == "cpu" and total % 1000 else str(total // 1000 if name == "cpu" else total)


def _amount(name: str, value: Any) -> int:
    """Millicores or bytes; what cannot be read is nothing."""
    if value is None:
        return 0
    try:
        quantity = Quantity.parse(value)
    except QuantityError:
        return 0
    return quantity.milli if name == "cpu" else quantity.value


def _whole(value: Any) -> int:
    try:
        return Quantity.parse(value).value if value is not None else 0
    except QuantityError:
        return 0
