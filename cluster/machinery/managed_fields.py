"""
Who owns which field: `metadata.managedFields`, and server-side apply on top of it.

`on_update` follows every create, update and patch; `apply` merges an applied configuration into the live object.
Source: k8s.io/apimachinery, pkg/util/managedfields, and structured-merge-diff, merge.
"""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import orjson

from cluster.machinery import field_sets, timestamps
from cluster.machinery.applied import require_typed
from cluster.machinery.field_errors import quoted
from cluster.machinery.field_sets import FieldSet
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.shapes import Shape
from cluster.machinery.status_errors import BadRequest, Conflict
from cluster.machinery.typed_merge import merge

APPLY = "Apply"
UPDATE = "Update"
UPDATER_LIMIT = 10
"""Update entries an object keeps; the oldest are put together beyond that."""
ANCIENT = "ancient-changes"
BEFORE_FIRST_APPLY = "before-first-apply"
CLIENT_SIDE_APPLY = "kubectl.kubernetes.io/last-applied-configuration"
_KUBECTL = "kubectl"

Moment = datetime.datetime | str
"""A time, or already its text."""

# Nobody owns what the server fills in.
_STRIPPED = field_sets.parse(
    {
        "f:apiVersion": {},
        "f:kind": {},
        "f:metadata": {
            ".": {}, "f:name": {}, "f:namespace": {}, "f:creationTimestamp": {}, "f:selfLink": {}, "f:uid": {},
            "f:clusterName": {}, "f:generation": {}, "f:managedFields": {}, "f:resourceVersion": {},
        },
    }
)  # fmt: skip
_STATUS = field_sets.parse({"f:status": {}})
_SPEC = field_sets.parse({"f:spec": {}})
# Beyond spec, what a write to /status cannot change; by resource.
_STATUS_RESETS = {
    "deployments.apps": field_sets.parse({"f:spec": {}, "f:metadata": {"f:labels": {}}}),
    "pods": field_sets.parse({"f:spec": {}, "f:metadata": {"f:deletionTimestamp": {}, "f:ownerReferences": {}}}),
}


