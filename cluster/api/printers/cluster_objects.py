"""Rows of what a cluster consists of: nodes, namespaces, events, quotas, leases, API services, flow control."""

from datetime import datetime
from typing import Any

from cluster.api.printers.ages import since
from cluster.api.printers.formats import (
    NONE,
    condition,
    is_true,
    metadata_of,
    name_of,
    number,
    or_none,
    spec_of,
    status_of,
)  # fmt: skip
from cluster.machinery.objects import Object

_ROLE_PREFIX = "node-role.kubernetes.io/"
_UNKNOWN = "<unknown>"


def _age(obj: Object, now: datetime) -> str:
    return since(metadata_of(obj).get("creationTimestamp"), now)


def created_cells(obj: Object, now: datetime) -> list[Any]:
    """Kinds without a row of their own: name and time of creation."""
    return [name_of(obj), metadata_of(obj).get("creationTimestamp")]


def aged_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), _age(obj, now)]


def node_cells(obj: Object, now: datetime) -> list[Any]:
    status = status_of(obj)
    info = status.get("nodeInfo") or {}
    return [
        name_of(obj),
        _node_status(obj),
        _node_roles(obj),
        _age(obj, now),
        info.get("kubeletVersion") or "",
        _address(status, "InternalIP"),
        _address(status, "ExternalIP"),
        info.get("osImage") or _UNKNOWN,
        info.get("kernelVersion") or _UNKNOWN,
        info.get("containerRuntimeVersion") or _UNKNOWN,
    ]


def _node_status(node: Object) -> str:
    ready = condition(status_of(node), "Ready")
    state = "Unknown" if ready is None else "Ready" if is_true(ready) else "NotReady"
    return f"{state},SchedulingDisabled" if spec_of(node).get("unschedulable") else state


def _node_roles(node: Object) -> str:
    roles = set()
    for label, value in (metadata_of(node).get("labels") or {}).items():
        if label.startswith(_ROLE_PREFIX):
            roles.add(label.removeprefix(_ROLE_PREFIX))
        elif label == "kubernetes.io/role":
            roles.add(value)
    return ",".join(sorted(roles - {""})) or NONE


def _address(status: Object, kind: str) -> str:
    return next((a.get("address") or "" for a in status.get("addresses") or () if a.get("type") == kind), NONE)


def namespace_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), status_of(obj).get("phase") or "", _age(obj, now)]


def component_status_cells(obj: Object, now: datetime) -> list[Any]:
    healthy = condition(obj, "Healthy") or {}
    state = {"True": "Healthy", "False": "Unhealthy"}.get(healthy.get("status") or "", "Unknown")
    return [name_of(obj), state, healthy.get("message") or "", healthy.get("error") or ""]


def event_cells(obj: Object, now: datetime) -> list[Any]:
    """Events of the core group and of events.k8s.io, which name the same things differently."""
    involved = obj.get("involvedObject") or obj.get("regarding") or {}
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    series = obj.get("series")
    first = since(obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp") or obj.get("eventTime"), now)
    last_time = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp")
    last = since(last_time, now) if last_time else first
    count = number(obj, "count") or number(obj, "deprecatedCount") or 1
    if series:
        last, count = since(series.get("lastObservedTime"), now), number(series, "count")
    kind, name = (involved.get("kind") or "").lower(), involved.get("name")
    component = source.get("component") or obj.get("reportingComponent") or obj.get("reportingController") or ""
    instance = source.get("host") or obj.get("reportingInstance") or ""
    return [
        last,
        obj.get("type") or "",
        obj.get("reason") or "",
        f"{kind}/{name}" if name else kind,
        involved.get("fieldPath") or "",
        f"{component}, {instance}" if instance else component,
        (obj.get("message") or obj.get("note") or "").strip(),
        first,
        count,
        name_of(obj),
    ]


def resource_quota_cells(obj: Object, now: datetime) -> list[Any]:
    status = status_of(obj)
    hard, used = status.get("hard") or {}, status.get("used") or {}
    requests: list[str] = []
    limits: list[str] = []
    for resource in sorted(hard):
        text = f"{resource}: {used.get(resource, '0')}/{hard[resource]}"
        (limits if resource.startswith("limits.") else requests).append(text)
    return [name_of(obj), ", ".join(requests), ", ".join(limits), _age(obj, now)]


def lease_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), spec_of(obj).get("holderIdentity") or "", _age(obj, now)]


def runtime_class_cells(obj: Object, now: datetime) -> list[Any]:
    return [name_of(obj), obj.get("handler") or "", _age(obj, now)]


def priority_class_cells(obj: Object, now: datetime) -> list[Any]:
    default = bool(obj.get("globalDefault"))
    return [name_of(obj), number(obj, "value"), default, _age(obj, now), obj.get("preemptionPolicy") or ""]


def api_service_cells(obj: Object, now: datetime) -> list[Any]:
    service = spec_of(obj).get("service")
    where = f"{service.get('namespace') or ''}/{service.get('name') or ''}" if service else "Local"
    found = condition(status_of(obj), "Available")
    if found is None:
        available = "Unknown"
    elif is_true(found):
        available = "True"
    else:
        available = f"{found.get('status') or ''} ({found.get('reason') or ''})"
    return [name_of(obj), where, available, _age(obj, now)]


def flow_schema_cells(obj: Object, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    dangling = condition(status_of(obj), "Dangling")
    return [
        name_of(obj),
        or_none((spec.get("priorityLevelConfiguration") or {}).get("name")),
        number(spec, "matchingPrecedence"),
        or_none((spec.get("distinguisherMethod") or {}).get("type")),
        _age(obj, now),
        "?" if dangling is None else dangling.get("status") or "",
    ]


def priority_level_cells(obj: Object, now: datetime) -> list[Any]:
    spec = spec_of(obj)
    limits = spec.get("limited") or spec.get("exempt") or {}
    queuing = ((spec.get("limited") or {}).get("limitResponse") or {}).get("queuing") or {}
    return [
        name_of(obj),
        spec.get("type") or "",
        or_none(limits.get("nominalConcurrencyShares")),
        *(or_none(queuing.get(key)) for key in ("queues", "handSize", "queueLengthLimit")),
        _age(obj, now),
    ]
