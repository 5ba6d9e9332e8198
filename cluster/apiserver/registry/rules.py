"""
The rules of the API that the write path applies: shapes, defaults, validation and field ownership.
"""

import functools
from collections.abc import Sequence

from cluster.api import defaults, validation
from cluster.api.custom_resource import CustomResource
from cluster.api.resources import Resource
from cluster.api.schema import schemas
from cluster.api.validation.metadata import validate_metadata_update
from cluster.machinery import managed_fields
from cluster.machinery.field_errors import FieldError
from cluster.machinery.objects import Object

__all__ = ["apply_defaults", "managed_fields", "normalize", "validate_create", "validate_update", "zero_status"]


def normalize(resource: Resource, obj: Object) -> list[str]:
    """In place; returns faults of strict decoding. Raises BadRequest on wrong types."""
    return list(schemas().normalize(resource, obj))


@functools.cache
def zero_status(resource: Resource) -> Object | None:
    """The status that upstream's types write for an object without one; shared, copy before use."""
    probe: Object = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": {}, "status": {}}
    normalize(resource, probe)
    return probe.get("status")


def apply_defaults(resource: Resource, obj: Object) -> None:
    if isinstance(resource, CustomResource):
        resource.complete(obj)
    else:
        defaults.apply_defaults(resource, obj)


def validate_create(resource: Resource, obj: Object) -> Sequence[FieldError]:
    errors = validation.validate_create(resource, obj)
    return [*errors, *resource.faults(obj)] if isinstance(resource, CustomResource) else errors


def validate_update(resource: Resource, new: Object, old: Object, subresource: str) -> Sequence[FieldError]:
    if isinstance(resource, CustomResource):
        return [*validate_metadata_update(new["metadata"], old["metadata"]), *resource.faults(new, old)]
    if subresource == "status":
        return validation.validate_status_update(resource, new, old)
    return validation.validate_update(resource, new, old, subresource)
