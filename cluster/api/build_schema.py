"""
Builds `generated/shapes.json` and `generated/openapi.json` from the schemas that kubernetes-validate ships.

Run by `make setup` and when a bundle is built: `python -m cluster.api.build_schema`. The package is read as data, its
code is never imported. It has upstream's OpenAPI definitions with a few mechanical edits for JSON Schema, which are
undone here: "null" in types, `$defs` in references, enums of apiVersion and kind, the two union types.
"""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import orjson

from cluster.machinery import messages
from cluster.machinery.messages import MessageField
from cluster.machinery.shapes import ALWAYS, NONNULL, NONZERO

VERSION = "v1.36.0-local"
GENERATED = Path(__file__).parent / "generated"
_PREFIXES = (
    ("io.k8s.apimachinery.pkg.apis.meta.", "meta."),
    ("io.k8s.apimachinery.pkg.api.resource.", ""),
    ("io.k8s.apimachinery.pkg.util.intstr.", ""),
    ("io.k8s.apimachinery.pkg.runtime.", "runtime."),
    ("io.k8s.apimachinery.pkg.version.", "version."),
    ("io.k8s.apiextensions-apiserver.pkg.apis.", ""),
    ("io.k8s.kube-aggregator.pkg.apis.", ""),
    ("io.k8s.api.", ""),
)
# Fields whose Go tag says omitzero or omitempty although the schema requires them, and the other way round.
_PRESENCE = {
    ("meta.v1.ObjectMeta", "creationTimestamp"): NONNULL,
    ("apiextensions.v1.CustomResourceDefinitionStatus", "conditions"): ALWAYS,
    ("apiextensions.v1.CustomResourceDefinitionStatus", "storedVersions"): ALWAYS,
}
_KEY_DEFAULTS = {"protocol": "TCP"}
_ANY_SHAPED = ("JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrStringArray")


def short_name(definition: str) -> str:
    """`io.k8s.api.core.v1.Pod` -> `core.v1.Pod`, as in the message table."""
    return next((new + definition[len(old) :] for old, new in _PREFIXES if definition.startswith(old)), definition)


def _go_name(short: str) -> str:
    """`core.v1.PodSpec` -> `v1.PodSpec`, how Go's errors call the type."""
    return ".".join(short.split(".")[-2:])


def _restored(node: Any) -> Any:
    """The definition as upstream publishes it."""
    if isinstance(node, list):
        return [_restored(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: _restored(value) for key, value in node.items()}
    declared = found.get("type")
    if isinstance(declared, list):
        found["type"] = next(name for name in declared if name != "null")
    if isinstance(found.get("$ref"), str):
        found["$ref"] = found["$ref"].replace("#/$defs/", "#/definitions/")
    for name in ("apiVersion", "kind"):
        field = found.get("properties", {}).get(name) if isinstance(found.get("properties"), dict) else None
        if isinstance(field, dict):
            field.pop("enum", None)
    if isinstance(found.get("enum"), list) and None in found["enum"]:
        found["enum"] = [value for value in found["enum"] if value is not None]
    return found


def openapi_definitions(source: Path) -> dict[str, Any]:
    """Every definition by its full name, as in upstream's swagger.json."""
    raw = orjson.loads((source / "_definitions.json").read_bytes())["$defs"]
    definitions = {name: _restored(definition) for name, definition in raw.items()}
    quantity = definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"]
    quantity.pop("oneOf", None)
    quantity["type"] = "string"
    either = definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]
    either.pop("oneOf", None)
    either |= {"type": "string", "format": "int-or-string"}
    return definitions


def shapes(definitions: dict[str, Any]) -> dict[str, Any]:
    """What `cluster.machinery.shapes` compiles: no prose, short names, and what Go knows beyond OpenAPI."""
    types = {short_name(name): _shape(short_name(name), definition) for name, definition in definitions.items()}
    either = types["apiextensions.v1.JSONSchemaProps"] | {"x-also-any": True}
    types |= {f"apiextensions.v1.{name}": either for name in _ANY_SHAPED}
    kinds = {}
    for name, definition in definitions.items():
        for gvk in definition.get("x-kubernetes-group-version-kind", ()):
            version = f"{gvk['group']}/{gvk['version']}" if gvk["group"] else gvk["version"]
            kinds[f"{version}/{gvk['kind']}"] = short_name(name)
    return {"types": types, "kinds": kinds}


