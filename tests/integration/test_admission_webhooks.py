"""Admission by webhooks: a real apiserver that asks real HTTPS servers about its writes."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from tests.integration.webhook_server import Answer, Handler, WebhookServer, webhook_server

if TYPE_CHECKING:
    from tests.integration.conftest import Api

GROUP = "/apis/admissionregistration.k8s.io/v1"
MERGE = "application/merge-patch+json"
ALLOWED: Answer = {"allowed": True}
CONFIG_MAPS = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}


def patch(*operations: dict[str, Any]) -> Answer:
    return {
        "allowed": True,
        "patchType": "JSONPatch",
        "patch": base64.b64encode(json.dumps(operations).encode()).decode(),
    }


def label(name: str, value: str = "x") -> Handler:
    def handler(asked: dict[str, Any]) -> Answer:
        labels = {**(asked["object"]["metadata"].get("labels") or {}), name: value}
        return patch({"op": "add", "path": "/metadata/labels", "value": labels})

    return handler


def allow(asked: dict[str, Any]) -> Answer:
    return ALLOWED


def webhook(client: dict[str, Any], namespace: str = "", **more: Any) -> dict[str, Any]:
    """Concerns ConfigMaps of one namespace unless `more` says otherwise."""
    return {
        "name": "one.hooks.example.com",
        "clientConfig": client,
        "rules": [CONFIG_MAPS],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 5,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}} if namespace else {},
        **more,
    }


class Configured:
    """Makes configurations and takes them away again, so that they do not concern other tests."""

    def __init__(self, api: "Api") -> None:
        self._api = api
        self._paths: list[str] = []

    async def add(self, form: str, name: str, *webhooks: dict[str, Any]) -> None:
        kind = f"{form.capitalize()}WebhookConfiguration"
        path = f"{GROUP}/{kind.lower()}s"
        body = {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name},
            "webhooks": list(webhooks),
        }  # fmt: skip
        status, made = await self._api.call("POST", path, body)
        assert status == 201, made
        self._paths.append(f"{path}/{name}")
        await self._api.server.cache.catch_up()

    async def remove_all(self) -> None:
        for path in self._paths:
            await self._api.call("DELETE", path)


@pytest.fixture
async def configured(api: "Api") -> AsyncIterator[Configured]:
    made = Configured(api)
    yield made
    await made.remove_all()


@pytest.fixture
async def hook(tmp_path: Path) -> AsyncIterator[WebhookServer]:
    async with webhook_server(tmp_path) as server:
        yield server


def config_map(name: str = "a", **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}


async def test_mutating_webhooks_change_in_order_of_names_and_validating_ones_see_the_result(
    api: "Api", hook: WebhookServer, configured: Configured
) -> None:
    base = await api.namespace("hooks-order")
    hook.handlers |= {"/first": label("first"), "/second": label("second"), "/check": allow}
    written = [{**CONFIG_MAPS, "operations": ["CREATE", "UPDATE"]}]
    await configured.add("mutating", "b-second", webhook(hook.client("/second"), "hooks-order", rules=written))
    await configured.add("mutating", "a-first", webhook(hook.client("/first"), "hooks-order", rules=written))
    await configured.add("validating", "check", webhook(hook.client("/check"), "hooks-order"))

    status, made = await api.call("POST", f"{base}/configmaps?fieldManager=me", config_map(data={"k": "v"}))
    assert (status, made["metadata"]["labels"]) == (201, {"first": "x", "second": "x"})
    assert "labels" not in hook.asked("/first")[0]["object"]["metadata"]
    assert hook.asked("/second")[0]["object"]["metadata"]["labels"] == {"first": "x"}
    asked = hook.asked("/check")[0]
    assert asked["object"]["metadata"]["labels"] == {"first": "x", "second": "x"}
    kind = {"group": "", "version": "v1", "kind": "ConfigMap"}
    resource = {"group": "", "version": "v1", "resource": "configmaps"}
    assert {key: asked[key] for key in asked if key not in ("uid", "object", "userInfo")} == {
        "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource, "name": "a",
        "namespace": "hooks-order", "operation": "CREATE", "oldObject": None, "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"},
    }  # fmt: skip
    assert asked["userInfo"]["username"] == "admin"

    await api.call("PATCH", f"{base}/configmaps/a", {"data": {"k": "w"}}, MERGE)
    asked = hook.asked("/check")[-1]
    assert (asked["operation"], asked["options"]["kind"]) == ("UPDATE", "UpdateOptions")
    assert (asked["oldObject"]["data"], asked["object"]["data"]) == ({"k": "v"}, {"k": "w"})
    await api.call("DELETE", f"{base}/configmaps/a")
    asked = hook.asked("/check")[-1]
    assert (asked["operation"], asked["object"], asked["oldObject"]["data"]) == ("DELETE", None, {"k": "w"})
    _, metrics = await api.call("GET", "/metrics")
    line = 'apiserver_admission_webhook_admission_duration_seconds_count{name="one.hooks.example.com",type="validating"'
    assert f'{line},operation="CREATE",rejected="false"}} 1' in metrics


@pytest.mark.parametrize(
    ("status", "code", "reason", "message"),
    [
        ({"message": "no", "code": 409, "reason": "Conflict"}, 409, "Conflict", "denied the request: no"),
        ({"reason": "Because"}, 400, "Because", "denied the request: Because"),
        ({"code": 200}, 400, None, "denied the request without explanation"),
        (None, 400, None, "denied the request without explanation"),
    ],
)
async def test_a_refusal_reaches_the_client_and_nothing_is_written(
    api: "Api", hook: WebhookServer, configured: Configured, status: Any, code: int, reason: str | None, message: str
) -> None:
    base = "/api/v1/namespaces/default"
    hook.handlers["/deny"] = lambda asked: {
        "allowed": False,
        "status": status,
        "warnings": ["think again"],
        "auditAnnotations": {"why": "tested"},
    }
    await configured.add("validating", "deny", webhook(hook.client("/deny"), "default"))

    found, refused = await api.call("POST", f"{base}/configmaps", config_map("denied"))
    assert (found, refused.get("reason")) == (code, reason)
    assert refused["message"] == f'admission webhook "one.hooks.example.com" {message}'
    assert (await api.call("GET", f"{base}/configmaps/denied"))[0] == 404
    assert len(hook.asked("/deny")) == 1


async def test_a_webhook_that_does_not_answer_in_time_stops_only_what_needs_it(
    api: "Api", hook: WebhookServer, configured: Configured
) -> None:
    base = await api.namespace("hooks-slow")
    never = asyncio.Event()

    async def silent(asked: dict[str, Any]) -> Answer:
        await never.wait()
        return ALLOWED

    hook.handlers["/slow"] = silent
    slow = webhook(hook.client("/slow"), "hooks-slow", timeoutSeconds=1)
    needed = {"objectSelector": {"matchLabels": {"need": "it"}}, "name": "needed.hooks.example.com"}
    await configured.add("validating", "slow", {**slow, "failurePolicy": "Ignore"}, {**slow, **needed})

    status, _ = await api.call("POST", f"{base}/configmaps", config_map())
    assert status == 201
    wanting = config_map("b")
    wanting["metadata"]["labels"] = {"need": "it"}
    status, refused = await api.call("POST", f"{base}/configmaps", wanting)
    assert (status, refused["reason"], refused["message"]) == (
        500,
        "InternalError",
        'Internal error occurred: failed calling webhook "needed.hooks.example.com": failed to call webhook: '
        f'Post "{hook.url}/slow?timeout=1s": context deadline exceeded',
    )
    # What no rule means is not held up.
    assert (await api.call("POST", f"{base}/secrets", {"metadata": {"name": "s"}}))[0] == 201
    _, metrics = await api.call("GET", "/metrics")
    assert 'webhook_fail_open_count{name="one.hooks.example.com",type="validating"} 2' in metrics
    assert 'rejection_count{name="needed.hooks.example.com",type="validating",operation="CREATE"' in metrics
    never.set()


async def test_a_webhook_is_called_again_when_a_later_one_changed_the_object(
    api: "Api", hook: WebhookServer, configured: Configured
) -> None:
    base = await api.namespace("hooks-again")

    def count(asked: dict[str, Any]) -> Answer:
        keys = len(asked["object"].get("data") or {})
        return patch({"op": "add", "path": "/metadata/annotations", "value": {"keys": str(keys)}})

    def add_key(asked: dict[str, Any]) -> Answer:
        return patch({"op": "add", "path": "/data", "value": {**(asked["object"].get("data") or {}), "more": "1"}})

    hook.handlers |= {"/count": count, "/once": allow, "/add": add_key}
    again = webhook(hook.client("/count"), "hooks-again", reinvocationPolicy="IfNeeded")
    once = webhook(hook.client("/once"), "hooks-again", name="once.hooks.example.com")
    await configured.add("mutating", "a", again, once)
    await configured.add("mutating", "b", webhook(hook.client("/add"), "hooks-again"))

    _, made = await api.call("POST", f"{base}/configmaps", config_map(data={"k": "v"}))
    assert made["metadata"]["annotations"] == {"keys": "2"}
    assert [len(hook.asked(path)) for path in ("/count", "/once", "/add")] == [2, 1, 1]


async def test_a_dry_run_asks_and_stores_nothing(api: "Api", hook: WebhookServer, configured: Configured) -> None:
    base = await api.namespace("hooks-dry")
    hook.handlers["/dry"] = label("dry")
    await configured.add("mutating", "dry", webhook(hook.client("/dry"), "hooks-dry", sideEffects="NoneOnDryRun"))

    _, made = await api.call("POST", f"{base}/configmaps?dryRun=All", config_map())
    assert made["metadata"]["labels"] == {"dry": "x"}
    assert hook.asked("/dry")[0]["dryRun"] is True
    assert (await api.call("GET", f"{base}/configmaps/a"))[0] == 404


async def test_conditions_and_selectors_say_what_a_webhook_is_asked_about(
    api: "Api", hook: WebhookServer, configured: Configured
) -> None:
    base = await api.namespace("hooks-some")
    other = await api.namespace("hooks-other")
    hook.handlers |= {"/when": label("when"), "/labelled": label("labelled")}
    conditions = [
        {"name": "not-system", "expression": "!request.userInfo.username.startsWith('system:')"},
        {"name": "big", "expression": "has(object.data) && 'big' in object.data"},
    ]
    await configured.add("mutating", "when", webhook(hook.client("/when"), "hooks-some", matchConditions=conditions))
    selector = {"matchLabels": {"pick": "me"}}
    await configured.add("mutating", "z", webhook(hook.client("/labelled"), "hooks-some", objectSelector=selector))

    picked = config_map("picked", data={"big": "1"})
    picked["metadata"]["labels"] = {"pick": "me"}
    seen = {}
    for path, body in (
        (base, config_map("small")), (base, config_map("big", data={"big": "1"})), (base, picked), (other, picked),
    ):  # fmt: skip
        status, made = await api.call("POST", f"{path}/configmaps", body)
        assert status == 201, made
        seen[path == base, made["metadata"]["name"]] = set(made["metadata"].get("labels") or {})
    assert seen == {
        (True, "small"): set(), (True, "big"): {"when"}, (True, "picked"): {"pick", "when", "labelled"},
        (False, "picked"): {"pick"},
    }  # fmt: skip


async def test_a_condition_that_cannot_be_evaluated_refuses(
    api: "Api", hook: WebhookServer, configured: Configured
) -> None:
    base = await api.namespace("hooks-broken")
    hook.handlers["/never"] = allow
    broken = [{"name": "broken", "expression": "object.data.none == '1'"}]
    await configured.add("validating", "broken", webhook(hook.client("/never"), "hooks-broken", matchConditions=broken))

    status, refused = await api.call("POST", f"{base}/configmaps", config_map(data={}))
    assert (status, refused["reason"]) == (403, "Forbidden")
    assert hook.asked("/never") == []


async def test_connections_and_parts_of_objects_are_admitted_as_what_they_are(
    api: "Api", hook: WebhookServer, configured: Configured
) -> None:
    base = await api.namespace("hooks-parts")
    pod = {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 0},
    }
    assert (await api.call("POST", f"{base}/pods", pod))[0] == 201
    selector = {"matchLabels": {"a": "b"}}
    deployment = {
        "metadata": {"name": "d"},
        "spec": {"replicas": 1, "selector": selector, "template": {"metadata": {"labels": {"a": "b"}}, **pod_spec()}},
    }
    apps = base.replace("/api/v1", "/apis/apps/v1")
    assert (await api.call("POST", f"{apps}/deployments", deployment))[0] == 201

    def judge(asked: dict[str, Any]) -> Answer:
        if asked["operation"] == "CONNECT":
            return {"allowed": False, "status": {"message": "no shells", "code": 403}}
        return ALLOWED

    def halve(asked: dict[str, Any]) -> Answer:
        if asked["requestKind"]["kind"] != "Scale":
            return ALLOWED
        return patch({"op": "replace", "path": "/spec/replicas", "value": asked["object"]["spec"]["replicas"] // 2})

    hook.handlers |= {"/judge": judge, "/halve": halve}
    parts = {
        "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"],
        "resources": ["pods/exec", "pods/eviction", "pods/binding", "deployments/scale"],
    }  # fmt: skip
    await configured.add("validating", "parts", webhook(hook.client("/judge"), "hooks-parts", rules=[parts]))
    await configured.add("mutating", "parts", webhook(hook.client("/halve"), "hooks-parts", rules=[parts]))

    status, refused = await api.call("POST", f"{base}/pods/p/exec?command=sh&command=-c&stdout=true&container=c")
    assert (status, refused["message"]) == (
        403,
        'admission webhook "one.hooks.example.com" denied the request: no shells',
    )
    status, scaled = await api.call("PATCH", f"{apps}/deployments/d/scale", {"spec": {"replicas": 8}}, MERGE)
    assert (status, scaled["spec"]["replicas"]) == (200, 4)
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
    assert (await api.call("POST", f"{base}/pods/p/binding", binding))[0] == 201
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    assert (await api.call("POST", f"{base}/pods/p/eviction", eviction))[0] == 201
    seen = [
        (one["operation"], one["kind"]["kind"], one["resource"]["resource"], one["subResource"])
        for one in hook.asked("/judge")
    ]
    assert seen == [
        ("CONNECT", "PodExecOptions", "pods", "exec"),
        ("UPDATE", "Scale", "deployments", "scale"),
        ("CREATE", "Binding", "pods", "binding"),
        ("CREATE", "Eviction", "pods", "eviction"),
    ]
    assert hook.asked("/judge")[0]["object"] == {
        "kind": "PodExecOptions", "apiVersion": "v1", "stdout": True, "container": "c", "command": ["sh", "-c"],
    }  # fmt: skip


def pod_spec() -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", "image": "i"}]}}


async def test_an_equivalent_rule_sees_the_object_in_its_own_version(
    api: "Api", hook: WebhookServer, configured: Configured
) -> None:
    base = (await api.namespace("hooks-equal")).replace("/api/v1", "/apis/autoscaling/v2")

    def lower(asked: dict[str, Any]) -> Answer:
        return patch({"op": "replace", "path": "/spec/targetCPUUtilizationPercentage", "value": 30})

    hook.handlers |= {"/lower": lower, "/exact": allow}
    rule = {
        "operations": ["CREATE"], "apiGroups": ["autoscaling"], "apiVersions": ["v1"],
        "resources": ["horizontalpodautoscalers"],
    }  # fmt: skip
    await configured.add("mutating", "equal", webhook(hook.client("/lower"), "hooks-equal", rules=[rule]))
    exact = webhook(hook.client("/exact"), "hooks-equal", rules=[rule], matchPolicy="Exact")
    await configured.add("validating", "equal", exact)

    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
    }
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    autoscaler = {
        "metadata": {"name": "h"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": target, "metrics": [metric]},
    }
    status, made = await api.call("POST", f"{base}/horizontalpodautoscalers", autoscaler)
    assert status == 201, made
    assert made["apiVersion"] == "autoscaling/v2"
    assert made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 30
    [asked] = hook.asked("/lower")
    assert (asked["kind"]["version"], asked["requestKind"]["version"]) == ("v1", "v2")
    assert asked["object"]["spec"]["targetCPUUtilizationPercentage"] == 50
    assert hook.asked("/exact") == []


async def test_what_only_the_server_sets_is_not_a_webhooks_to_change(
    api: "Api", hook: WebhookServer, configured: Configured
) -> None:
    base = await api.namespace("hooks-own")

    def greedy(asked: dict[str, Any]) -> Answer:
        changes = [{"op": "add", "path": "/status", "value": {"phase": "Running", "podIP": "1.2.3.4"}}]
        if asked["operation"] == "UPDATE":
            changes.append({"op": "replace", "path": "/metadata/uid", "value": "other"})
        sidecar = {"name": "side", "image": "i", "resources": {"requests": {"cpu": "1"}}}
        known = [c["name"] for c in asked["object"]["spec"]["containers"]]
        if "side" not in known:
            changes.append({"op": "add", "path": "/spec/containers/-", "value": sidecar})
        return patch(*changes)

    hook.handlers["/greedy"] = greedy
    rule = {"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    await configured.add("mutating", "greedy", webhook(hook.client("/greedy"), "hooks-own", rules=[rule]))

    status, made = await api.call("POST", f"{base}/pods", {"metadata": {"name": "p"}, **pod_spec()})
    assert status == 201, made
    assert made["status"] == {"phase": "Pending", "qosClass": "Burstable"}
    side = made["spec"]["containers"][1]
    assert (side["name"], side["terminationMessagePolicy"]) == ("side", "File")
    assert side["volumeMounts"], "the service account's token is mounted into what a webhook has added, too"
    _, changed = await api.call("PATCH", f"{base}/pods/p", {"metadata": {"labels": {"a": "b"}}}, MERGE)
    assert changed["metadata"]["uid"] == made["metadata"]["uid"]
    assert changed["status"] == made["status"]


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (lambda asked: {"uid": "other"}, 'received invalid webhook response: expected response.uid="'),
        (lambda asked: web.Response(text="x" * (4 << 20)), "the answer is larger than 3145728 bytes"),
        (lambda asked: web.Response(text="secret page"), "json parse error: the answer is no JSON object"),
        (lambda asked: {"allowed": True, "patch": "W10="}, "webhook returned response.patch but not"),
        (lambda asked: patch({"op": "remove", "path": "/spec/none"}), "does not apply"),
        (lambda asked: patch({"op": "add", "path": "/data", "value": "text"}), "does not apply"),
        (lambda asked: patch({"op": "replace", "path": "/kind", "value": "Secret"}), "does not apply"),
    ],
)
async def test_an_answer_that_makes_no_sense_fails_closed(
    api: "Api", hook: WebhookServer, configured: Configured, handler: Handler, why: str
) -> None:
    base = "/api/v1/namespaces/default"
    hook.handlers["/odd"] = handler
    await configured.add("mutating", "odd", webhook(hook.client("/odd"), "default"))

    status, refused = await api.call("POST", f"{base}/configmaps", config_map("odd"))
    assert (status, refused["reason"], why in refused["message"]) == (500, "InternalError", True), refused
    assert (await api.call("GET", f"{base}/configmaps/odd"))[0] == 404


async def test_a_service_is_found_by_its_name_and_its_loss_fails_closed(
    api: "Api", hook: WebhookServer, configured: Configured
) -> None:
    base = await api.namespace("hooks")
    hook.handlers["/named"] = allow
    service = {
        "metadata": {"name": "hook"},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    }
    status, made = await api.call("POST", f"{base}/services", service)
    assert status == 201, made
    reference = {"namespace": "hooks", "name": "hook", "path": "/named", "port": hook.port}
    client = {"service": reference, "caBundle": hook.ca_bundle}
    await configured.add("validating", "named", webhook(client, "hooks"))

    assert (await api.call("POST", f"{base}/configmaps", config_map()))[0] == 201
    assert len(hook.asked("/named")) == 1
    await api.call("DELETE", f"{base}/services/hook")
    await api.server.cache.catch_up()
    status, refused = await api.call("POST", f"{base}/configmaps", config_map("b"))
    assert (status, refused["message"]) == (
        500,
        'Internal error occurred: failed calling webhook "one.hooks.example.com": failed to call webhook: '
        f'Post "https://hook.hooks.svc:{hook.port}/named?timeout=5s": service "hook" not found',
    )
    # The configuration that blocks can be repaired: it is never sent to a webhook itself.
    everything = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
    await configured.add("validating", "all", webhook(client, rules=[everything]))
    assert (await api.call("DELETE", f"{GROUP}/validatingwebhookconfigurations/all"))[0] == 200


async def test_other_certificates_are_not_trusted(
    api: "Api", hook: WebhookServer, configured: Configured, tmp_path: Path
) -> None:
    hook.handlers["/tls"] = allow
    (tmp_path / "other").mkdir()
    async with webhook_server(tmp_path / "other") as other:
        stranger = {**hook.client("/tls"), "caBundle": other.ca_bundle}
    await configured.add("validating", "tls", webhook(stranger, "default"))

    status, refused = await api.call("POST", "/api/v1/namespaces/default/configmaps", config_map("tls"))
    assert status == 500
    assert refused["message"].endswith(
        "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    )
    assert hook.asked("/tls") == []


@pytest.mark.parametrize("status", [301, 302, 307, 308, 404, 500])
async def test_the_apiserver_neither_follows_a_webhook_elsewhere_nor_shows_what_it_serves(
    api: "Api", hook: WebhookServer, configured: Configured, status: int
) -> None:
    canary = "secret of the metadata service"

    def elsewhere(asked: dict[str, Any]) -> web.Response:
        return web.Response(status=status, text=canary, headers={"Location": f"{hook.url}/canary"})

    hook.handlers |= {"/elsewhere": elsewhere, "/canary": allow}
    await configured.add("validating", "elsewhere", webhook(hook.client("/elsewhere"), "default"))

    found, refused = await api.call("POST", "/api/v1/namespaces/default/configmaps", config_map("elsewhere"))
    assert found == 500
    assert canary not in json.dumps(refused)
    assert hook.asked("/canary") == []


async def test_custom_resources_are_admitted_like_built_in_ones(
    api: "Api", hook: WebhookServer, configured: Configured
) -> None:
    group = "admitted.example.com"
    spec = {
        "type": "object",
        "properties": {"size": {"type": "integer"}, "color": {"type": "string", "default": "red"}},
    }
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"boxes.{group}"},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": "boxes", "kind": "Box"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }  # fmt: skip
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert (await api.call("POST", definitions, definition))[0] == 201
    base = f"/apis/{group}/v1/namespaces/default/boxes"
    for _ in range(200):
        if (await api.call("GET", base))[0] == 200:
            break
        await asyncio.sleep(0.02)

    def grow(asked: dict[str, Any]) -> Answer:
        spec = {"size": asked["object"]["spec"]["size"] + 1, "unknown": 1}
        return patch({"op": "replace", "path": "/spec", "value": spec})

    hook.handlers["/grow"] = grow
    rule = {"operations": ["CREATE"], "apiGroups": [group], "apiVersions": ["*"], "resources": ["*"]}
    await configured.add("mutating", "grow", webhook(hook.client("/grow"), "default", rules=[rule]))

    box = {"apiVersion": f"{group}/v1", "kind": "Box", "metadata": {"name": "b"}, "spec": {"size": 1}}
    status, made = await api.call("POST", base, box)
    assert (status, made["spec"]) == (201, {"size": 2, "color": "red"}), made
    await api.call("DELETE", f"{definitions}/boxes.{group}")
