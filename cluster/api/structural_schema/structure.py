"""
What a definition's schema may say: the rules of structural schemas.

Source: k8s.io/apiextensions-apiserver, pkg/apiserver/schema/validation.go and pkg/apis/apiextensions/validation.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from cluster.api.structural_schema.defaulting import apply_defaults
from cluster.api.structural_schema.lists import validate_lists
from cluster.api.structural_schema.patterns import BadPatternError, searcher
from cluster.api.structural_schema.values import Schema, canonical, validate
from cluster.machinery import field_errors, typed
from cluster.machinery.field_errors import FieldError
from cluster.machinery.objects import copy_object
from cluster.machinery.shapes import Shape

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_COMBINERS = ("allOf", "anyOf", "oneOf")
_UNSUPPORTED = ("additionalItems", "definitions", "dependencies", "patternProperties")
_ONLY_OUTSIDE = ("description", "type", "default", "title", "additionalProperties", "nullable",
                 "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource",
                 "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
                 "x-kubernetes-map-type")  # fmt: skip
"""What says how an object is built must not depend on an alternative."""
_NOT_EMPTY = {"root": "must not be empty at the root", "field": "must not be empty for specified object fields",
              "item": "must not be empty for specified array items"}  # fmt: skip


def validate_schema(schema: Schema, path: str) -> list[FieldError]:
    """Faults of one version's openAPIV3Schema; `path` is where it stands in the definition."""
    errors = _check_forbidden(schema, path)
    errors += _check_structure(schema, path, "root")
    for where, part in _parts(schema, path):
        errors += _check_extensions(part, where)
        errors += _check_bounds(part, where)
    if any("x-kubernetes-validations" in part for _, part in _parts(schema, path)):
        from cluster.api.structural_schema.cel_rules import validate_rules  # few definitions have rules

        errors += validate_rules(schema, path)
    if errors:
        return errors  # a default is only judged by a schema that makes sense
    for where, part in _parts(schema, path):
        if "default" in part:
            errors += _check_default(part, where)
    return errors


