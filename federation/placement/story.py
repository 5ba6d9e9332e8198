"""
What a Placement tells of its object, as the Events that nobody has to store. Pure.

`kubectl describe` at the federation shows them: where the object is and why, where it is not and why, what stands in
its way, what moves. The same Placement always tells the same, under the same names.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from cluster.machinery.objects import Object

NORMAL, WARNING = "Normal", "Warning"
COMPONENT = "federation-placer"
_MESSAGE = 1024
"""As long as upstream lets an Event's message be."""
_BAD_STATES = ("Conflict", "Failed")


@dataclass(frozen=True, slots=True)
class Chapter:
    """One thing that there is to tell."""

    kind: str
    """NORMAL or WARNING."""
    reason: str
    message: str
    at: str
    """RFC 3339."""


def chapters(placement: Object) -> list[Chapter]:
    """Where it is, where it is not, what is wrong, what moves; the worst last, where readers look first."""
    return [*_placed(placement), *_moving(placement), *_wrong(placement)]


def events(placement: Object) -> list[Object]:
    """The chapters as Events of v1, without apiVersion and kind, as a list holds them."""
    template, metadata = placement["spec"]["template"], placement["metadata"]
    namespace = template.get("namespace") or "default"  # where Events of objects without a namespace are
    about = {"apiVersion": template["apiVersion"], "kind": template["kind"], "name": template["name"]}
    about |= {name: template[name] for name in ("namespace", "uid") if template.get(name)}
    return [
        {
            "metadata": {
                "name": f"{metadata['name'][:200]}.{number}",
                "namespace": namespace,
                "uid": f"{metadata['uid']}-{number}",
                "creationTimestamp": chapter.at,
            },
            "involvedObject": about,
            "reason": chapter.reason,
            "message": chapter.message[:_MESSAGE],
            "source": {"component": COMPONENT},
            "firstTimestamp": chapter.at,
            "lastTimestamp": chapter.at,
            "count": 1,
            "type": chapter.kind,
            "eventTime": None,
            "reportingComponent": COMPONENT,
            "reportingInstance": "",
        }
        for number, chapter in enumerate(chapters(placement))
    ]


def _placed(placement: Object) -> Iterator[Chapter]:
    spec, at = placement["spec"], _written(placement)
    by = f" by policy {spec['policy']}" if spec.get("policy") else ""
    clusters = spec.get("clusters") or ()
    if clusters:
        told = "; ".join(f"{one['name']}: {one.get('why') or 'a copy'}" for one in clusters)
        yield Chapter(NORMAL, "Placed", f"Placed in {len(clusters)} clusters{by}: {told}", at)
    passed = spec.get("passedOver") or ()
    if passed:
        told = "; ".join(f"{one['cluster']}: {one.get('why')}" for one in passed)
        yield Chapter(NORMAL if clusters else WARNING, "PassedOver", f"Not placed everywhere{by}: {told}", at)
    if not clusters and not spec.get("tombstones"):
        yield Chapter(WARNING, "NotPlaced", f"No cluster gets it{by}", at)
    if spec.get("suspended"):
        yield Chapter(NORMAL, "Suspended", f"Nothing is written to clusters: suspended{by}", at)


def _moving(placement: Object) -> Iterator[Chapter]:
    spec, at = placement["spec"], _written(placement)
    for one in spec.get("evicting") or ():
        message = f"{one['name']}: {one.get('reason')}; its copy stays until what replaces it is ready"
        yield Chapter(WARNING, "Evicting", message, one.get("since") or at)
    for one in spec.get("tombstones") or ():
        message = f"{one['cluster']}: its copy goes ({one.get('why')}), and is not known to be gone"
        yield Chapter(NORMAL, "Removing", message, one.get("since") or at)
    displaced = spec.get("displaced") or ()
    if displaced:
        told = ", ".join(f"{one.get('replicas')} to {one['cluster']}" for one in displaced)
        yield Chapter(NORMAL, "FailedOver", f"Replicas of lost clusters run elsewhere; to return: {told}", at)


def _wrong(placement: Object) -> Iterator[Chapter]:
    spec, at = placement["spec"], _written(placement)
    since = _applied_since(placement) or at
    for one in (placement.get("status") or {}).get("clusters") or ():
        if one.get("state") in _BAD_STATES:
            yield Chapter(WARNING, one["state"], f"{one['name']}: {one.get('message') or one['state']}", since)
    if spec.get("unplaced"):
        yield Chapter(WARNING, "Unplaced", f"{spec['unplaced']} replicas fit into no cluster", at)
    if spec.get("fault"):
        yield Chapter(WARNING, "PlacementFault", f"Nothing is changed: {spec['fault']}", at)


def _written(placement: Object) -> str:
    """When the spec was."""
    metadata = placement["metadata"]
    times = [one.get("time") for one in metadata.get("managedFields") or () if not one.get("subresource")]
    found: str = max((time for time in times if time), default=metadata["creationTimestamp"])
    return found


def _applied_since(placement: Object) -> str:
    for one in (placement.get("status") or {}).get("conditions") or ():
        if one["type"] == "Applied":
            return str(one.get("lastTransitionTime") or "")
    return ""
