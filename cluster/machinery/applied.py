"""
Does an applied configuration fit its kind's schema? Unlike a body of another write it is not decoded into Go types,
so unknown fields are refused, whatever the field validation.

Source: structured-merge-diff, typed (validate.go); apimachinery, managedfields (structuredmerge.go).
"""

from typing import Any

from cluster.machinery import field_sets
from cluster.machinery.field_errors import quoted
from cluster.machinery.objects import Object
from cluster.machinery.shapes import Shape, Shaped
from cluster.machinery.status_errors import ApiError


def require_typed(resource: Shaped, applied: Object) -> None:
    """Raises ApiError (500 without a reason, as upstream) that names every fault."""
    faults: list[str] = []
    _check(resource.shape, applied, "", faults)
    if not faults:
        return
    metadata = applied.get("metadata") if isinstance(applied.get("metadata"), dict) else {}
    where = f"{(metadata or {}).get('namespace') or ''}/{(metadata or {}).get('name') or ''}"
    listed = faults[0] if len(faults) == 1 else "errors:" + "".join(f"\n  {fault}" for fault in faults)
    raise ApiError(
        f"failed to create typed patch object ({where}; {resource.api_version}, Kind={resource.kind}): {listed}",
        reason="",
    )


def _check(shape: Shape, value: Any, path: str, faults: list[str]) -> None:
    if value is None:
        return
    match shape.kind:
        case "object" | "map":
            if not isinstance(value, dict):
                faults.append(f"{path}: expected map, got {_shown(value)}")
                return
            for name, child in value.items():
                if shape.kind == "object" and name not in shape.fields:
                    if not shape.preserves:
                        faults.append(f"{path}.{name}: field not declared in schema")
                    continue
                _check(shape.child(name), child, f"{path}.{name}", faults)
        case "list":
            _check_list(shape, value, path, faults)
        case "string" | "time" | "micro-time" | "bytes":
            if not isinstance(value, str):
                faults.append(f"{path}: expected string, got {_shown(value)}")
        case "integer" | "number":
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                faults.append(f"{path}: expected numeric (int or float), got {_go_type(value)}")
        case "boolean":
            if not isinstance(value, bool):
                faults.append(f"{path}: expected boolean, got {_shown(value)}")
        case _:
            pass


def _check_list(shape: Shape, value: Any, path: str, faults: list[str]) -> None:
    if not isinstance(value, list):
        faults.append(f"{path}: expected list, got {_shown(value)}")
        return
    seen: set[str] = set()
    for index, item in enumerate(value):
        place = f"{path}[{index}]"
        if not shape.atomic:
            try:
                key = field_sets.item_key(shape, item)
            except ValueError as fault:
                faults.append(f"{path}: element {index}: {fault}")
                continue
            missing = [name for name in shape.keys if name not in shape.defaults and item.get(name) is None]
            if missing:
                faults.append(
                    f"{path}: element {index}: associative list with keys has an element that omits key field "
                    f"{quoted(missing[0])} (and doesn't have default value)"
                )
                continue
            shown = next(field_sets.paths({key: {}}))
            if key in seen:
                faults.append(f"{path}: duplicate entries for key {shown}")
            seen.add(key)
            place = path + shown
        _check(shape.element, item, place, faults)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"&{{{value}}}" if isinstance(value, (int, float)) else _go_type(value)


def _go_type(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int():
            return "int64"
        case float():
            return "float64"
        case list():
            return "[]interface {}"
        case _:
            return "map[string]interface {}"
