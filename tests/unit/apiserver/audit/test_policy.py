"""Which requests are written down, and what a wrong policy file is told."""

import re

import pytest

from cluster.apiserver.audit import policy
from cluster.apiserver.audit.policy import Level, Stage
from cluster.apiserver.requests import ANONYMOUS, Attributes, UserInfo

ALICE = UserInfo("alice", ("dev", "system:authenticated"))
HEAD = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"


def loaded(rules: str, head: str = HEAD) -> policy.Policy:
    return policy.load(f"{head}rules:\n{rules}\n".encode(), "policy.yaml")


def pods(verb: str = "get", **given: str) -> Attributes:
    return Attributes(ALICE, verb, **{"version": "v1", "resource": "pods", "namespace": "shop", **given})


@pytest.mark.parametrize(
    ("rule", "attributes", "fits"),
    [
        ("users: [alice]", pods(), True),
        ("users: [bob]", pods(), False),
        ("userGroups: [dev, ops]", pods(), True),
        ("userGroups: [ops]", pods(), False),
        ("verbs: [get, list]", pods(), True),
        ("verbs: [delete]", pods(), False),
        ("namespaces: [shop]", pods(), True),
        ("namespaces: [kube-system]", pods(), False),
        ("namespaces: ['']", pods(resource="nodes", namespace=""), True),
        ("namespaces: [shop]", Attributes(ALICE, "get", path="/healthz"), False),
        ("resources: [{group: '', resources: [pods]}]", pods(), True),
        ("resources: [{group: apps, resources: [pods]}]", pods(), False),
        ("resources: [{group: ''}]", pods(subresource="log"), True),
        ("resources: [{group: '', resources: [pods]}]", pods(subresource="log"), False),
        ("resources: [{group: '', resources: [pods/log]}]", pods(subresource="log"), True),
        ("resources: [{group: '', resources: ['pods/*']}]", pods(subresource="log"), True),
        ("resources: [{group: '', resources: ['*/log']}]", pods(subresource="log"), True),
        ("resources: [{group: '', resources: ['*/status']}]", pods(subresource="log"), False),
        ("resources: [{group: '', resources: ['*']}]", pods(subresource="log"), True),
        ("resources: [{group: '', resources: [pods], resourceNames: [a]}]", pods(name="a"), True),
        ("resources: [{group: '', resources: [pods], resourceNames: [a]}]", pods(name="b"), False),
        ("nonResourceURLs: ['/healthz*']", Attributes(ALICE, "get", path="/healthz/etcd"), True),
        ("nonResourceURLs: [/healthz]", Attributes(ALICE, "get", path="/healthz/etcd"), False),
        ("nonResourceURLs: ['*']", Attributes(ALICE, "get", path="/version"), True),
        ("nonResourceURLs: ['*']", pods(), False),
        ("verbs: []", pods(), True),
    ],
)
def test_a_rule_fits_what_upstream_says_it_fits(rule: str, attributes: Attributes, *, fits: bool) -> None:
    decided = loaded(f"- level: Metadata\n  {rule}").decide(attributes)
    assert (decided.level == Level.METADATA) is fits


def test_the_first_rule_that_fits_decides_and_without_one_nothing_is_written() -> None:
    found = loaded("- {level: None, verbs: [watch]}\n- {level: Request, users: [alice]}")
    assert found.decide(pods("watch")).level == Level.NONE
    assert found.decide(pods()).level == Level.REQUEST
    assert found.decide(Attributes(ANONYMOUS, "get", path="/")).level == Level.NONE


def test_no_rule_about_users_fits_somebody_who_could_not_be_authenticated() -> None:
    found = loaded("- {level: Request, userGroups: ['system:unauthenticated']}\n- {level: Metadata}")
    asked = Attributes(ANONYMOUS, "get", path="/")
    assert found.decide(asked, known=True).level == Level.REQUEST
    assert found.decide(asked, known=False).level == Level.METADATA


def test_stages_and_managed_fields_are_left_out_by_the_policy_or_by_the_rule() -> None:
    head = f"{HEAD}omitStages: [RequestReceived]\nomitManagedFields: true\n"
    found = loaded(
        "- {level: Request, users: [alice], omitStages: [Panic], omitManagedFields: false}\n- {level: Metadata}", head
    )
    first, second = found.decide(pods()), found.decide(Attributes(ANONYMOUS, "get"))
    assert first.omitted == {Stage.REQUEST_RECEIVED, Stage.PANIC}
    assert (first.omit_managed_fields, second.omit_managed_fields) == (False, True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: Other", 'no kind "Other" is registered'),
        ("kind: Policy\napiVersion: audit.k8s.io/v1beta1", 'for version "audit.k8s.io/v1beta1"'),
        (HEAD, "loaded illegal policy with 0 rules"),
        (f"{HEAD}rules: [{{}}]", "rules[0].level: Required value"),
        (f"{HEAD}rules: [{{level: All}}]", 'rules[0].level: Unsupported value: "All": supported values: "None"'),
        (f"{HEAD}rules: [{{level: None, verb: [get]}}]", 'rules[0].verb: unknown field "verb"'),
        (f"{HEAD}rules: [{{level: None, nonResourceURLs: [a]}}]", "must begin with a '/' character"),
        (f"{HEAD}rules: [{{level: None, nonResourceURLs: ['/a*b']}}]", "must be the final character of the rule"),
        (
            f"{HEAD}rules: [{{level: None, nonResourceURLs: [/a], namespaces: [b]}}]",
            "rules cannot apply to both regular resources and non-resource URLs",
        ),
        (f"{HEAD}rules: [{{level: None, resources: [{{group: a/v1}}]}}]", "rules[0].resources[0].group: Invalid value"),
        (
            f"{HEAD}rules: [{{level: None, resources: [{{resourceNames: [x]}}]}}]",
            "using resourceNames requires at least one resource",
        ),
        (f"{HEAD}rules: [{{level: None, omitStages: [Never]}}]", "allowed stages are RequestReceived,"),
        (f"{HEAD}rules: [{{level: None, users: alice}}]", "must be a list of strings"),
        (f"{HEAD}rules: nothing", "must be a list of objects"),
        ("[", "policy.yaml: "),
    ],
)
def test_a_wrong_policy_is_told_what_is_wrong(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        policy.load(text.encode(), "policy.yaml")
