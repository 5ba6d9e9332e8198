"""Admission policies over objects in memory: what they refuse, change and say, and what configures them wrongly."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.api.validation.admission_policies import validate_admission_binding, validate_admission_policy
from cluster.apiserver.admission.plugin import Surroundings
from cluster.apiserver.admission.policies.plugins import MutatingAdmissionPolicy, ValidatingAdmissionPolicy
from cluster.apiserver.authorization import build_authorizer
from cluster.apiserver.requests import AdmissionRequest, UserInfo
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.status_errors import ApiError, Forbidden
from tests.fakes.object_store import FakeObjects

USER = UserInfo("ann", ("dev", "system:authenticated"))
RULES = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]
EVERYTHING: Object = {
    "resourceRules": RULES, "matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
}  # fmt: skip


class Kinds:
    """The built-in ones, in one version each."""

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        return resources.by_kind(api_version, kind)

    def others(self, resource: Resource) -> Sequence[Resource]:
        return ()

    async def bring(self, obj: Object, resource: Resource) -> Object:
        return copy_object(obj)

    def on_change(self, resource: Resource, call: Callable[[], None]) -> None:
        call()


def policy(kind: str = "ValidatingAdmissionPolicy", name: str = "p", **spec: Any) -> Object:
    full = {"matchConstraints": EVERYTHING, "failurePolicy": "Fail", **spec}
    return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": {"name": name, "generation": 1}, "spec": full}  # fmt: skip


def binding(kind: str = "ValidatingAdmissionPolicyBinding", name: str = "b", **spec: Any) -> Object:
    actions = {"validationActions": ["Deny"]} if kind.startswith("Validating") else {}
    return {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name},
            "spec": {"policyName": "p", **actions, **spec}}  # fmt: skip


def config_map(name: str = "x", namespace: str = "ns", **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def world(*more: Object) -> FakeObjects:
    labels = {"env": "test"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns", "labels": labels}}
    return FakeObjects(namespace, *more)


def creation(obj: Object) -> AdmissionRequest:
    resource = resources.CONFIG_MAPS
    return AdmissionRequest("CREATE", resource, "", obj["metadata"]["namespace"], obj["metadata"]["name"],
                            copy_object(obj), None, USER)  # fmt: skip


def around(objects: FakeObjects) -> Surroundings:
    return Surroundings(objects, objects, build_authorizer(["RBAC"], objects))


async def judged(objects: FakeObjects, obj: Object) -> AdmissionRequest:
    request = creation(obj)
    await ValidatingAdmissionPolicy(around(objects), Kinds()).validate(request)
    return request


async def refusal(objects: FakeObjects, obj: Object) -> str:
    with pytest.raises(Forbidden) as caught:
        await judged(objects, obj)
    head, _, why = caught.value.message.partition("ValidatingAdmissionPolicy 'p' ")
    assert head == f'configmaps "{obj["metadata"]["name"]}" is forbidden: '
    return why


FAILED = "with binding 'b' denied request: "


@pytest.mark.parametrize(
    ("validation", "why"),
    [
        ({"expression": "object.data.a == 'y'"}, "failed expression: object.data.a == 'y'"),
        ({"expression": "false", "message": " no "}, "no"),
        ({"expression": "false", "message": "no", "messageExpression": "'a is ' + object.data.a"}, "a is x"),
        ({"expression": "false", "message": "no", "messageExpression": "object.data.none + ''"}, "no"),
        ({"expression": "false", "message": "no", "messageExpression": "'two\\nlines'"}, "no"),
        ({"expression": "object.data.none == ''"},
         "expression 'object.data.none == ''' resulted in error: no such key: none"),
        ({"expression": "request.userInfo.username == 'bob' || oldObject != null", "message": "who"}, "who"),
        ({"expression": "namespaceObject.metadata.labels.env == 'prod'", "message": "env"}, "env"),
        ({"expression": "authorizer.group('').resource('pods').namespace('ns').check('get').allowed()",
          "message": "may not"}, "may not"),
        ({"expression": "variables.broken == 1"},
         "expression 'variables.broken == 1' resulted in error: composited variable \"broken\" fails to evaluate: "
         "no such key: none"),
        ({"expression": "object.data.all(k, nothing)"},
         "compilation error: ERROR: <input>:1:20: undeclared reference to 'nothing' (in container '')\n"
         " | object.data.all(k, nothing)\n | ...................^"),
    ],
)  # fmt: skip
async def test_a_validation_that_does_not_hold_denies_with_its_message(validation: Object, why: str) -> None:
    variables = [{"name": "broken", "expression": "object.data.none"}]
    objects = world(policy(variables=variables, validations=[validation]), binding())
    assert await refusal(objects, config_map(a="x")) == FAILED + why


@pytest.mark.parametrize(
    "change",
    [
        {"validations": [{"expression": "object.data.a == 'x' && params == null"}], "paramKind": {
            "apiVersion": "v1", "kind": "ConfigMap"}},
        {"validations": [{"expression": "object.data.none == 1"}], "failurePolicy": "Ignore"},
        {"matchConditions": [{"name": "n", "expression": "object.metadata.name == 'y'"}]},
        {"matchConstraints": {**EVERYTHING, "namespaceSelector": {"matchLabels": {"env": "prod"}}}},
        {"matchConstraints": {**EVERYTHING, "objectSelector": {"matchLabels": {"a": "b"}}}},
        {"matchConstraints": {**EVERYTHING, "excludeResourceRules": RULES}},
        {"matchConstraints": {**EVERYTHING, "resourceRules": [{**RULES[0], "resourceNames": ["y"]}]}},
        {"paramKind": {"apiVersion": "none/v1", "kind": "None"}, "failurePolicy": "Ignore"},
    ],
)  # fmt: skip
async def test_what_a_policy_does_not_concern_passes(change: Object) -> None:
    await judged(world(policy(**{"validations": [{"expression": "false"}], **change}), binding()), config_map(a="x"))


@pytest.mark.parametrize(
    ("spec", "bound", "why"),
    [
        ({"paramKind": {"apiVersion": "none/v1", "kind": "None"}}, {},
         "denied request: failed to configure policy: failed to find resource referenced by paramKind: "
         "'none/v1, Kind=None'"),
        ({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}},
         {"paramRef": {"name": "none", "parameterNotFoundAction": "Deny"}},
         FAILED + "failed to configure binding: no params found for policy binding with `Deny` "
         "parameterNotFoundAction"),
        ({"paramKind": {"apiVersion": "v1", "kind": "Namespace"}},
         {"paramRef": {"name": "ns", "namespace": "ns", "parameterNotFoundAction": "Deny"}},
         FAILED + "failed to configure binding: paramRef.namespace must not be provided for a cluster-scoped "
         "`paramKind`"),
    ],
)  # fmt: skip
async def test_a_wrong_configuration_denies_under_failure_policy_fail(spec: Object, bound: Object, why: str) -> None:
    objects = world(policy(validations=[{"expression": "true"}], **spec), binding(**bound))
    assert await refusal(objects, config_map()) == why


async def test_every_param_that_is_selected_is_asked() -> None:
    limits = [config_map(f"limit-{number}", max=str(number)) for number in (3, 1)]
    for limit in limits:
        limit["metadata"]["labels"] = {"limit": "yes"}
    told = "'at most ' + params.data.max"
    asked = policy(
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        validations=[{"expression": "object.data.size() <= int(params.data.max)", "messageExpression": told}],
    )
    selected = {"selector": {"matchLabels": {"limit": "yes"}}, "parameterNotFoundAction": "Allow"}
    objects = world(asked, binding(paramRef=selected), *limits)
    assert await refusal(objects, config_map(a="1", b="2")) == FAILED + "at most 1"
    await judged(objects, config_map(a="1"))
    await judged(world(asked, binding(paramRef=selected)), config_map(a="1", b="2"))


async def test_warnings_and_annotations_are_handed_on() -> None:
    asked = policy(
        validations=[{"expression": "false", "message": "no"}],
        auditAnnotations=[
            {"key": "a", "valueExpression": "'value ' + object.data.a"},
            {"key": "none", "valueExpression": "null"},
        ],
    )
    request = await judged(world(asked, binding(validationActions=["Warn", "Audit"])), config_map(a="x"))
    assert request.warnings == ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': no"]
    assert request.annotations == {
        "validation.policy.admission.k8s.io/validation_failure": '[{"message":"no","policy":"p","binding":"b",'
        '"expressionIndex":0,"validationActions":["Warn","Audit"]}]',
        "p/a": "value x",
    }


async def changed(*objects: Object, obj: Object | None = None) -> Object:
    request = creation(obj or config_map(a="x"))
    await MutatingAdmissionPolicy(around(world(*objects)), Kinds()).mutate(request)
    assert request.obj is not None
    return request.obj


def mutation(expression: str, kind: str = "JSONPatch") -> Object:
    return {"patchType": kind, kind[0].lower() + kind[1:] if kind[1].islower() else "jsonPatch": {
        "expression": expression}}  # fmt: skip


def mutating(*mutations: Object, **spec: Any) -> tuple[Object, Object]:
    made = policy("MutatingAdmissionPolicy", mutations=list(mutations), reinvocationPolicy="Never", **spec)
    return made, binding("MutatingAdmissionPolicyBinding")


@pytest.mark.parametrize(
    ("mutations", "data"),
    [
        ([mutation("[JSONPatch{op: 'add', path: '/data/b', value: object.data.a + 'y'}]")], {"a": "x", "b": "xy"}),
        ([mutation("[JSONPatch{op: 'test', path: '/data/a', value: 'z'}, JSONPatch{op: 'remove', path: '/data/a'}]")],
         {"a": "x"}),
        ([mutation("[JSONPatch{op: 'move', from: '/data/a', path: '/data/b'}]")], {"b": "x"}),
        ([mutation("Object{data: {'b': 'z'}}", "ApplyConfiguration")], {"a": "x", "b": "z"}),
        ([mutation("Object{data: {'b': 'z'}}", "ApplyConfiguration"),
          mutation("[JSONPatch{op: 'replace', path: '/data/a', value: object.data.b}]")], {"a": "z", "b": "z"}),
        ([mutation("object.data.a == 'x' ? [] : [JSONPatch{op: 'remove', path: '/data/a'}]")], {"a": "x"}),
    ],
)  # fmt: skip
async def test_mutations_change_the_object_one_after_the_other(mutations: list[Object], data: Object) -> None:
    assert (await changed(*mutating(*mutations)))["data"] == data


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (mutation("[JSONPatch{op: 'remove', path: '/data/b'}]"), "JSONPath: operation 0 (remove /data/b)"),
        (mutation("Object{data: Object.metadata{}}", "ApplyConfiguration"),
         'type mismatch: unexpected type name "Object.metadata", expected "Object.data", which matches field name path '
         "from root Object type"),
        (mutation("Object{metadata: Object.metadata{ownerReferences: [], finalizers: [object.data.none]}}",
                  "ApplyConfiguration"), "resulted in error: no such key: none"),
        (mutation("[JSONPatch{op: 'add', path: '/data/b', value: 1}]"), "error applying patch: "),
    ],
)  # fmt: skip
async def test_a_mutation_that_fails_refuses_the_request(change: Object, why: str) -> None:
    with pytest.raises(ApiError) as caught:
        await changed(*mutating(change))
    assert caught.value.message.startswith("policy 'p' with binding 'b' denied request: ")
    assert why in caught.value.message
    assert (await changed(*mutating(change, failurePolicy="Ignore")))["data"] == {"a": "x"}


async def test_a_hostile_policy_leaves_the_loop_to_others() -> None:
    hostile = "object.data.all(a, object.data.all(b, object.data.all(c, a + b + c != '')))"
    objects = world(policy(validations=[{"expression": hostile}]), binding())
    big = config_map(**{f"key-{number}": "x" for number in range(150)})
    running = asyncio.create_task(refusal(objects, big))
    turns = 0
    while not running.done():
        await asyncio.sleep(0)
        turns += 1
    assert "operation cancelled: actual cost limit exceeded" in running.result()
    assert turns > 3


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        ({}, []),
        ({"failurePolicy": None}, ["spec.failurePolicy: Required value"]),
        ({"matchConstraints": {**EVERYTHING, "resourceRules": []}},
         ["spec.matchConstraints.resourceRules: Required value"]),
        ({"paramKind": {"apiVersion": "a/b/c"}},
         ['spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c',
          "spec.paramKind.kind: Required value"]),
        ({"validations": [{"expression": "object.spec"}]},
         ['spec.validations[0].expression: Invalid value: "object.spec": must evaluate to bool']),
        ({"validations": [{"expression": " "}, {"expression": "true", "message": "a\nb", "reason": "Gone"}]},
         ["spec.validations[0].expression: Required value: expression is not specified",
          'spec.validations[1].message: Invalid value: "a\\nb": message must not contain line breaks',
          'spec.validations[1].reason: Unsupported value: "Gone": supported values: "Forbidden", "Invalid", '
          '"RequestEntityTooLarge", "Unauthorized"']),
        ({"variables": [{"name": "a", "expression": "1 + 1"}, {"name": "if", "expression": "variables.a > 1"}],
          "validations": [{"expression": "variables.a == 2"}]},
         ['spec.variables[1].name: Invalid value: "if": name is not a valid CEL identifier']),
        ({"variables": [{"name": "a", "expression": "object.x > 1"}], "validations": [{"expression": "variables.a"}]},
         []),
        ({"validations": []},
         ["spec.validations: Required value: validations or auditAnnotations must contain at least one item",
          "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item"]),
        ({"auditAnnotations": [{"key": "a", "valueExpression": "1"}]},
         ['spec.auditAnnotations[0].valueExpression: Invalid value: "1": must evaluate to one of [string null_type]']),
    ],
)  # fmt: skip
def test_policies_are_validated(change: Object, faults: list[str]) -> None:
    checked = policy(**{"validations": [{"expression": "true"}], **change})
    assert [str(fault) for fault in validate_admission_policy(checked)] == faults


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        (mutation("1", "ApplyConfiguration"),
         ['spec.mutations[0].applyConfiguration.expression: Invalid value: "1": must evaluate to Object']),
        (mutation("[1]"), ['spec.mutations[0].jsonPatch.expression: Invalid value: "[1]": must evaluate to '
                           "list(JSONPatch)"]),
        ({"patchType": "JSONPatch"},
         ["spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch"]),
        ({"patchType": "Merge"}, ['spec.mutations[0].patchType: Unsupported value: "Merge": supported values: '
                                  '"ApplyConfiguration", "JSONPatch"']),
    ],
)  # fmt: skip
def test_mutations_are_validated(change: Object, faults: list[str]) -> None:
    checked, _ = mutating(change)
    assert [str(fault) for fault in validate_admission_policy(checked)] == faults


def test_bindings_are_validated() -> None:
    reference = {"name": "a", "selector": {}, "parameterNotFoundAction": "Maybe"}
    wrong = binding(policyName="", validationActions=["Deny", "Warn", "Deny"], paramRef=reference)
    assert [str(fault) for fault in validate_admission_binding(wrong)] == [
        "spec.policyName: Required value",
        "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
        "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
        'spec.paramRef.parameterNotFoundAction: Unsupported value: "Maybe": supported values: "Deny", "Allow"',
        'spec.validationActions[2]: Duplicate value: "Deny"',
        'spec.validationActions: Invalid value: ["Deny","Warn","Deny"]: must not contain both Deny and Warn (repeating '
        "the same validation failure information in the API response and headers serves no purpose)",
    ]
    assert validate_admission_binding(binding()) == []
