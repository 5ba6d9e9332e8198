"""
One served version of a custom resource: a resource like the others, and the rules that its definition gives it.

Pure. Made by the apiserver from CustomResourceDefinitions; whoever handles objects asks it for defaults, faults
and selectable fields.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from cluster.api.resources import Resource
from cluster.api.structural_schema import paths
from cluster.api.structural_schema.defaulting import apply_defaults
from cluster.api.structural_schema.embedded import validate_embedded
from cluster.api.structural_schema.lists import validate_lists
from cluster.api.structural_schema.values import Schema, type_name, validate
from cluster.machinery import field_errors
from cluster.machinery.field_errors import FieldError
from cluster.machinery.objects import Object

_MAX_REPLICAS = 2**31 - 1
_UNCHECKED = (
    "some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)
_BLOCKING = frozenset(
    {"FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"}
)
_GO_TYPES = {"string": "string", "boolean": "bool", "object": "map[string]interface {}", "array": "[]interface {}",
             "number": "float64", "integer": "int64", "null": "<nil>"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class CustomResource(Resource):
    schema: Schema = field(default_factory=dict, compare=False)
    """openAPIV3Schema of this version."""
    printer_columns: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)
    """additionalPrinterColumns of this version."""
    selectable: tuple[str, ...] = field(default=(), compare=False)
    """Paths of this version's selectable fields, `.spec.flag`."""
    all_selectable: tuple[str, ...] = field(default=(), compare=False)
    """Those of all versions: what is kept of an object serves all of them."""
    scale: Mapping[str, str] | None = field(default=None, compare=False)
    """specReplicasPath, statusReplicasPath, labelSelectorPath."""
    has_rules: bool = field(default=False, compare=False)
    """Some part of the schema has x-kubernetes-validations."""
    terminating: bool = field(default=False, compare=False)
    """The definition is being deleted: nothing new may be made."""

    def complete(self, obj: Object) -> None:
        """Fill in defaults, in place."""
        apply_defaults(self.schema, obj)

    def faults(self, obj: Object, old: Object | None = None) -> list[FieldError]:
        """What is wrong with an object, metadata aside."""
        errors = validate(self.schema, obj) if old is None else validate(self.schema, obj, "", old)
        errors += self._scale_faults(obj)
        errors += validate_embedded(self.schema, obj)
        errors += validate_lists(self.schema, obj)
        if self.has_rules:
            if any(error.reason in _BLOCKING for error in errors):
                errors.append(field_errors.invalid("<nil>", None, _UNCHECKED))
            else:
                from cluster.api.structural_schema.cel_rules import evaluate  # few definitions have rules

                errors += evaluate(self.schema, obj, old)
        return errors

    def _scale_faults(self, obj: Object) -> list[FieldError]:
        if self.scale is None:
            return []
        errors: list[FieldError] = []
        for key in ("specReplicasPath", "statusReplicasPath"):
            path = self.scale.get(key) or ""
            try:
                number = nested_int(obj, path)
            except ValueError as fault:
                errors.append(field_errors.invalid(path, 0, str(fault)))
                continue
            if number is not None and number < 0:
                errors.append(field_errors.invalid(path, number, "should be a non-negative integer"))
            elif number is not None and number > _MAX_REPLICAS:
                detail = f"should be less than or equal to {_MAX_REPLICAS}"
                errors.append(field_errors.invalid(path, number, detail))
        return errors

    def is_selectable(self, name: str) -> bool:
        return f".{name}" in self.selectable

    def field_values(self, obj: Object) -> dict[str, str]:
        return {path.removeprefix("."): as_text(paths.find(path, obj)) for path in self.all_selectable}


def nested_int(obj: Object, path: str) -> int | None:
    """The integer at `.spec.replicas`; None when it is not there. Raises ValueError with Go's text for another type."""
    value: Any = obj
    for name in paths.simple_names(path):
        if not isinstance(value, dict):
            shown, kind = orjson.dumps(value).decode().strip('"'), _GO_TYPES[type_name(value)]
            raise ValueError(f"{path} accessor error: {shown} is of the type {kind}, expected map[string]interface{{}}")
        value = value.get(name)
        if value is None:
            return None
    if not isinstance(value, int) or isinstance(value, bool):
        shown = value if isinstance(value, str) else orjson.dumps(value).decode()
        raise ValueError(f"{path} accessor error: {shown} is of the type {_GO_TYPES[type_name(value)]}, expected int64")
    return value


def as_text(found: list[Any]) -> str:
    """The first value as text: strings as they are, others as JSON, nothing for none."""
    if not found or found[0] is None:
        return ""
    value = found[0]
    return value if isinstance(value, str) else orjson.dumps(value).decode()
