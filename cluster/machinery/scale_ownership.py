"""
Ownership through the `scale` door: who owns a Scale's `spec.replicas` owns the parent's replicas field.

An apply or update of a Scale works on a Scale object whose managedFields are `to_scale` of the parent's; what comes
out goes back with `to_parent`. Source: k8s.io/apimachinery, pkg/util/managedfields/scalehandler.go.
"""

from typing import Any

from cluster.machinery import field_sets, managed_fields
from cluster.machinery.field_sets import FieldSet
from cluster.machinery.managed_fields import Entry
from cluster.machinery.objects import Object

SCALE_VERSION = "autoscaling/v1"
REPLICAS: FieldSet = {"f:spec": {"f:replicas": {}}}
"""Where a Scale has them, and most of its parents; a CRD may say another path."""


def path_of(specification: str) -> FieldSet:
    """A CRD's `specReplicasPath`, `.spec.crew`, as a set of that one path."""
    fields: FieldSet = {}
    for name in reversed(specification.removeprefix(".").split(".")):
        fields = {f"f:{name}": fields}
    return fields


def to_scale(parent: Any, replicas: FieldSet = REPLICAS) -> list[Object]:
    """managedFields of the Scale, from those of its parent."""
    owners = [entry for entry in managed_fields.decode_entries(parent) if _owns(entry, replicas)]
    return managed_fields.encode_entries(
        Entry(entry.manager, entry.operation, SCALE_VERSION, entry.subresource, entry.time, REPLICAS)
        for entry in owners
    )


def to_parent(parent: Any, scale: Any, api_version: str, replicas: FieldSet = REPLICAS) -> list[Object]:
    """
    managedFields of the parent after its Scale was written.

    Args:
        parent: its managedFields before.
        scale: the Scale's managedFields afterwards.
        api_version: the parent's.
    """
    new_owners = {_identity(entry): entry for entry in managed_fields.decode_entries(scale) if entry.fields}
    kept = []
    for entry in managed_fields.decode_entries(parent):
        if not _owns(entry, replicas) or new_owners.pop(_identity(entry), None) is not None:
            kept.append(entry)
        elif rest := field_sets.difference(entry.fields, replicas):
            kept.append(entry.owns(rest))
    # Without a time, as upstream leaves it: it looks for one among the parent's entries.
    kept += [Entry(e.manager, e.operation, api_version, e.subresource, "", replicas) for e in new_owners.values()]
    return managed_fields.encode_entries(kept)


def _owns(entry: Entry, replicas: FieldSet) -> bool:
    return bool(field_sets.intersection(entry.fields, replicas))


def _identity(entry: Entry) -> tuple[str, str, str]:
    """Across versions: a Scale's entries have its own."""
    return entry.manager, entry.operation, entry.subresource
