"""A webhook decides who may, before or beside RBAC; silent, it means what the configuration says it means."""

from pathlib import Path
from typing import Any

import yaml

from tests.integration.conftest import TOKEN, Api, serving
from tests.integration.kubeconfig_webhook import WebhookServer, webhook

USERS = f'{TOKEN},admin,1,"system:masters"\nalice-token,alice,2,dev\n'


def flags(directory: Path, hook: WebhookServer, **change: Any) -> list[str]:
    tokens, path = directory / "users.csv", directory / "authorization.yaml"
    tokens.write_text(USERS)
    given = {
        "timeout": "1s", "subjectAccessReviewVersion": "v1", "failurePolicy": "NoOpinion",
        "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": str(hook.kubeconfig(directory / "hook.conf"))},
    }  # fmt: skip
    authorizers = [{"type": "Webhook", "name": "hook", "webhook": given | change}, {"type": "RBAC", "name": "rbac"}]
    head = {"kind": "AuthorizationConfiguration", "apiVersion": "apiserver.config.k8s.io/v1"}
    path.write_text(yaml.safe_dump({**head, "authorizers": authorizers}))
    return [f"--token-auth-file={tokens}", f"--authorization-config={path}"]


async def get(api: Api, path: str) -> tuple[int, str]:
    status, answer = await api.call("GET", path, Authorization="Bearer alice-token")
    return status, answer.get("message", "") if isinstance(answer, dict) else ""


def decide(asked: dict[str, Any]) -> Any:
    attributes = asked["spec"].get("resourceAttributes", {})
    if attributes.get("resource") == "nodes":
        return {**asked, "status": {"allowed": True, "reason": "likes nodes"}}
    if attributes.get("resource") == "secrets":
        return {**asked, "status": {"allowed": False, "denied": True, "reason": "never secrets"}}
    if attributes.get("resource") == "pods":
        return {**asked, "status": {"allowed": True, "denied": True}}
    return {**asked, "status": {"allowed": False}}


async def test_a_webhook_allows_denies_or_leaves_it_to_others(etcd_url: str, tmp_path: Path) -> None:
    async with webhook(tmp_path, decide) as hook, serving(etcd_url, tmp_path, *flags(tmp_path, hook)) as api:
        assert (await get(api, "/api/v1/nodes"))[0] == 200
        assert (await get(api, "/api/v1/nodes"))[0] == 200
        assert len(hook.asked) == 1  # remembered
        assert hook.asked[0]["spec"]["user"] == "alice"
        status, message = await get(api, "/api/v1/secrets")
        assert (status, message.endswith(": never secrets")) == (403, True)
        assert (await get(api, "/api/v1/pods"))[0] == 403  # allowed and denied at once is denied
        assert (await get(api, "/api/v1/services"))[0] == 403
        assert (await api.call("GET", "/api/v1/secrets"))[0] == 200  # system:masters before all
        review = {
            "kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1", "spec": {"namespace": "default"},
        }  # fmt: skip
        path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
        answer = (await api.call("POST", path, review))[1]["status"]
        assert answer["incomplete"]
        assert "webhook authorizer does not support user rule resolution" in answer["evaluationError"]


async def test_a_broken_webhook_denies_or_has_no_opinion(etcd_url: str, tmp_path: Path) -> None:
    async with webhook(tmp_path, lambda asked: 400) as hook:
        async with serving(etcd_url, tmp_path, *flags(tmp_path, hook)) as api:
            assert (await get(api, "/api"))[0] == 200  # RBAC lets everybody see what there is
            assert (await get(api, "/api/v1/nodes"))[0] == 403
        async with serving(etcd_url, tmp_path, *flags(tmp_path, hook, failurePolicy="Deny")) as api:
            assert (await get(api, "/api"))[0] == 403
            assert (await api.call("GET", "/api"))[0] == 200


async def test_conditions_say_whether_the_webhook_is_asked(etcd_url: str, tmp_path: Path) -> None:
    conditions = [
        {"expression": "has(request.resourceAttributes) && request.resourceAttributes.namespace != 'kube-system'"},
        {"expression": "!('system:nodes' in request.groups)"},
    ]
    change = {"matchConditions": conditions, "matchConditionSubjectAccessReviewVersion": "v1"}
    async with webhook(tmp_path, decide) as hook, serving(etcd_url, tmp_path, *flags(tmp_path, hook, **change)) as api:
        await get(api, "/api")
        await get(api, "/api/v1/namespaces/kube-system/secrets")
        assert hook.asked == []
        await get(api, "/api/v1/secrets")
        assert len(hook.asked) == 1
        broken = {**change, "matchConditions": [{"expression": "request.extra.gone == ['a']"}], "failurePolicy": "Deny"}
        flags(tmp_path, hook, **broken)
        api.server.files.look()
        assert (await get(api, "/api"))[0] == 403


async def test_a_changed_chain_is_in_force_at_once(etcd_url: str, tmp_path: Path) -> None:
    async with webhook(tmp_path, decide) as hook, serving(etcd_url, tmp_path, *flags(tmp_path, hook)) as api:
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:aggregate-to-view"}
        binding = {
            "kind": "ClusterRoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "alice"},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "alice"}], "roleRef": role,
        }  # fmt: skip
        path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
        assert (await api.call("POST", path, binding))[0] == 201
        for _ in range(3):
            assert (await get(api, "/api/v1/services"))[0] == 200
        hook.answer = lambda asked: {**asked, "status": {"denied": True}}
        flags(tmp_path, hook, timeout="2s")
        api.server.files.look()
        assert (await get(api, "/api/v1/services"))[0] == 403
        await api.call("DELETE", f"{path}/alice")


async def test_flags_name_a_webhook(etcd_url: str, tmp_path: Path) -> None:
    async with webhook(tmp_path, decide) as hook:
        tokens = tmp_path / "users.csv"
        tokens.write_text(USERS)
        given = [
            f"--token-auth-file={tokens}", "--authorization-mode=RBAC,Webhook",
            f"--authorization-webhook-config-file={hook.kubeconfig(tmp_path / 'hook.conf')}",
        ]  # fmt: skip
        async with serving(etcd_url, tmp_path, *given) as api:
            assert (await get(api, "/api/v1/nodes"))[0] == 200
            assert hook.asked[0]["apiVersion"] == "authorization.k8s.io/v1beta1"
            assert hook.asked[0]["spec"]["group"] == ["dev", "system:authenticated"]