def _parts(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """The schema and those of all its fields, items and values, with their places."""
    yield path, schema
    for name, part in (schema.get("properties") or {}).items():
        if isinstance(part, dict):
            yield from _parts(part, f"{path}.properties[{name}]")
    for key in ("items", "additionalProperties"):
        if isinstance(part := schema.get(key), dict):
            yield from _parts(part, f"{path}.{key}")


def _check_forbidden(schema: Any, path: str) -> list[FieldError]:
    """Words of JSON schema that the API does not have, wherever they stand."""
    if not isinstance(schema, dict):
        return []
    errors: list[FieldError] = []
    for key, kinds in (("items", (dict,)), ("additionalProperties", (dict, bool))):
        value = schema.get(key)
        if isinstance(value, list):
            detail = f"{key} must be a schema object and not an array"
            errors.append(field_errors.forbidden(f"{path}.{key}", detail))
        elif value is not None and not isinstance(value, kinds):
            errors.append(field_errors.type_invalid(f"{path}.{key}", value, "must be a schema object"))
    if schema.get("uniqueItems"):
        detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        errors.append(field_errors.forbidden(f"{path}.uniqueItems", detail))
    if schema.get("additionalProperties") is False:
        detail = "additionalProperties cannot be set to false"
        errors.append(field_errors.forbidden(f"{path}.additionalProperties", detail))
    if schema.get("additionalProperties") and schema.get("properties"):
        detail = "additionalProperties and properties are mutual exclusive"
        errors.append(field_errors.forbidden(f"{path}.additionalProperties", detail))
    if schema.get("$ref"):
        errors.append(field_errors.forbidden(f"{path}.$ref", "$ref is not supported"))
    present = [name for name in _UNSUPPORTED if schema.get(name)]
    errors += [field_errors.forbidden(f"{path}.{name}", f"{name} is not supported") for name in present]
    if isinstance(schema.get("items"), list):
        errors.append(field_errors.forbidden(f"{path}.items", "items must be a schema object and not an array"))
    for name, part in (schema.get("properties") or {}).items():
        errors += _check_forbidden(part, f"{path}.properties[{name}]")
    for name in ("items", "additionalProperties", "not"):
        errors += _check_forbidden(schema.get(name), f"{path}.{name}")
    for name in _COMBINERS:
        for index, part in enumerate(schema.get(name) or ()):
            errors += _check_forbidden(part, f"{path}.{name}[{index}]")
    return errors


def _check_structure(schema: Schema, path: str, level: str) -> list[FieldError]:
    errors: list[FieldError] = []
    declared, embedded = schema.get("type") or "", schema.get("x-kubernetes-embedded-resource")
    preserves, either = schema.get("x-kubernetes-preserve-unknown-fields"), schema.get("x-kubernetes-int-or-string")
    if not declared:
        if level == "root" or not (preserves or either):
            errors.append(field_errors.required(f"{path}.type", _NOT_EMPTY[level]))
    elif declared == "null":
        detail = "type cannot be set to null, use nullable as an alternative"
        errors.append(field_errors.forbidden(f"{path}.type", detail))
    elif declared not in _TYPES:
        errors.append(field_errors.not_supported(f"{path}.type", declared, _TYPES))
    if level == "root" and declared and declared != "object":
        errors.append(field_errors.invalid(f"{path}.type", declared, "must be object at the root"))
    if either and declared:
        detail = "must be empty if x-kubernetes-int-or-string is true"
        errors.append(field_errors.forbidden(f"{path}.type", detail))
    if preserves is False:
        detail = "must be true or undefined"
        errors.append(field_errors.invalid(f"{path}.x-kubernetes-preserve-unknown-fields", False, detail))
    if embedded:
        errors += _check_embedded(schema, path, declared)
    if declared == "array" and not isinstance(schema.get("items"), dict):
        errors.append(field_errors.required(f"{path}.items", "must be specified"))
    if level == "root" or embedded:
        errors += _check_metadata(schema, path)
    errors += _check_alternatives(schema, path, either=bool(either))
    for name, part in (schema.get("properties") or {}).items():
        errors += _check_structure(part, f"{path}.properties[{name}]", "field")
    if isinstance(part := schema.get("items"), dict):
        errors += _check_structure(part, f"{path}.items", "item")
    if isinstance(part := schema.get("additionalProperties"), dict):
        errors += _check_structure(part, f"{path}.additionalProperties", "field")
    return errors


def _check_embedded(schema: Schema, path: str, declared: str) -> list[FieldError]:
    detail = "must be object if x-kubernetes-embedded-resource is true"
    if declared != "object":
        fault = field_errors.invalid(f"{path}.type", declared, detail)
        return [fault if declared else field_errors.required(f"{path}.type", detail)]
    if not schema.get("x-kubernetes-preserve-unknown-fields") and not schema.get("properties"):
        detail = (
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        )
        return [field_errors.required(f"{path}.properties", detail)]
    return []


def _check_metadata(schema: Schema, path: str) -> list[FieldError]:
    """Only names may be restricted: the rest of metadata has its schema already."""
    errors: list[FieldError] = []
    properties = schema.get("properties") or {}
    for name in ("apiVersion", "kind"):
        declared = (properties.get(name) or {}).get("type", "string")
        if declared != "string":
            errors.append(field_errors.invalid(f"{path}.properties[{name}].type", declared, "must be string"))
    metadata = properties.get("metadata")
    if metadata is None:
        return errors
    place = f"{path}.properties[metadata]"
    if metadata.get("type") != "object":
        errors.append(field_errors.invalid(f"{place}.type", metadata.get("type") or "", "must be object"))
    extra = set(metadata) - {"type", "properties", "description"}
    if extra or set(metadata.get("properties") or {}) - {"name", "generateName"}:
        detail = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        errors.append(field_errors.forbidden(place, detail))
    return errors


def _check_alternatives(schema: Schema, path: str, *, either: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    for name in _COMBINERS:
        for index, part in enumerate(schema.get(name) or ()):
            # The one form that says the same as x-kubernetes-int-or-string, and is written beside it.
            allowed = either and set(part) == {"type"} and part["type"] in ("integer", "string")
            if not allowed and not (either and name == "allOf"):
                errors += _check_alternative(part, f"{path}.{name}[{index}]", schema, path)
    if isinstance(part := schema.get("not"), dict):
        errors += _check_alternative(part, f"{path}.not", schema, path)
    return errors


def _check_alternative(part: Schema, path: str, outer: Schema, outer_path: str) -> list[FieldError]:
    """What an alternative speaks of has to be specified outside of it."""
    errors: list[FieldError] = [
        field_errors.forbidden(f"{path}.{name}", "must be empty to be structural")
        for name in _ONLY_OUTSIDE
        if part.get(name) not in (None, "", False)
    ]
    known = outer.get("properties") or {}
    for name, inner in (part.get("properties") or {}).items():
        if name not in known:
            place = f"{outer_path}.properties[{name}]"
            errors.append(field_errors.required(place, f"because it is defined in {path}.properties[{name}]"))
        else:
            place = f"{outer_path}.properties[{name}]"
            errors += _check_alternative(inner, f"{path}.properties[{name}]", known[name], place)
    if isinstance(inner := part.get("items"), dict):
        if not isinstance(outer.get("items"), dict):
            errors.append(field_errors.required(f"{outer_path}.items", f"because it is defined in {path}.items"))
        else:
            errors += _check_alternative(inner, f"{path}.items", outer["items"], f"{outer_path}.items")
    for name in _COMBINERS:
        for index, inner in enumerate(part.get(name) or ()):
            errors += _check_alternative(inner, f"{path}.{name}[{index}]", outer, outer_path)
    if isinstance(inner := part.get("not"), dict):
        errors += _check_alternative(inner, f"{path}.not", outer, outer_path)
    return errors


def _check_extensions(schema: Schema, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or ()
    place = f"{path}.x-kubernetes-list-type"
    if kind is not None:
        if schema.get("type") != "array":
            detail = "must be array if x-kubernetes-list-type is specified"
            errors.append(field_errors.invalid(f"{path}.type", schema.get("type") or "", detail))
        if kind not in ("atomic", "map", "set"):
            errors.append(field_errors.not_supported(place, kind, ("atomic", "set", "map")))
    if kind == "map":
        errors += _check_keys(schema, path, keys)
    elif keys:
        detail = "must be map if x-kubernetes-list-map-keys is non-empty"
        fault = field_errors.invalid(place, kind, detail) if kind else field_errors.required(place, detail)
        errors.append(fault)
    if kind == "set":
        errors += _check_set(_items(schema), path)
    map_type = schema.get("x-kubernetes-map-type")
    if map_type is not None:
        if schema.get("type") != "object":
            detail = "must be object if x-kubernetes-map-type is specified"
            errors.append(field_errors.invalid(f"{path}.type", schema.get("type") or "", detail))
        if map_type not in ("atomic", "granular"):
            place = f"{path}.x-kubernetes-map-type"
            errors.append(field_errors.not_supported(place, map_type, ("granular", "atomic")))
    return errors


def _check_keys(schema: Schema, path: str, keys: Any) -> list[FieldError]:
    place, items = f"{path}.x-kubernetes-list-map-keys", _items(schema)
    if not keys:
        return [field_errors.required(place, "must not be empty if x-kubernetes-list-type is map")]
    if items.get("type") != "object":
        detail = "must be object if parent array's x-kubernetes-list-type is map"
        return [field_errors.invalid(f"{path}.items.type", items.get("type") or "", detail)]
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, key in enumerate(keys):
        part = (items.get("properties") or {}).get(key)
        if part is None:
            detail = "entries must all be names of item properties"
            errors.append(field_errors.invalid(f"{place}[{index}]", key, detail))
        elif part.get("type") in ("array", "object"):
            detail = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            errors.append(field_errors.invalid(f"{path}.items.properties[{key}].type", part["type"], detail))
        elif key not in (items.get("required") or ()) and "default" not in part:
            detail = (
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            )
            errors.append(field_errors.required(f"{path}.items.properties[{key}].default", detail))
        if key in seen:
            errors.append(field_errors.invalid(f"{place}[{index}]", key, "must not contain duplicate entries"))
        seen.add(key)
    return errors


def _items(schema: Schema) -> Schema:
    """The schema of the items; nothing for what is no schema, which is a fault of its own."""
    found = schema.get("items")
    return found if isinstance(found, dict) else {}


def _check_set(items: Schema, path: str) -> list[FieldError]:
    whole = {"object": ("x-kubernetes-map-type", "map"), "array": ("x-kubernetes-list-type", "list")}
    found = whole.get(items.get("type") or "")
    if found is None or items.get(found[0]) == "atomic":
        return []
    detail = "must be atomic as item of a list with x-kubernetes-list-type=set"
    place = f"{path}.items.{found[0]}"
    value = items.get(found[0])
    return [field_errors.invalid(place, value, detail) if value else field_errors.required(place, detail)]


def _check_bounds(schema: Schema, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    pattern = schema.get("pattern")
    if pattern:
        try:
            searcher(pattern)
        except BadPatternError as fault:
            detail = f"must be a valid regular expression, but isn't: error parsing regexp: {fault}"
            errors.append(field_errors.invalid(f"{path}.pattern", pattern, detail))
    return errors


def _check_default(schema: Schema, path: str) -> list[FieldError]:
    """A default must be valid itself, complete and without unknown fields."""
    place, value = f"{path}.default", schema["default"]
    if value is None:
        return []
    holder = {"value": copy_object(value)}
    wrapper = {"type": "object", "properties": {"value": {k: v for k, v in schema.items() if k != "default"}}}
    typed.normalize(Shape({**wrapper, "x-lenient": True}, _no_reference), holder)
    if canonical(holder["value"]) != canonical(value):
        return [field_errors.invalid(place, value, "must not have unknown fields")]
    apply_defaults(schema, holder["value"])
    faults = validate(schema, holder["value"], "") + validate_lists(schema, holder["value"], "")
    return [_moved(fault, place) for fault in faults]


def _moved(fault: FieldError, place: str) -> FieldError:
    inner = "" if fault.field == "<nil>" else fault.field
    separator = "" if not inner or inner.startswith("[") else "."
    # The text names the field too: ` in body must be …` stands behind an empty path.
    message = fault.message.replace(":  in body", f": {place} in body")
    return FieldError(fault.reason, f"{place}{separator}{inner}", message)


def _no_reference(reference: str) -> Shape:
    raise KeyError(reference)


def versions_share_schema(versions: list[Mapping[str, Any]]) -> bool:
    """Upstream's internal form hoists what all versions share, and its texts then name no version."""
    schemas = [canonical(version.get("schema") or {}) for version in versions]
    return len(set(schemas)) == 1
