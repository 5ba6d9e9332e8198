"""RBAC: who may do what, by the roles bound to them; and what may be given away."""

from typing import Any

import pytest

from cluster.apiserver.authorization import UnionAuthorizer, build_authorizer, load_abac_policies, refusal
from cluster.apiserver.rbac import PolicyRule, RbacAuthorizer
from cluster.apiserver.rbac_escalation import describe, missing_rules
from cluster.apiserver.requests import Attributes, UserInfo
from tests.fakes.object_store import FakeObjects

RBAC = "rbac.authorization.k8s.io/v1"
BOB = UserInfo("bob", ("dev", "system:authenticated"))


def rule(verbs: str, groups: str, names: str, *only: str) -> dict[str, Any]:
    def split(text: str) -> list[str]:
        return [part if part != "core" else "" for part in text.split(",")]

    return {
        "verbs": split(verbs),
        "apiGroups": split(groups),
        "resources": split(names),
        **({"resourceNames": list(only)} if only else {}),
    }


def role(kind: str, name: str, *rules: dict[str, Any], namespace: str = "") -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": RBAC, "kind": kind, "metadata": metadata, "rules": list(rules)}


def binding(
    kind: str, name: str, ref: str, *subjects: tuple[str, str], namespace: str = "", sa_namespace: str = ""
) -> dict[str, Any]:
    ref_kind, ref_name = ref.split("/")
    return {
        "apiVersion": RBAC,
        "kind": kind,
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": ref_kind, "name": ref_name},
        "subjects": [
            {"kind": k, "name": n, **({"namespace": sa_namespace} if k == "ServiceAccount" else {})}
            for k, n in subjects
        ],
    }


def authorizer(*rules: dict[str, Any], subject: tuple[str, str] = ("User", "bob")) -> RbacAuthorizer:
    return RbacAuthorizer(
        FakeObjects(role("ClusterRole", "r", *rules), binding("ClusterRoleBinding", "b", "ClusterRole/r", subject))
    )


@pytest.mark.parametrize(
    ("given", "asked", "allowed"),
    [
        (rule("get", "core", "pods"), ("get", "", "pods", ""), True),
        (rule("get", "core", "pods"), ("list", "", "pods", ""), False),
        (rule("*", "core", "pods"), ("delete", "", "pods", ""), True),
        (rule("get", "apps", "pods"), ("get", "", "pods", ""), False),
        (rule("get", "*", "pods"), ("get", "", "pods", ""), True),
        (rule("get", "core", "*"), ("get", "", "pods", "log"), True),
        (rule("get", "core", "pods"), ("get", "", "pods", "log"), False),
        (rule("get", "core", "pods/log"), ("get", "", "pods", "log"), True),
        (rule("get", "core", "pods/log"), ("get", "", "pods", ""), False),
        (rule("get", "core", "*/log"), ("get", "", "pods", "log"), True),
        (rule("get", "core", "*/log"), ("get", "", "pods", "exec"), False),
        (rule("get", "core", "pods", "x"), ("get", "", "pods", ""), True),
        (rule("get", "core", "pods", "y"), ("get", "", "pods", ""), False),
    ],
)
async def test_rule_for_resources(given: dict[str, Any], asked: tuple[str, str, str, str], allowed: bool) -> None:
    verb, group, resource, subresource = asked
    question = Attributes(BOB, verb, group, "v1", resource, subresource, "ns", "x")

    assert (await authorizer(given).authorize(question)).allowed is allowed


@pytest.mark.parametrize(
    ("pattern", "path", "allowed"),
    [
        ("/healthz", "/healthz", True),
        ("/healthz", "/healthz/etcd", False),
        ("/healthz/*", "/healthz/etcd", True),
        ("/healthz/*", "/healthz", False),
        ("*", "/anything", True),
        ("/metrics", "/METRICS", False),
    ],
)
async def test_rule_for_urls(pattern: str, path: str, allowed: bool) -> None:
    asked = Attributes(BOB, "get", path=path)

    found = await authorizer({"verbs": ["get"], "nonResourceURLs": [pattern]}).authorize(asked)

    assert found.allowed is allowed


@pytest.mark.parametrize(
    ("subject", "user", "allowed"),
    [
        (("User", "bob"), BOB, True),
        (("User", "alice"), BOB, False),
        (("Group", "dev"), BOB, True),
        (("Group", "bob"), BOB, False),
        (("User", "dev"), BOB, False),
        (("ServiceAccount", "default"), UserInfo("system:serviceaccount:other:default"), False),
    ],
)
async def test_subject_of_a_cluster_binding(subject: tuple[str, str], user: UserInfo, allowed: bool) -> None:
    asked = Attributes(user, "get", "", "v1", "pods", "", "ns")

    assert (await authorizer(rule("get", "core", "pods"), subject=subject).authorize(asked)).allowed is allowed


async def test_role_binding_holds_in_its_namespace_alone_and_says_why() -> None:
    objects = FakeObjects(
        role("Role", "r", rule("get", "core", "pods"), namespace="ns"),
        binding("RoleBinding", "b", "Role/r", ("ServiceAccount", "sa"), namespace="ns", sa_namespace="other"),
    )
    rbac = RbacAuthorizer(objects)
    account = UserInfo("system:serviceaccount:other:sa")

    here = await rbac.authorize(Attributes(account, "get", "", "v1", "pods", "", "ns"))
    elsewhere = await rbac.authorize(Attributes(account, "get", "", "v1", "pods", "", "ns2"))
    everywhere = await rbac.authorize(Attributes(account, "get", "", "v1", "pods"))

    assert here.reason == 'RBAC: allowed by RoleBinding "b/ns" of Role "r" to ServiceAccount "sa/other"'
    assert (here.allowed, elsewhere.allowed, everywhere.allowed) == (True, False, False)


