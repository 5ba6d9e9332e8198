"""
What a mutation's value does to an object: an apply configuration is merged, a JSON patch is applied.

Pure. Source: k8s.io/apiserver, pkg/admission/plugin/policy/mutating/patch (smd.go, json_patch.go).
"""

import base64
from collections.abc import Iterator
from typing import Any

from cluster.api.cel import times
from cluster.api.cel.schema_types import unescaped
from cluster.api.cel.values import Duration, Struct, Timestamp, type_name
from cluster.api.resources import Resource
from cluster.apiserver.registry import rules
from cluster.machinery import json_patch, typed_merge
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.shapes import Shape
from cluster.machinery.status_errors import ApiError


class PatchError(Exception):
    """The mutation does not apply; the text is upstream's."""


def patched(resource: Resource, obj: Object, patch_type: str, value: Any, *, whole: bool) -> Object:
    """
    The object after the mutation, in canonical form; `obj` stays as it is.

    Args:
        resource: Of the object.
        obj: The object in the version that the policy sees.
        patch_type: `ApplyConfiguration` or `JSONPatch`.
        value: What the expression gave.
        whole: It is an object of the resource, and not one that only a subresource takes: its shape is known.

    Raises:
        PatchError: The value is none of that kind or does not fit the object.
    """
    applied = patch_type == "ApplyConfiguration"
    changed = _applied(resource, obj, value) if applied else _json_patched(obj, value)
    if not whole or changed == obj:
        return changed
    changed = copy_object(changed)
    try:
        faults = rules.normalize(resource, changed)
    except ApiError as fault:
        raise PatchError(f"error applying patch: {fault.message}") from None
    if faults:
        raise PatchError(f"error applying patch: {', '.join(faults)}")
    rules.apply_defaults(resource, changed)
    return changed


def _applied(resource: Resource, obj: Object, value: Any) -> Object:
    if not isinstance(value, Struct) or value.name != "Object":
        raise PatchError(f"unsupported return type from ApplyConfiguration expression: {type_name(value)}")
    _check_names(value, "Object")
    configuration = {**plain(value), "apiVersion": resource.api_version, "kind": resource.kind}
    if atomic := list(_atomic_parts(resource.shape, configuration, "")):
        listed = ", ".join(atomic)
        raise PatchError(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: " + listed
        )
    return typed_merge.merge(resource.shape, obj, configuration)


def _check_names(value: Any, expected: str) -> None:
    """`Object.spec` belongs at `spec`, and nowhere else."""
    if isinstance(value, list):
        for item in value:
            _check_names(item, expected)
    elif isinstance(value, Struct):
        if value.name != expected:
            raise PatchError(
                f'type mismatch: unexpected type name "{value.name}", expected "{expected}", '
                "which matches field name path from root Object type"
            )
        for name, part in value.fields.items():
            _check_names(part, f"{expected}.{name}")


def _atomic_parts(shape: Shape, value: Any, path: str) -> Iterator[str]:
    """
    Paths of what is replaced as a whole.

    Refused, since a policy's author would think of a few fields and take all others away.
    """
    if isinstance(value, dict):
        if path and shape.atomic:
            yield path
        if shape.kind == "object":
            for name, part in value.items():
                yield from _atomic_parts(shape.child(name), part, f"{path}.{name}")
    elif isinstance(value, list):
        if shape.kind == "list" and shape.atomic:
            yield path
        for index, part in enumerate(value):
            yield from _atomic_parts(shape.element, part, f"{path}[{index}]")


def _json_patched(obj: Object, value: Any) -> Object:
    if not isinstance(value, list):
        raise PatchError("type mismatch: JSONPatchType.expression should evaluate to array")
    operations = []
    for one in value:
        if not isinstance(one, Struct) or one.name != "JSONPatch":
            raise PatchError(
                "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch, "
                f"got element of {type_name(one)}"
            )
        if isinstance(part := one.fields.get("value"), Struct):
            _check_names(part, part.name)
        operations.append({key: plain(part) for key, part in one.fields.items() if key != "from" or part})
    done: Object = obj
    for at, operation in enumerate(operations):
        try:
            done = json_patch.apply(done, [operation])
        except ApiError as fault:
            if operation.get("op") == "test":
                return obj  # then the patch is not for this object
            shown = f"operation {at} ({operation.get('op')} {operation.get('path')})"
            raise PatchError(f"JSONPath: {shown} does not apply: {fault.message}") from None
    return done


def plain(value: Any) -> Any:
    """A value as JSON has it. Raises PatchError."""
    if isinstance(value, Struct):
        return {unescaped(name): plain(part) for name, part in value.fields.items()}
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    if value is None or isinstance(value, (bool, str, float)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Timestamp):
        return times.timestamp_text(value)
    if isinstance(value, Duration):
        return times.duration_text(value)
    raise PatchError(f"a value of type {type_name(value)} could not marshal to JSON")
