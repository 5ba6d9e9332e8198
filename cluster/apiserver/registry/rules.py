"""
The rules of the API that the write path applies: shapes, defaults, validation and field ownership.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

from cluster.api.defaults import apply_defaults
from cluster.api.resources import Resource
from cluster.machinery.objects import Object

__all__ = ["apply_defaults", "managed_fields", "normalize", "validate_create", "validate_update"]


def _optional(name: str) -> Any:
    with contextlib.suppress(ImportError):
        import importlib

        return importlib.import_module(name)
    return None


_validation = _optional("cluster.api.validation")
if not hasattr(_validation, "validate_create"):
    _validation = None
_schema = _optional("cluster.api.schema")
managed_fields = _optional("cluster.machinery.managed_fields")


def normalize(resource: Resource, obj: Object) -> list[str]:
    """In place; returns faults of strict decoding. Raises BadRequest on wrong types."""
    return list(_schema.schemas().normalize(resource, obj)) if _schema else []


def validate_create(resource: Resource, obj: Object) -> Sequence[Any]:
    return _validation.validate_create(resource, obj) if _validation else []


def validate_update(resource: Resource, new: Object, old: Object, subresource: str) -> Sequence[Any]:
    if not _validation:
        return []
    if subresource == "status":
        return _validation.validate_status_update(resource, new, old)
    return _validation.validate_update(resource, new, old)