async def test_a_change_of_roles_is_seen_at_once() -> None:
    objects = FakeObjects(binding("ClusterRoleBinding", "b", "ClusterRole/r", ("User", "bob")))
    rbac = RbacAuthorizer(objects)
    asked = Attributes(BOB, "get", "", "v1", "pods", "", "ns")

    before = await rbac.authorize(asked)
    objects.put(role("ClusterRole", "r", rule("get", "core", "pods")))
    after = await rbac.authorize(asked)

    assert before.reason == 'RBAC: clusterrole.rbac.authorization.k8s.io "r" not found'
    assert (before.allowed, after.allowed) == (False, True)


async def test_masters_need_no_role() -> None:
    chain = build_authorizer(["RBAC"], FakeObjects())

    assert (await chain.authorize(Attributes(UserInfo("x", ("system:masters",)), "get", path="/"))).allowed


@pytest.mark.parametrize("modes", [[], ["RBAC", "RBAC"], ["Sudo"]])
def test_bad_modes_are_refused(modes: list[str]) -> None:
    with pytest.raises(ValueError, match="authorization mode"):
        build_authorizer(modes, FakeObjects())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            Attributes(BOB, "list", "", "v1", "pods"),
            'pods is forbidden: User "bob" cannot list resource "pods" in API group "" at the cluster scope',
        ),
        (
            Attributes(BOB, "create", "", "v1", "pods", "exec", "default", "x"),
            'pods "x" is forbidden: User "bob" cannot create resource "pods/exec" in API group ""'
            ' in the namespace "default"',
        ),
        (Attributes(BOB, "get", path="/metrics"), 'forbidden: User "bob" cannot get path "/metrics"'),
    ],
)
def test_refusal_is_in_upstreams_words(asked: Attributes, message: str) -> None:
    assert refusal(asked).message == message
    assert refusal(asked, "why").message == f"{message}: why"
    assert "details" in refusal(asked).status


async def test_abac_policies_are_read_line_by_line(tmp_path: Any) -> None:
    file = tmp_path / "policy.jsonl"
    head = '{"kind": "Policy", "apiVersion": "abac.authorization.kubernetes.io/v1beta1", "spec": '
    file.write_text(
        f'# comment\n{head}{{"user": "bob", "namespace": "ns", "resource": "pods", "apiGroup": "*",'
        ' "readonly": true}}\n'
        f'{head}{{"group": "dev", "nonResourcePath": "/logs/*"}}}}\n'
    )
    chain = build_authorizer(["ABAC"], FakeObjects(), abac_policies=load_abac_policies(file))

    async def allowed(**asked: str) -> bool:
        return (await chain.authorize(Attributes(BOB, **asked))).allowed

    assert await allowed(verb="get", resource="pods", namespace="ns")
    assert not await allowed(verb="delete", resource="pods", namespace="ns")
    assert not await allowed(verb="get", resource="pods", namespace="other")
    assert await allowed(verb="get", path="/logs/x")
    for line in (
        "{}", "[]", '{"kind": "Policy", "spec": {"user": "*"}}', f'{head}{{"user": 1}}}}',
        f'{head}{{"readonly": "false"}}}}',
        f'{head}{{"apigroup": "*"}}}}', f"{head}[]}}", "nonsense",
    ):  # fmt: skip
        file.write_text(f"\n{line}")
        with pytest.raises(ValueError, match="line 2"):
            load_abac_policies(file)


@pytest.mark.parametrize(
    ("held", "given", "missing"),
    [
        (PolicyRule(("*",), ("*",), ("*",)), PolicyRule(("get",), ("",), ("pods",)), ""),
        (PolicyRule(("get",), ("",), ("pods",)), PolicyRule(("get",), ("",), ("pods",), ("x",)), ""),
        (
            PolicyRule(("get",), ("",), ("pods",), ("x",)),
            PolicyRule(("get",), ("",), ("pods",)),
            '{APIGroups:[""], Resources:["pods"], Verbs:["get"]}',
        ),
        (
            PolicyRule(("get",), ("",), ("pods",)),
            PolicyRule(("get", "list", "watch"), ("",), ("pods",)),
            '{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}',
        ),
        (PolicyRule(("get",), ("",), ("*/log",)), PolicyRule(("get",), ("",), ("pods/log",)), ""),
        (PolicyRule(("get",), non_resource_urls=("/a/*",)), PolicyRule(("get",), non_resource_urls=("/a/b",)), ""),
        (
            PolicyRule(("get",), non_resource_urls=("/a/*",)),
            PolicyRule(("get",), non_resource_urls=("/b",)),
            '{NonResourceURLs:["/b"], Verbs:["get"]}',
        ),
    ],
)
def test_what_is_given_beyond_what_is_held(held: PolicyRule, given: PolicyRule, missing: str) -> None:
    assert describe(missing_rules([held], [given])) == missing


async def test_rules_for_lists_every_binding_once() -> None:
    objects = FakeObjects(
        role("ClusterRole", "r", rule("get", "core", "pods")),
        binding("ClusterRoleBinding", "b", "ClusterRole/r", ("User", "bob"), ("Group", "dev")),
    )
    chain = build_authorizer(["Node", "RBAC"], objects)
    assert isinstance(chain, UnionAuthorizer)

    rules, incomplete, error = chain.rules_for(BOB, "ns")

    assert rules == [PolicyRule(("get",), ("",), ("pods",))]
    assert (incomplete, error) == (False, "")