# Structs without a field; OpenAPI shows them like objects of any content.
_EMPTY_STRUCTS = ("apiextensions.v1.CustomResourceSubresourceStatus", "scheduling.v1alpha2.BasicSchedulingPolicy")


def _shape(short: str, definition: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = _compact(definition)
    if short == "Quantity":
        return {"type": "string", "format": "quantity"}
    if short == "IntOrString":
        return {"x-kubernetes-int-or-string": True}
    if short == "meta.v1.MicroTime":
        return {"type": "string", "format": "micro-time"}
    if short in _EMPTY_STRUCTS:
        found["properties"] = {}
    if "properties" in found:
        found["x-go"] = _go_name(short)
        _mark_presence(short, found)
    return found


def _compact(node: Any) -> Any:
    """Without descriptions, examples and GVKs, with short references and Go names of scalars."""
    if not isinstance(node, dict):
        return node
    found: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":
            found[key] = {name: _compact(schema) for name, schema in value.items()}
        elif key in ("items", "additionalProperties"):
            found[key] = _compact(value)
        elif key == "$ref":
            found[key] = short_name(value.removeprefix("#/definitions/"))
        elif key in ("type", "format", "required") or (
            key.startswith("x-kubernetes-") and key not in ("x-kubernetes-group-version-kind", "x-kubernetes-unions")
        ):
            found[key] = value
    if found.get("type") == "integer":
        found["x-go"] = found.get("format", "int64")
    keys = found.get("x-kubernetes-list-map-keys", ())
    defaults = {name: value for name, value in _KEY_DEFAULTS.items() if name in keys}
    if defaults:
        found["x-key-defaults"] = defaults
    return found


def _mark_presence(short: str, found: dict[str, Any]) -> None:
    """What an absent field means, and the order of fields, from the message table: OpenAPI knows neither."""
    if not messages.is_known(short):
        return
    required = set(found.pop("required", ()))
    known = messages.flattened(short)
    properties = found["properties"]
    type_meta = [name for name in ("kind", "apiVersion") if name not in known]
    ordered = [name for name in (*type_meta, *known) if name in properties]
    found["properties"] = {name: properties[name] for name in dict.fromkeys((*ordered, *properties))}
    for name, schema in found["properties"].items():
        if name in ("kind", "apiVersion") and name not in known:
            continue
        presence = _PRESENCE.get((short, name)) or _presence(known.get(name), required=name in required)
        if presence != NONNULL:
            schema["x-presence"] = presence


def _presence(field: MessageField | None, *, required: bool) -> str:
    if field is None or field.pointer:
        return NONNULL
    if required:
        return ALWAYS
    is_struct = not field.many and messages.is_known(field.type) and "." in field.type
    special = field.type in ("meta.v1.Time", "meta.v1.MicroTime", "meta.v1.FieldsV1", "runtime.RawExtension")
    return ALWAYS if is_struct and not special else NONZERO


def source() -> Path:
    found = importlib.util.find_spec("kubernetes_validate")
    if found is None or found.origin is None:
        raise SystemExit("build_schema needs the package kubernetes-validate: pip install 'hanse[operator]'")
    folder = Path(found.origin).parent / "kubernetes-json-schema" / VERSION
    if not folder.is_dir():
        raise SystemExit(f"build_schema needs {VERSION} in kubernetes-validate; {folder} is not there")
    return folder


def main() -> None:
    definitions = openapi_definitions(source())
    GENERATED.mkdir(exist_ok=True)
    for name, content in (("openapi.json", definitions), ("shapes.json", shapes(definitions))):
        target = GENERATED / name
        partial = target.with_suffix(".partial")
        partial.write_bytes(orjson.dumps(content))
        partial.replace(target)
        sys.stdout.write(f"{target} {target.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
