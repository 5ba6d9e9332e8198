"""
Events about where a template is, made from its Placement for whoever asks for the Events of that one object.

Lists of all Events are left to members: they would hold some of these for every object of the federation.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence

from cluster.api.resources import Resource
from cluster.apiserver.negotiation import OBJECT, PARTIAL, View
from cluster.machinery.fields import FieldSelector
from cluster.machinery.objects import Key, Object
from cluster.machinery.timestamps import parse_time
from federation.placement.story import events

Placements = Callable[[str, Key], Sequence[Object]]
"""Those of objects of a kind, whatever its group, with this namespace and name."""
_SIMPLE = {"involvedObject": "regarding", "source": "deprecatedSource", "message": "note", "count": "deprecatedCount"}
_SIMPLE |= {"firstTimestamp": "deprecatedFirstTimestamp", "lastTimestamp": "deprecatedLastTimestamp"}
_SIMPLE |= {"reportingComponent": "reportingController"}
"""Fields of events.k8s.io that are called otherwise in v1."""
_COLUMNS = ("Last Seen", "Type", "Reason", "Object", "Message")


def told(resource: Resource, namespace: str, fields: str, view: View, placements: Placements) -> Object | None:
    """What a member would answer that had these Events alone; None where one object is not asked for."""
    about = _about(fields, namespace)
    if about is None:
        return None
    kind, keys = about
    selector = FieldSelector.parse(fields)
    kept = [
        event
        for placement in (found for key in keys for found in placements(kind, key))
        for event in events(placement)
        if namespace in ("", event["metadata"]["namespace"])
        and all(_fits(event, term.field, term.value) is term.equal for term in selector.terms)
    ]
    return _shaped(kept, resource, view) if kept else None


def _about(fields: str, namespace: str) -> tuple[str, list[Key]] | None:
    """Kind, and what the object may be called, where a selector names one: it need not say the namespace."""
    values = {term.field: term.value for term in FieldSelector.parse(fields).terms if term.equal} if fields else {}
    for prefix in ("involvedObject", "regarding"):
        kind, name = values.get(f"{prefix}.kind"), values.get(f"{prefix}.name")
        if kind and name:
            said = values.get(f"{prefix}.namespace")
            homes = [said] if said is not None else dict.fromkeys((namespace, ""))
            return kind, [Key(home, name) for home in homes]
    return None


def _fits(event: Object, field: str, value: str) -> bool:
    path = field.split(".")
    path[0] = {"regarding": "involvedObject", "reportingController": "reportingComponent"}.get(path[0], path[0])
    found: object = event
    for step in path:
        found = found.get(step) if isinstance(found, Mapping) else None
    return str(found or "") == value


def _shaped(found: list[Object], resource: Resource, view: View) -> Object:
    if view.shape == OBJECT:
        return {"items": [_versioned(event, resource) for event in found]}
    if view.shape == PARTIAL:
        return {"items": [{"metadata": event["metadata"]} for event in found]}
    columns = [{"name": name, "type": "string", "format": "", "description": "", "priority": 0} for name in _COLUMNS]
    rows = [{"cells": _cells(event), "object": _partial(event, view)} for event in found]
    return {"columnDefinitions": columns, "rows": rows}


def _versioned(event: Object, resource: Resource) -> Object:
    if not resource.group:
        return event
    return {_SIMPLE.get(name, name): value for name, value in event.items()}


def _partial(event: Object, view: View) -> Object:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{view.version}",
        "metadata": event["metadata"],
    }


def _cells(event: Object) -> list[str]:
    about = event["involvedObject"]
    seen = _age(dt.datetime.now(dt.UTC) - parse_time(event["lastTimestamp"]))
    return [seen, event["type"], event["reason"], f"{about['kind'].lower()}/{about['name']}", event["message"]]


def _age(passed: dt.timedelta) -> str:
    """In the coarsest unit of which there are some."""
    seconds = max(0, int(passed.total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