class Managed(Protocol):
    """`cluster.api.resources.Resource`."""

    @property
    def api_version(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def qualified(self) -> str: ...

    @property
    def shape(self) -> Shape: ...

    def subresource(self, name: str) -> object | None: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One manager's fields."""

    manager: str
    operation: str
    api_version: str
    subresource: str = ""
    time: str = ""
    fields: FieldSet = field(default_factory=dict)

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """Entries with the same one are one; an applier stays itself when it changes the version."""
        return self.manager, self.operation, "" if self.operation == APPLY else self.api_version, self.subresource

    def owns(self, fields: FieldSet) -> "Entry":
        return replace(self, fields=fields)

    def encode(self) -> Object:
        encoded: Object = {"manager": self.manager, "operation": self.operation, "apiVersion": self.api_version}
        if self.time:
            encoded["time"] = self.time
        encoded |= {"fieldsType": "FieldsV1", "fieldsV1": field_sets.encode(self.fields)}
        if self.subresource:
            encoded["subresource"] = self.subresource
        return encoded

    @property
    def shown(self) -> str:
        """As conflict messages name it."""
        text = quoted(self.manager)
        if self.subresource:
            text += f" with subresource {quoted(self.subresource)}"
        return f"{text} using {self.api_version}" if self.operation == UPDATE else text


def decode_entries(raw: Any) -> list[Entry]:
    """From `metadata.managedFields`. Raises ValueError for an entry that is none."""
    found = []
    for entry in raw or ():
        operation = entry.get("operation")
        if operation not in (APPLY, UPDATE):
            raise ValueError("operation must be `Apply` or `Update`")
        fields = field_sets.parse(entry.get("fieldsV1") or {})
        found.append(
            Entry(
                entry.get("manager") or "",
                operation,
                entry.get("apiVersion") or "",
                entry.get("subresource") or "",
                entry.get("time") or "",
                fields,
            )
        )
    return found


def encode_entries(entries: Iterable[Entry]) -> list[Object]:
    """For `metadata.managedFields`: appliers first, then by age."""
    return [
        entry.encode()
        for entry in sorted(entries, key=lambda e: (e.operation, e.time, e.manager, e.api_version, e.subresource))
    ]


def on_update(
    resource: Managed, old: Object | None, new: Object, manager: str, now: Moment, subresource: str = ""
) -> None:
    """
    Record in `new`, in place, that `manager` has changed what differs from `old`.

    Args:
        old: the live object; None on a create.
        manager: the request's fieldManager, or what the user agent starts with.
    """
    metadata = new.setdefault("metadata", {})
    if old is None and "managedFields" not in metadata and not subresource:
        fields = field_sets.created(resource.shape, new, _STRIPPED, _reset_fields(resource, subresource))
        if fields:
            metadata["managedFields"] = [
                {
                    "manager": manager,
                    "operation": UPDATE,
                    "apiVersion": resource.api_version,
                    "time": _text(now),
                    "fieldsType": "FieldsV1",
                    "fieldsV1": fields,
                }
            ]
        return
    entries = _entries_for_update(old, metadata.pop("managedFields", None), subresource)
    if old is not None and not entries:
        return  # it was never tracked, or the client has just reset it
    before = old if old is not None else resource.shape.zero
    updated = _updated(resource, before, new, entries, manager, now, subresource)
    if updated:
        metadata["managedFields"] = encode_entries(_capped(updated))


def _entries_for_update(old: Object | None, requested: Any, subresource: str) -> list[Entry]:
    """What the client sends wins when it makes sense, so that clients can edit ownership; else the live entries."""
    live = ((old or {}).get("metadata") or {}).get("managedFields")
    if not subresource:
        if requested == [] or requested == [{}]:
            return []
        try:
            entries = decode_entries(requested)
        except (ValueError, AttributeError, TypeError):
            entries = []
        if entries:
            return entries
    return _live_entries(live)


def _live_entries(raw: Any) -> list[Entry]:
    try:
        return decode_entries(raw)
    except (ValueError, AttributeError, TypeError):
        return []  # upstream forgets ownership that it cannot read rather than refuse the write


def _updated(
    resource: Managed,
    before: Object,
    after: Object,
    entries: Sequence[Entry],
    manager: str,
    now: Moment,
    subresource: str,
) -> list[Entry]:
    """The entries after an update: what changed belongs to the manager, what is gone to nobody."""
    comparison = field_sets.compare(resource.shape, before, after)
    ignored = _reset_fields(resource, subresource)
    taken = field_sets.difference(field_sets.without_prefixes(comparison.taken, ignored), _STRIPPED)
    lost = field_sets.union(taken, field_sets.without_prefixes(comparison.removed, ignored))
    kept = [rest for entry in entries if (rest := entry.owns(field_sets.difference(entry.fields, lost))).fields]
    if not taken:
        return kept
    mine = Entry(manager, UPDATE, resource.api_version, subresource, _text(now), taken)
    previous = next((entry for entry in kept if entry.identity == mine.identity), None)
    if previous is not None:
        kept.remove(previous)
        mine = mine.owns(field_sets.union(previous.fields, taken))
    return [*kept, mine]


def _text(now: Moment) -> str:
    return now if isinstance(now, str) else timestamps.format_time(now)


def _reset_fields(resource: Managed, subresource: str) -> FieldSet:
    """Fields that a write through this door cannot change, so nobody becomes their owner by it."""
    if subresource == "status":
        return _STATUS_RESETS.get(resource.qualified, _SPEC)
    return _STATUS if not subresource and resource.subresource("status") is not None else {}


def _capped(entries: list[Entry]) -> list[Entry]:
    """At most UPDATER_LIMIT updaters: the oldest of a version become one."""
    updaters = sorted((e for e in entries if e.operation == UPDATE), key=lambda e: (e.time, orjson.dumps(e.identity)))
    excess = len(updaters) - UPDATER_LIMIT
    buckets: dict[str, list[Entry]] = {}
    for entry in updaters:
        if excess <= 0:
            break
        bucket = buckets.setdefault(entry.api_version, [])
        bucket.append(entry)
        if len(bucket) > 1:
            excess -= 1
    merged = {id(entry) for bucket in buckets.values() if len(bucket) > 1 for entry in bucket}
    result = [entry for entry in entries if id(entry) not in merged]
    for version, bucket in buckets.items():
        if len(bucket) > 1:
            fields: FieldSet = {}
            for entry in bucket:
                fields = field_sets.union(fields, entry.fields)
            result.append(Entry(ANCIENT, UPDATE, version, "", bucket[-1].time, fields))
    return result


def apply(
    resource: Managed,
    live: Object | None,
    applied: Object,
    manager: str,
    force: bool,
    now: Moment,
    subresource: str = "",
) -> Object:
    """
    Merge an applied configuration into the live object.

    What the manager applied before and leaves out now goes, unless somebody else owns it. The result has the new
    managedFields; it is not yet defaulted nor validated. Neither argument is changed.

    Raises:
        BadRequest: the configuration is of another kind or brings managedFields.
        ApiError: it does not fit the kind's schema.
        Conflict: it changes fields of others, and `force` is not set; the causes name them.
    """
    _require_applicable(resource, applied)
    require_typed(resource, applied)
    entries = _live_entries(((live or {}).get("metadata") or {}).get("managedFields"))
    if live is not None and not entries:
        entries = _updated(resource, resource.shape.zero, live, [], BEFORE_FIRST_APPLY, now, subresource)
    base = _without_entries(live) if live is not None else {}
    config = _without_entries(applied)
    try:
        merged, after = _apply(resource, base, config, entries, manager, force, now, subresource)
    except _Conflicting as fault:
        if manager != _KUBECTL or not _came_from_kubectl(resource, base, fault.conflicts):
            raise conflict_error(fault.conflicts) from None
        merged, after = _apply(resource, base, config, entries, manager, True, now, subresource)
    metadata = {**(merged.get("metadata") or {})}
    if after:
        metadata["managedFields"] = encode_entries(_capped(after))
    return {**merged, "metadata": metadata}


class _Conflicting(Exception):
    def __init__(self, conflicts: Sequence[Entry]) -> None:
        super().__init__()
        self.conflicts = conflicts


def _apply(
    resource: Managed,
    live: Object,
    config: Object,
    entries: Sequence[Entry],
    manager: str,
    force: bool,
    now: Moment,
    subresource: str,
) -> tuple[Object, list[Entry]]:
    shape = resource.shape
    ignored = _reset_fields(resource, subresource)
    everything = field_sets.without_prefixes(field_sets.field_set(shape, config), ignored)
    owned = field_sets.difference(everything, _STRIPPED)
    mine = Entry(manager, APPLY, resource.api_version, subresource, _text(now), owned)
    last = next((entry for entry in entries if entry.identity == mine.identity), None)
    others = [entry for entry in entries if entry.identity != mine.identity]
    merged = merge(shape, live, config)
    if last is not None:
        # Its name among it: nobody owns that, and yet it must not be pruned with the rest of the metadata.
        for entry in others:
            everything = field_sets.union(everything, entry.fields)
        merged = _pruned(shape, merged, last.fields, everything)
    comparison = field_sets.compare(shape, live, merged)
    taken = field_sets.without_prefixes(comparison.taken, ignored)
    conflicts = [entry.owns(fields) for entry in others if (fields := field_sets.intersection(entry.fields, taken))]
    if conflicts and not force:
        raise _Conflicting(conflicts)
    lost = field_sets.union(taken, field_sets.without_prefixes(comparison.removed, ignored))
    kept = [rest for entry in others if (rest := entry.owns(field_sets.difference(entry.fields, lost))).fields]
    if last is not None and merged == live:
        mine = replace(mine, time=last.time)
    return merged, [*kept, mine] if mine.fields else kept


def _pruned(shape: Shape, merged: Object, last: FieldSet, owned: FieldSet) -> Object:
    """
    Without what the manager applied last time and nobody owns now.

    In three steps, as upstream's: take all of it away, give back what is owned, give back what it never applied.
    """
    last = field_sets.with_named_fields(shape, last)
    everything = field_sets.with_named_fields(shape, field_sets.field_set(shape, merged))
    pruned = field_sets.remove(shape, merged, last) or {}
    left = field_sets.with_named_fields(shape, field_sets.field_set(shape, pruned))
    wanted = field_sets.union(left, field_sets.with_named_fields(shape, owned))
    pruned = field_sets.remove(shape, merged, field_sets.difference(everything, wanted)) or {}
    left = field_sets.with_named_fields(shape, field_sets.field_set(shape, pruned))
    gone = field_sets.intersection(field_sets.difference(everything, left), last)
    result: Object = field_sets.remove(shape, merged, gone) or {}
    return result


def _require_applicable(resource: Managed, applied: Object) -> None:
    version, kind = applied.get("apiVersion") or "", applied.get("kind") or ""
    metadata = applied.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields") is not None:
        raise BadRequest("metadata.managedFields must be nil")
    if kind != resource.kind:
        raise BadRequest(f"invalid object type: {version}, Kind={kind}")
    if version != resource.api_version:
        raise BadRequest(
            "Incorrect version specified in apply patch. "
            f"Specified patch version: {version}, expected: {resource.api_version}"
        )


def _without_entries(obj: Object) -> Object:
    copied = copy_object(obj)
    if isinstance(copied.get("metadata"), dict):
        copied["metadata"].pop("managedFields", None)
    return copied


def _came_from_kubectl(resource: Managed, live: Object, conflicts: Sequence[Entry]) -> bool:
    """
    True when every conflicting field was set by the same user's client-side apply: the annotation has its value.

    kubectl moves from client-side to server-side apply that way, without --force.
    """
    annotations = (live.get("metadata") or {}).get("annotations") or {}
    try:
        last_applied = orjson.loads(annotations.get(CLIENT_SIDE_APPLY, ""))
        theirs = field_sets.field_set(resource.shape, last_applied)
    except (orjson.JSONDecodeError, AttributeError, TypeError):
        return False
    differing = field_sets.compare(resource.shape, live, merge(resource.shape, live, last_applied)).taken
    allowed = field_sets.difference(theirs, differing)
    return not any(field_sets.difference(conflict.fields, allowed) for conflict in conflicts)


def conflict_error(conflicts: Sequence[Entry]) -> Conflict:
    """409 with a cause for every field that another manager owns; `fields` of the entries are what conflicts."""
    found = [(entry.shown, path) for entry in conflicts for path in field_sets.paths(entry.fields)]
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": path}
        for manager, path in found
    ]
    if len(found) == 1:
        text = f"Apply failed with 1 conflict: conflict with {found[0][0]}: {found[0][1]}"
    else:
        lines = []
        for manager in sorted({manager for manager, _ in found}):
            lines.append(f"conflicts with {manager}:")
            lines += [f"- {path}" for owner, path in found if owner == manager]
        text = f"Apply failed with {len(found)} conflicts: " + "\n".join(lines)
    return Conflict(text, details={"causes": causes})
