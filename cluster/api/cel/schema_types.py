"""
Types of schemas for the checker: every object with properties becomes a message of a descriptor pool.

Where a schema leaves the type open (int-or-string, unknown fields) the field is dynamic and everything passes.
Source: k8s.io/apiserver, pkg/cel/common/schemas.go.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from cluster.api.cel.environment import Environment

Schema = Mapping[str, Any]
_RESERVED = frozenset(
    {"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import",
     "let", "loop", "package", "namespace", "return", "var", "void", "while"}
)  # fmt: skip
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_META: Schema = {"type": "object", "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}}}
DYNAMIC = ".google.protobuf.Value"
MAX_MESSAGES = 2_000


def escaped(name: str) -> str:
    """A field's name as an identifier: `my-field` -> `my__dash__field`."""
    if name in _RESERVED:
        return f"__{name}__"
    text = name.replace("__", "__underscores__")
    return text.replace(".", "__dot__").replace("-", "__dash__").replace("/", "__slash__")


def unescaped(name: str) -> str:
    """The field that an identifier stands for."""
    if name.startswith("__") and name.endswith("__") and name[2:-2] in _RESERVED:
        return name[2:-2]
    text = name.replace("__slash__", "/").replace("__dash__", "-").replace("__dot__", ".")
    return text.replace("__underscores__", "__")


class SchemaTypes:
    """A growing set of messages. `typed` gives the environment when all types are known."""

    def __init__(self, resolve: Callable[[str], Schema] | None = None) -> None:
        """`resolve` finds what a `$ref` names."""
        from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, struct_pb2, timestamp_pb2

        self._pb = descriptor_pb2
        self._pool = descriptor_pool.DescriptorPool()
        self._file = descriptor_pb2.FileDescriptorProto(name="schemas.proto", syntax="proto2")
        for known in (struct_pb2.DESCRIPTOR, timestamp_pb2.DESCRIPTOR, duration_pb2.DESCRIPTOR):
            copied = descriptor_pb2.FileDescriptorProto()
            known.CopyToProto(copied)
            self._pool.Add(copied)
            self._file.dependency.append(known.name)
        self._count = 0
        self._resolve = resolve
        self._named: dict[str, str] = {}

    def add(self, schema: Schema, *, root: bool = False) -> str:
        """
        The type of a schema in the form of `Environment.variables`.

        `root`: of a custom resource, which has apiVersion, kind and a little metadata whatever the schema says.
        """
        if (reference := schema.get("$ref")) is not None:
            return self._referred(str(reference))
        if root or schema.get("x-kubernetes-embedded-resource"):
            standard = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": _META}
            schema = {**schema, "type": "object", "properties": {**(schema.get("properties") or {}), **standard}}
        if _is_open(schema):
            return "dyn"
        match schema.get("type"):
            case "object" if schema.get("properties"):
                return self._message(schema)
            case "object" if isinstance(rest := schema.get("additionalProperties"), dict):
                return f"map<string,{self.add(rest)}>"
            case "array" if isinstance(items := schema.get("items"), dict):
                return f"list<{self.add(items)}>"
            case "string":
                return {"date-time": "timestamp", "date": "timestamp", "duration": "duration", "byte": "bytes"}.get(
                    str(schema.get("format")), "string"
                )
            case "integer":
                return "int"
            case "number":
                return "double"
            case "boolean":
                return "bool"
            case _:
                return "dyn"

    def typed(self, variables: Mapping[str, str], structs: Mapping[str, str] | None = None) -> Environment:
        """`structs` gives the shown names of messages that are called otherwise here."""
        return Environment(tuple(sorted(variables.items())), self._finished(), structs or {})

    def _finished(self) -> Any:
        if self._file.message_type and self._file.name:
            self._pool.Add(self._file)
            self._file = self._pb.FileDescriptorProto()
        return self._pool

    def message(self, name: str, fields: Mapping[str, str]) -> None:
        """A message of fixed fields, each with a scalar's name or a type of `add`."""
        made = self._file.message_type.add(name=name)
        for index, (key, kind) in enumerate(fields.items()):
            self._field(made, key, index + 1, kind)

    def _referred(self, name: str) -> str:
        if self._resolve is None:
            return "dyn"
        found = self._named.get(name)
        if found is None:
            schema = self._resolve(name)
            if schema.get("properties"):
                # Known by name before its fields are looked at: types refer to themselves.
                self._count += 1
                found = self._named[name] = f"T{self._count}"
                return self._message(schema, found)
            found = self._named[name] = self.add(schema)
        return found

    def _message(self, schema: Schema, name: str = "") -> str:
        if self._count >= MAX_MESSAGES:
            return "dyn"
        fields = {
            key: self.add(part)
            for field, part in schema["properties"].items()
            if isinstance(part, dict) and _IDENTIFIER.fullmatch(key := escaped(field))
        }
        if len({_plain(key) for key in fields}) < len(fields):
            if not name:
                return "dyn"  # names that protobuf takes for one
            fields = {}
        if not name:
            self._count += 1
            name = f"T{self._count}"
        self.message(name, fields)
        return name

    def _field(self, message: Any, name: str, number: int, kind: str) -> None:
        field = self._pb.FieldDescriptorProto
        made = message.field.add(name=name, number=number, label=field.LABEL_OPTIONAL, json_name=f"f{number}")
        if kind.startswith("list<"):
            inner = kind[5:-1]
            if not inner.startswith(("list<", "map<")):
                made.label = field.LABEL_REPEATED
                kind = inner
            else:
                kind = "dyn"  # a list of lists has no message type
        elif kind.startswith("map<"):
            inner = kind[4:-1].partition(",")[2]
            if inner.startswith(("list<", "map<")):
                inner = "dyn"
            # Protobuf insists on the entry's name.
            entry = message.nested_type.add(
                name="".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Entry"
            )
            entry.options.map_entry = True
            self._field(entry, "key", 1, "string")
            self._field(entry, "value", 2, inner)
            made.label, made.type = field.LABEL_REPEATED, field.TYPE_MESSAGE
            made.type_name = f".{message.name}.{entry.name}"
            return
        scalars = {"int": field.TYPE_INT64, "uint": field.TYPE_UINT64, "double": field.TYPE_DOUBLE,
                   "bool": field.TYPE_BOOL, "string": field.TYPE_STRING, "bytes": field.TYPE_BYTES}  # fmt: skip
        scalar = scalars.get(kind)
        if scalar is not None:
            made.type = scalar
            return
        made.type = field.TYPE_MESSAGE
        known = {"timestamp": ".google.protobuf.Timestamp", "duration": ".google.protobuf.Duration", "dyn": DYNAMIC}
        made.type_name = known.get(kind) or f".{kind}"


def _plain(name: str) -> str:
    return name.replace("_", "").lower().removesuffix("entry")


def _is_open(schema: Schema) -> bool:
    return bool(
        schema.get("x-kubernetes-int-or-string")
        or schema.get("format") == "int-or-string"
        or schema.get("x-kubernetes-preserve-unknown-fields")
        or (schema.get("nullable") and schema.get("type") not in ("object", "array"))
    )
