"""What an AuthorizationConfiguration means, and what a wrong one is told."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.apiserver import authorization_configuration
from cluster.apiserver.requests import Attributes, UserInfo
from cluster.apiserver.webhooks.access_review import review_spec

RBAC = {"type": "RBAC", "name": "rbac"}


def webhook(file: Path, **change: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "timeout": "3s", "subjectAccessReviewVersion": "v1", "failurePolicy": "Deny",
        "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": str(file)},
    }  # fmt: skip
    given = {key: value for key, value in (base | change).items() if value is not ...}
    return {"type": "Webhook", "name": "hook", "webhook": given}


def load(directory: Path, *authorizers: Any) -> tuple[authorization_configuration.AuthorizerSettings, ...]:
    path = directory / "authorization.yaml"
    head = {"kind": "AuthorizationConfiguration", "apiVersion": "apiserver.config.k8s.io/v1"}
    path.write_text(yaml.safe_dump({**head, "authorizers": list(authorizers)}))
    return authorization_configuration.load(str(path))


def test_authorizers_keep_their_order_and_settings(tmp_path: Path) -> None:
    (tmp_path / "hook.conf").write_text("")
    given = webhook(
        tmp_path / "hook.conf", unauthorizedTTL="1m", cacheAuthorizedRequests=False,
        matchConditions=[{"expression": "has(request.resourceAttributes)"}],
        matchConditionSubjectAccessReviewVersion="v1",
    )  # fmt: skip
    hook, rbac = load(tmp_path, given, RBAC)
    assert (hook.kind, rbac.kind) == ("Webhook", "RBAC")
    assert hook.webhook is not None
    assert hook.webhook.timeout == 3.0
    review = hook.webhook.review
    assert (review.allowed_ttl, review.denied_ttl, review.failure_policy) == (0.0, 60.0, "Deny")
    assert review.conditions == ("has(request.resourceAttributes)",)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"timeout": ...}, "authorizers[0].webhook.timeout: Required value"),
        ({"timeout": "31s"}, "must be > 0s and <= 30s"),
        ({"timeout": "soon"}, "is no duration"),
        ({"authorizedTTL": "-1s"}, "authorizedTTL: Invalid value"),
        ({"subjectAccessReviewVersion": ...}, "subjectAccessReviewVersion: Required value"),
        ({"subjectAccessReviewVersion": "v2"}, 'Unsupported value: "v2": supported values: "v1", "v1beta1"'),
        ({"failurePolicy": ...}, "failurePolicy: Required value"),
        ({"failurePolicy": "Allow"}, 'Unsupported value: "Allow": supported values: "NoOpinion", "Deny"'),
        ({"connectionInfo": {}}, "connectionInfo.type: Required value"),
        ({"connectionInfo": {"type": "KubeConfigFile"}}, "kubeConfigFile: Required value"),
        ({"connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "a"}}, "must be an absolute path"),
        ({"connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "/nowhere"}}, "must be a regular file"),
        ({"matchConditions": [{"expression": " "}]}, "matchConditions[0].expression: Required value"),
        ({"matchConditions": [{"expression": "true"}]}, "matchConditionSubjectAccessReviewVersion: Required value"),
        ({"matchConditions": [{"expression": "a b"}]}, "compilation failed"),
        ({"matchConditions": [{"expression": "object.a"}]}, "undeclared reference to 'object'"),
        ({"other": 1}, 'unknown field "other"'),
    ],
)
def test_a_wrong_webhook_is_told_what_is_wrong(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    (tmp_path / "hook.conf").write_text("")
    with pytest.raises(ValueError, match=re.escape(told)):
        load(tmp_path, webhook(tmp_path / "hook.conf", **change))


@pytest.mark.parametrize(
    ("authorizers", "told"),
    [
        ([], "at least one authorization mode must be defined"),
        ([{"name": "a"}], "authorizers[0].type: Required value"),
        ([{"type": "All", "name": "a"}], 'Unsupported value: "All"'),
        ([{"type": "RBAC"}], "authorizers[0].name: Required value"),
        ([{"type": "RBAC", "name": "A!"}], "authorizer name is invalid"),
        ([RBAC, {"type": "RBAC", "name": "b"}], 'authorizers[1].type: Duplicate value: "RBAC"'),
        ([RBAC, {"type": "Node", "name": "rbac"}], 'authorizers[1].name: Duplicate value: "rbac"'),
        ([{"type": "Webhook", "name": "a"}], "required when type=Webhook"),
        ([{**RBAC, "webhook": {}}], "may only be specified when type=Webhook"),
    ],
)
def test_a_wrong_chain_is_told_what_is_wrong(tmp_path: Path, authorizers: list[Any], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        load(tmp_path, *authorizers)


def test_a_question_is_put_as_a_review() -> None:
    user = UserInfo("alice", ("dev",), "1", {"example.com/a": ("b",)})
    asked = Attributes(
        user, "list", "apps", "v1", "deployments", namespace="shop",
        label_selector="a=b,c in (d,e),!f", field_selector="metadata.name!=x",
    )  # fmt: skip
    assert review_spec(asked) == {
        "resourceAttributes": {
            "verb": "list", "group": "apps", "version": "v1", "resource": "deployments", "namespace": "shop",
            "labelSelector": {"requirements": [
                {"key": "a", "operator": "In", "values": ["b"]}, {"key": "c", "operator": "In", "values": ["d", "e"]},
                {"key": "f", "operator": "DoesNotExist"},
            ]},
            "fieldSelector": {"requirements": [{"key": "metadata.name", "operator": "NotIn", "values": ["x"]}]},
        },
        "user": "alice", "groups": ["dev"], "uid": "1", "extra": {"example.com/a": ["b"]},
    }  # fmt: skip
    narrowed = Attributes(user, "list", resource="pods", label_selector="a>1")
    assert "labelSelector" not in review_spec(narrowed)["resourceAttributes"]
    assert review_spec(Attributes(user, "get", path="/healthz"))["nonResourceAttributes"] == {
        "path": "/healthz", "verb": "get",
    }  # fmt: skip
