"""Which requests a webhook's or policy's rules and selectors mean."""

from typing import Any

import pytest

from cluster.api import resources
from cluster.apiserver.admission.matching import Rule, Selectors, is_exempt
from cluster.apiserver.requests import AdmissionRequest, UserInfo
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import NotFound
from tests.fakes.object_store import FakeObjects

USER = UserInfo("u")


def request(
    resource: str = "pods",
    operation: str = "CREATE",
    subresource: str = "",
    namespace: str = "ns",
    name: str = "x",
    labels: Object | None = None,
    old: Object | None = None,
) -> AdmissionRequest:
    obj = {"metadata": {"labels": labels or {}}}
    found = resources.named(resource)
    return AdmissionRequest(operation, found, subresource, namespace, name, obj, old, USER)


def rule(**given: Any) -> Rule:
    everything = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}
    return Rule.of(everything | given)


@pytest.mark.parametrize(
    ("given", "asked", "expected"),
    [
        ({}, request(), True),
        ({}, request("nodes", namespace=""), True),
        ({"operations": ["UPDATE"]}, request(), False),
        ({"apiGroups": [""]}, request("deployments.apps"), False),
        ({"apiVersions": ["v1beta1"]}, request(), False),
        ({"resources": ["pods"]}, request(), True),
        ({"resources": ["pods"]}, request(subresource="status"), False),
        ({"resources": ["pods/*"]}, request(), True),
        ({"resources": ["pods/*"]}, request(subresource="exec"), True),
        ({"resources": ["pods/exec"]}, request(), False),
        ({"resources": ["*"]}, request(subresource="status"), False),
        ({"resources": ["*"]}, request(), True),
        ({"resources": ["*/status"]}, request(subresource="status"), True),
        ({"scope": "Cluster"}, request(), False),
        ({"scope": "Cluster"}, request("namespaces", namespace="", name="ns"), True),
        ({"scope": "Namespaced"}, request("namespaces", namespace="", name="ns"), False),
        ({"scope": "Namespaced"}, request(), True),
        ({"resourceNames": ["y"]}, request(), False),
    ],
)
def test_a_rule_matches_as_upstreams_does(given: Any, asked: AdmissionRequest, expected: bool) -> None:
    assert rule(**given).matches(asked) is expected


def test_a_rule_may_judge_another_version() -> None:
    asked = request("horizontalpodautoscalers.autoscaling")
    other = resources.by_path("autoscaling", "v1", "horizontalpodautoscalers")
    only = rule(apiVersions=["v1"])

    assert asked.resource.version == "v2"
    assert (only.matches(asked), only.matches(asked, other)) == (False, True)


@pytest.mark.parametrize(
    ("labels", "old", "expected"), [({"a": "b"}, {}, True), ({}, {"a": "b"}, True), ({}, {}, False)]
)
def test_the_object_before_or_after_the_change_may_have_the_labels(labels: Object, old: Object, expected: bool) -> None:
    selectors = Selectors.of({"objectSelector": {"matchLabels": {"a": "b"}}})

    assert selectors.match_object(request(labels=labels, old={"metadata": {"labels": old}})) is expected


def test_options_of_a_connect_have_no_labels_to_select() -> None:
    selectors = Selectors.of({"objectSelector": {"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}})
    asked = request(operation="CONNECT", subresource="exec")
    asked.obj = {"kind": "PodExecOptions"}

    assert not selectors.match_object(asked)


async def test_a_namespace_is_judged_by_its_own_new_labels() -> None:
    selectors = Selectors.of({"namespaceSelector": {"matchLabels": {"a": "b"}}})
    stored = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns", "labels": {"a": "b"}}}
    reader = FakeObjects(stored)

    assert await selectors.match_namespace(request(), reader)
    assert not await selectors.match_namespace(request("namespaces", namespace="", name="ns"), reader)
    assert await selectors.match_namespace(request("namespaces", "DELETE", namespace="", name="ns"), reader)
    assert await selectors.match_namespace(request("nodes", namespace=""), reader)
    with pytest.raises(NotFound):
        await selectors.match_namespace(request(namespace="nowhere"), reader)


def test_what_configures_admission_is_exempt() -> None:
    assert is_exempt(request("validatingwebhookconfigurations.admissionregistration.k8s.io"))
    assert not is_exempt(request())
