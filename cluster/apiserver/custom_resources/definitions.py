"""
From a CustomResourceDefinition to the resources it serves. Pure.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from cluster.api.custom_resource import CustomResource
from cluster.api.resources import Subresource
from cluster.machinery.objects import Object

_VERBS = frozenset({"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"})
_PART_VERBS = frozenset({"get", "patch", "update"})
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"


def condition(definition: Object, name: str) -> Object:
    """A condition of the status; empty when it is not there."""
    conditions = (definition.get("status") or {}).get("conditions") or []
    return next((entry for entry in conditions if entry.get("type") == name), {})


def is_true(definition: Object, name: str) -> bool:
    return condition(definition, name).get("status") == "True"


def storage_version(definition: Object) -> str:
    """The version's name that objects are stored in."""
    return next((v["name"] for v in definition["spec"]["versions"] if v.get("storage")), "")


def served(definition: Object) -> list[CustomResource]:
    """A resource for each version that is served; none before the definition is established."""
    if not is_true(definition, "Established"):
        return []
    spec = definition["spec"]
    names = (definition.get("status") or {}).get("acceptedNames") or spec["names"]
    every = tuple(sorted({path for version in spec["versions"] for path in _selectable(version)}))
    return [_resource(definition, version, names, every) for version in spec["versions"] if version.get("served")]


def _selectable(version: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(entry.get("jsonPath", "") for entry in version.get("selectableFields") or ())


def _resource(
    definition: Object, version: Mapping[str, Any], names: Mapping[str, Any], selectable: tuple[str, ...]
) -> CustomResource:
    spec = definition["spec"]
    parts = version.get("subresources") or {}
    subresources = []
    if parts.get("status") is not None:
        subresources.append(Subresource("status", _PART_VERBS, names["kind"]))
    if parts.get("scale") is not None:
        subresources.append(Subresource("scale", _PART_VERBS, "autoscaling/v1/Scale"))
    schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    return CustomResource(
        group=spec["group"],
        version=version["name"],
        plural=names["plural"],
        kind=names["kind"],
        namespaced=spec["scope"] == "Namespaced",
        singular=names.get("singular") or "",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        verbs=_VERBS,
        subresources=tuple(subresources),
        schema=schema,
        printer_columns=tuple(version.get("additionalPrinterColumns") or ()),
        selectable=_selectable(version),
        all_selectable=selectable,
        scale=parts.get("scale"),
        has_rules=any("x-kubernetes-validations" in part for part in parts_of(schema)),
        terminating=bool(definition["metadata"].get("deletionTimestamp")),
    )


def parts_of(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A schema and all schemas of fields, items and values in it."""
    yield schema
    inner = [*(schema.get("properties") or {}).values(), schema.get("items"), schema.get("additionalProperties")]
    for part in inner:
        if isinstance(part, dict):
            yield from parts_of(part)
