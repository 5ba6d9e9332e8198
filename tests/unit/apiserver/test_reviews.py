"""Questions posted as objects, answered as upstream answers them."""

import datetime as dt
from typing import Any

import pytest

from cluster.api import resources
from cluster.apiserver.authentication import Authenticator
from cluster.apiserver.authorization import build_authorizer
from cluster.apiserver.requests import UserInfo
from cluster.apiserver.reviews import REVIEWS, Reviews
from cluster.machinery.status_errors import ApiError
from tests.fakes.object_store import FakeObjects

RBAC = "rbac.authorization.k8s.io/v1"
ADMIN = UserInfo("admin", ("system:masters", "system:authenticated"), "1")
NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)

OBJECTS = (
    {
        "apiVersion": RBAC,
        "kind": "ClusterRole",
        "metadata": {"name": "r"},
        "rules": [
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
            {"verbs": ["get"], "nonResourceURLs": ["/healthz"]},
        ],
    },
    {
        "apiVersion": RBAC,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "b"},
        "roleRef": {"kind": "ClusterRole", "name": "r"},
        "subjects": [{"kind": "User", "name": "bob"}],
    },
)


async def ask(kind: str, spec: Any, user: UserInfo = ADMIN, namespace: str = "") -> Any:
    objects = FakeObjects(*OBJECTS)
    authenticator = Authenticator(objects, static_tokens={"t": UserInfo("bob", ("dev",))}, audiences=("api",))
    reviews = Reviews(authenticator, build_authorizer(["Node", "RBAC"], objects), clock=lambda: NOW)
    resource = next(r for r in resources.ALL if r.kind == kind)
    assert (resource.group, resource.plural) in REVIEWS
    body = {"apiVersion": resource.api_version, "kind": kind, "metadata": {}, **({"spec": spec} if spec else {})}
    return await reviews.handle_review(resource, body, user, namespace)


PODS = {"verb": "get", "resource": "pods", "namespace": "default"}


@pytest.mark.parametrize(
    ("kind", "spec", "status"),
    [
        ("SelfSubjectAccessReview", {"resourceAttributes": PODS}, {"allowed": True}),
        ("SubjectAccessReview", {"user": "eve", "resourceAttributes": PODS}, {"allowed": False}),
        (
            "SubjectAccessReview",
            {"user": "bob", "resourceAttributes": PODS},
            {"allowed": True, "reason": 'RBAC: allowed by ClusterRoleBinding "b" of ClusterRole "r" to User "bob"'},
        ),
        (
            "SubjectAccessReview",
            {"groups": ["x"], "nonResourceAttributes": {"path": "/healthz", "verb": "get"}},
            {"allowed": False},
        ),
        ("TokenReview", {"token": "nonsense"}, {"user": {}, "error": "invalid bearer token"}),
        (
            "TokenReview",
            {"token": "t"},
            {
                "authenticated": True,
                "user": {"username": "bob", "groups": ["dev", "system:authenticated"]},
                "audiences": ["api"],
            },
        ),
        ("TokenReview", {"token": "t", "audiences": ["other"]}, {"user": {}, "error": "invalid bearer token"}),
        (
            "SelfSubjectReview",
            None,
            {
                "userInfo": {"username": "admin", "uid": "1", "groups": ["system:masters", "system:authenticated"]},
            },
        ),
    ],
)
async def test_answer(kind: str, spec: Any, status: dict[str, Any]) -> None:
    assert (await ask(kind, spec))["status"] == status


async def test_rules_of_oneself() -> None:
    answer = await ask("SelfSubjectRulesReview", {"namespace": "default"}, UserInfo("bob"))

    assert (answer["metadata"], answer["spec"]) == ({}, {})
    assert answer["status"] == {
        "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz"]}],
        "incomplete": False,
    }


async def test_a_nodes_rules_cannot_be_listed() -> None:
    node = UserInfo("system:node:n1", ("system:nodes",))

    status = (await ask("SelfSubjectRulesReview", {"namespace": "default"}, node))["status"]

    assert status["incomplete"] is True
    assert status["evaluationError"] == "node authorizer does not support user rule resolution"


@pytest.mark.parametrize(
    ("kind", "spec", "code", "message"),
    [
        ("SubjectAccessReview", {"resourceAttributes": PODS}, 422, "at least one of user or group must be specified"),
        ("SubjectAccessReview", {"user": "x"}, 422, "exactly one of nonResourceAttributes or resourceAttributes"),
        (
            "SelfSubjectAccessReview",
            {"resourceAttributes": PODS, "nonResourceAttributes": {"path": "/"}},
            422,
            "cannot be specified in combination with resourceAttributes",
        ),
        ("LocalSubjectAccessReview", {"user": "x", "resourceAttributes": PODS}, 400, "must match namespace: ns"),
        ("SelfSubjectRulesReview", {}, 400, "no namespace on request"),
        ("TokenReview", {}, 400, "token is required"),
    ],
)
async def test_bad_question(kind: str, spec: Any, code: int, message: str) -> None:
    with pytest.raises(ApiError, match=message) as caught:
        await ask(kind, spec, namespace="ns")

    assert caught.value.http_code == code
