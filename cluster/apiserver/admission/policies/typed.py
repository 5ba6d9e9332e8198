"""
Checks the expressions of a policy against the schemas of the kinds it is about.

Source: k8s.io/apiserver, pkg/admission/plugin/policy/validating/typechecking.go.
"""

from collections.abc import Sequence
from typing import Any

from cluster.api.cel.admission import Variables, declared_type, typed_environment
from cluster.api.cel.environment import Environment
from cluster.api.cel.schema_types import SchemaTypes
from cluster.api.cel.values import CompileError
from cluster.api.custom_resource import CustomResource
from cluster.api.resources import Resource
from cluster.api.schema import schemas
from cluster.machinery.objects import Object

_META = "meta.v1.ObjectMeta"


class Types:
    """The environments of one policy, one for each kind."""

    def __init__(self, policy: Object, kinds: Sequence[Resource], served: Sequence[Resource]) -> None:
        spec = policy["spec"]
        wanted = spec.get("paramKind")
        params = next((one for one in served if wanted and (one.api_version, one.kind) == _type_meta(wanted)), None)
        variables = list(spec.get("variables") or ())
        self._environments = [(kind, _environment(kind, params, bool(wanted), variables)) for kind in kinds]

    def faults(self, expression: str) -> str:
        """What is wrong for which kind; empty when it fits all."""
        found = []
        for kind, environment in self._environments:
            try:
                environment.compile(expression)
            except CompileError as fault:
                found.append(f"{kind.group}/{kind.version}, Kind={kind.kind}: {fault}\n")
        return "\n".join(found)


def _type_meta(kind: Object) -> tuple[str, str]:
    return kind.get("apiVersion") or "", kind.get("kind") or ""


def _environment(kind: Resource, params: Resource | None, has_params: bool, variables: Sequence[Object]) -> Environment:
    known: Variables = ()
    for variable in variables:
        try:
            result = _with_variables(kind, params, has_params, known, composed=True).compile(variable["expression"])
        except CompileError:
            known = (*known, (variable["name"], "dyn"))  # upstream says nothing about variables themselves
        else:
            known = (*known, (variable["name"], declared_type(result.result)))
    return _with_variables(kind, params, has_params, known, composed=bool(variables))


def _with_variables(
    kind: Resource, params: Resource | None, has_params: bool, variables: Variables, *, composed: bool
) -> Environment:
    types = SchemaTypes(schemas().type_schema)
    known = {"object": _add(types, kind)}
    known["oldObject"] = known["object"]
    if params is not None:
        known["params"] = _add(types, params)
    return typed_environment(types, known, params=has_params, authorizer=True, variables=variables, composed=composed)


def _add(types: SchemaTypes, resource: Resource) -> str:
    if not isinstance(resource, CustomResource):
        name = schemas().type_name(resource.api_version, resource.kind)
        return "dyn" if name is None else types.add(_with_type_meta(schemas().type_schema(name), {}))
    return types.add(_with_type_meta(resource.schema, {"metadata": {"$ref": _META}}))


def _with_type_meta(schema: Any, more: Object) -> Object:
    standard = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
    return {**schema, "type": "object", "properties": {**(schema.get("properties") or {}), **standard, **more}}
