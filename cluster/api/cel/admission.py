"""
The environments of expressions in admission: matchConditions, policies, their variables and mutations.

Source: k8s.io/apiserver, pkg/admission/plugin/cel/compile.go; pkg/cel/mutation.
"""

import functools
import re
from collections.abc import Iterator, Mapping

from cluster.api.cel.environment import Environment, Program, parse
from cluster.api.cel.schema_types import SchemaTypes
from cluster.api.cel.syntax import Call, Comprehension, ListNode, Node, Select, StructNode
from cluster.api.cel.values import CompileError

AUTHORIZER = "kubernetes.authorization.Authorizer"
Variables = tuple[tuple[str, str], ...]
"""Names and types, in the form of `schema_types`."""
_KIND = {"group": "string", "version": "string", "kind": "string"}
_RESOURCE = {"group": "string", "version": "string", "resource": "string"}
_USER = {"username": "string", "uid": "string", "groups": "list<string>", "extra": "map<string,list<string>>"}
_REQUEST = {
    "kind": "Kind", "resource": "Resource", "subResource": "string", "requestKind": "Kind",
    "requestResource": "Resource", "requestSubResource": "string", "name": "string", "namespace": "string",
    "operation": "string", "userInfo": "UserInfo", "dryRun": "bool", "options": "dyn",
}  # fmt: skip
_NAMESPACE_META = {
    "name": "string", "generateName": "string", "namespace": "string", "labels": "map<string,string>",
    "annotations": "map<string,string>", "UID": "string", "creationTimestamp": "timestamp",
    "deletionGracePeriodSeconds": "int", "deletionTimestamp": "timestamp", "generation": "int",
    "resourceVersion": "string", "finalizers": "list<string>",
}  # fmt: skip
_TEXTS_AND_TYPES = re.compile(r"""[rRbB]*(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|\bObject(?:\.\w+)+(?=\s*\{)""")


@functools.lru_cache(maxsize=64)
def environment(
    *,
    params: bool = False,
    authorizer: bool = True,
    variables: Variables = (),
    composed: bool = False,
    structs: tuple[tuple[str, tuple[str, ...]], ...] = (),
    patches: bool = False,
) -> Environment:
    """
    What expressions of an admission configuration may use.

    Args:
        params: Whether there is `params`.
        authorizer: Whether there is `authorizer`.
        variables: The names below `variables`, with their types.
        composed: Whether there is `variables` at all.
        structs: Messages that the expression makes and their fields.
        patches: Whether there is `JSONPatch`.
    """
    return typed_environment(
        SchemaTypes(), {}, params=params, authorizer=authorizer, variables=variables, composed=composed,
        structs=structs, patches=patches,
    )  # fmt: skip


def typed_environment(
    types: SchemaTypes,
    known: Mapping[str, str],
    *,
    params: bool,
    authorizer: bool,
    variables: Variables,
    composed: bool,
    structs: tuple[tuple[str, tuple[str, ...]], ...] = (),
    patches: bool = False,
) -> Environment:
    """As `environment`, with types for some of `object`, `oldObject` and `params`."""
    types.message("Kind", _KIND)
    types.message("Resource", _RESOURCE)
    types.message("UserInfo", _USER)
    types.message("AdmissionRequest", _REQUEST)
    types.message("NamespaceMeta", _NAMESPACE_META)
    types.message("NamespaceSpec", {"finalizers": "list<string>"})
    types.message("NamespaceStatus", {"phase": "string"})
    types.message("Namespace", {"metadata": "NamespaceMeta", "spec": "NamespaceSpec", "status": "NamespaceStatus"})
    names = {"object": "dyn", "oldObject": "dyn", "request": "AdmissionRequest", "namespaceObject": "Namespace"}
    if composed:
        types.message("Variables", dict(variables))
        names["variables"] = "Variables"
    if params:
        names["params"] = "dyn"
    if authorizer:
        names["authorizer"] = AUTHORIZER
        names["authorizer.requestResource"] = "kubernetes.authorization.ResourceCheck"
    shown = {}
    for name, fields in structs:
        if name != "JSONPatch":
            types.message(name, dict.fromkeys(fields, "dyn"))
            shown[name] = name.replace("_", ".") if name.startswith("Object_") else name
    if patches:
        types.message("JSONPatch", {"op": "string", "path": "string", "from": "string", "value": "dyn"})
    names.update((key, kind) for key, kind in known.items() if key in names)
    return types.typed(names, shown)


def compile_mutation(expression: str, wanted: str, *, params: bool, variables: Variables, composed: bool) -> Program:
    """
    A mutation's expression, which may make `Object`, `Object.spec.…` and `JSONPatch`.

    `wanted` is the type that it must have: `Object` or `list(JSONPatch)`. Raises CompileError.
    """
    # One identifier for each type, and no longer than it was, so that places in messages stay right.
    text = _TEXTS_AND_TYPES.sub(_as_identifier, expression)
    made: dict[str, list[str]] = {"Object": []}
    for node in walk(parse(text)):
        if isinstance(node, StructNode) and node.name:
            fields = made.setdefault(node.name, [])
            fields += [entry.key for entry in node.entries if isinstance(entry.key, str) and entry.key not in fields]
    structs = tuple((name, tuple(fields)) for name, fields in made.items() if name.partition("_")[0] == "Object")
    for name, names in structs:
        if len({field.replace("_", "").lower() for field in names}) < len(names):
            raise CompileError(f"ERROR: <input>:1:1: {name.replace('_', '.')} has fields that differ in case alone")
    known = environment(
        params=params, variables=variables, composed=composed, structs=structs, patches=wanted != "Object"
    )
    try:
        program = known.compile(text)
    except CompileError as fault:
        raise CompileError(re.sub(r"\bObject_\w+", lambda found: found.group().replace("_", "."), str(fault))) from None
    if program.result != wanted and not (wanted.startswith("list") and program.result == "list(dyn)"):
        raise WrongTypeError(f"must evaluate to {wanted}")
    return program


_KNOWN = re.compile(r"bool|int|uint|double|string|bytes|dyn|(?:list|map)\(.*\)")
_MADE = {"google.protobuf.Timestamp": "timestamp", "google.protobuf.Duration": "duration"}


def declared_type(result: str) -> str:
    """The type of a variable whose expression has this result; `dyn` for what cannot be said in a declaration."""
    if result in _MADE:
        return _MADE[result]
    if not _KNOWN.fullmatch(result):
        return "dyn"
    if result.startswith("list("):
        return f"list<{declared_type(result[5:-1])}>"
    if result.startswith("map("):
        key, _, value = result[4:-1].partition(", ")
        return f"map<string,{declared_type(value)}>" if key == "string" else "dyn"
    return result


class WrongTypeError(CompileError):
    """It compiles, but to something else than is needed."""


def _as_identifier(found: re.Match[str]) -> str:
    text = found.group()
    return text.replace(".", "_") if text.startswith("Object.") else text


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it."""
    yield node
    match node:
        case Select(operand=operand):
            yield from walk(operand)
        case Call(target=target, args=args):
            for part in (target, *args):
                if part is not None:
                    yield from walk(part)
        case ListNode(elements=elements):
            for part in elements:
                yield from walk(part)
        case StructNode(entries=entries):
            for entry in entries:
                if not isinstance(entry.key, str):
                    yield from walk(entry.key)
                yield from walk(entry.value)
        case Comprehension():
            for part in (node.range, node.init, node.condition, node.step, node.result):
                yield from walk(part)
        case _:
            return
