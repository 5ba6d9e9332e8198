"""
What the exports of one Service in several clusters come to: one import, and what each export is told. Pure.

Where exports contradict each other, the oldest prevails, and every one of them says so.
Source: KEP-1645 (Multi-Cluster Services API), constraints and conflict resolution; the API's condition reasons.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cluster.machinery.objects import Object


class Condition(NamedTuple):
    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Export:
    """One cluster's word on a Service."""

    cluster: str
    network: str
    """Empty: not known."""
    export: Object
    service: Object | None
    slices: Sequence[Object] = ()
    """The Service's EndpointSlices."""
    nodes: Sequence[Object] = ()
    """Of the cluster, where the Service is reached by their addresses."""

    @property
    def is_headless(self) -> bool:
        return bool(self.service and self.service["spec"].get("clusterIP") == "None")


@dataclass(frozen=True, slots=True)
class Merged:
    spec: Object | None
    """Of the ServiceImport, without addresses; None: nobody exports the Service."""
    labels: dict[str, str]
    annotations: dict[str, str]
    members: tuple[Export, ...]
    """Whose endpoints answer."""
    conditions: dict[str, list[Condition]]
    """Cluster -> what its export is told."""


def merge(exports: Iterable[Export]) -> Merged:
    ordered = sorted(exports, key=lambda each: (each.export["metadata"].get("creationTimestamp") or "", each.cluster))
    told = {each.cluster: [_validity(each)] for each in ordered}
    valid = [each for each in ordered if told[each.cluster][0].status == "True"]
    if not valid:
        for each in ordered:
            told[each.cluster].append(Condition("Ready", "False", "Failed", "the Service cannot be exported"))
        return Merged(None, {}, {}, (), told)
    oldest = valid[0]
    spec, found = _spec(valid)
    export = oldest.export.get("spec") or {}
    for each in valid:
        told[each.cluster] += [
            Condition("Ready", "True", "Exported", "the Service is offered to the other clusters"),
            _conflict(found, oldest.cluster),
        ]
    members = tuple(each for each in valid if each.is_headless == oldest.is_headless)
    labels, annotations = export.get("exportedLabels") or {}, export.get("exportedAnnotations") or {}
    return Merged(spec, dict(labels), dict(annotations), members, told)


def _validity(each: Export) -> Condition:
    if each.service is None:
        return Condition("Valid", "False", "NoService", "there is no Service of this name")
    if each.service["spec"].get("type") == "ExternalName":
        return Condition("Valid", "False", "InvalidServiceType", "a Service of type ExternalName cannot be exported")
    return Condition("Valid", "True", "Valid", "the Service can be exported")


def _conflict(found: Sequence[tuple[str, str]], winner: str) -> Condition:
    if not found:
        return Condition("Conflict", "False", "NoConflicts", "all exports of the Service agree")
    fields = "; ".join(what for _, what in found)
    reasons = ",".join(dict.fromkeys(reason for reason, _ in found))
    return Condition("Conflict", "True", reasons, f"{fields}; the oldest export, of cluster {winner}, prevails")


def _spec(valid: Sequence[Export]) -> tuple[Object, list[tuple[str, str]]]:
    """The import's spec, and (reason, what) of every conflict."""
    oldest, found = valid[0], list[tuple[str, str]]()
    services = [each.service["spec"] for each in valid if each.service]
    spec: Object = {"type": "Headless" if oldest.is_headless else "ClusterSetIP"}
    if any(each.is_headless != oldest.is_headless for each in valid):
        found.append(("TypeConflict", "some of the Services are headless and some are not"))
    spec["ports"], clashes = _ports(services)
    if clashes:
        found.append(("PortConflict", f"ports differ: {', '.join(clashes)}"))
    affinity = services[0].get("sessionAffinity") or "None"
    spec["sessionAffinity"] = affinity
    if any((each.get("sessionAffinity") or "None") != affinity for each in services):
        found.append(("SessionAffinityConflict", "session affinity differs"))
    elif any(each.get("sessionAffinityConfig") != services[0].get("sessionAffinityConfig") for each in services):
        found.append(("SessionAffinityConfigConflict", "timeouts of session affinity differ"))
    if services[0].get("sessionAffinityConfig"):
        spec["sessionAffinityConfig"] = services[0]["sessionAffinityConfig"]
    for field, reason in (("exportedLabels", "LabelsConflict"), ("exportedAnnotations", "AnnotationsConflict")):
        values = [(each.export.get("spec") or {}).get(field) or {} for each in valid]
        if any(value != values[0] for value in values):
            found.append((reason, f"{field} differ"))
    return spec, found


def _ports(services: Iterable[Object]) -> tuple[list[Object], list[str]]:
    """All ports; of two that cannot stand beside each other the one of the older export, and what is wrong."""
    ports: list[Object] = []
    clashes: list[str] = []
    for service in services:
        for raw in service.get("ports") or ():
            port = {
                key: value
                for key, value in (
                    ("name", raw.get("name") or ""), ("protocol", raw.get("protocol") or "TCP"),
                    ("port", raw["port"]), ("appProtocol", raw.get("appProtocol")),
                )
                if value
            }  # fmt: skip
            rival = next((each for each in ports if _excludes(each, port)), None)
            if rival is None:
                ports.append(port)
            elif rival != port:
                clashes.append(port.get("name") or f"{port['protocol']} {port['port']}")
    return ports, list(dict.fromkeys(clashes))


def _excludes(one: Object, other: Object) -> bool:
    same_name = one.get("name") == other.get("name")
    return same_name or (one["protocol"], one["port"]) == (other["protocol"], other["port"])
