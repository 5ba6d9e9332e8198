"""What of an admission webhook's answer counts, and what a client is told of its refusal."""

import base64
from typing import Any

import pytest

from cluster.api import resources
from cluster.apiserver.requests import AdmissionRequest, UserInfo
from cluster.apiserver.webhooks.admission_review import BadReviewError, Seen, Verdict, rejection, review, verdict
from cluster.machinery.objects import Object


def answer(version: str = "v1", kind: str = "AdmissionReview", **response: Any) -> Object:
    return {"apiVersion": f"admission.k8s.io/{version}", "kind": kind, "response": {"uid": "u", **response}}


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_namespace_is_in_itself_and_a_scale_is_no_deployment() -> None:
    user = UserInfo("ann", ("dev",), extra={"k": ("v",)})
    namespace: Object = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "ns"}}
    request = AdmissionRequest("DELETE", resources.NAMESPACES, "", "", "ns", None, namespace, user, options={"a": 1})
    asked = review("v1", "u", request, Seen(resources.NAMESPACES, None, namespace))["request"]
    assert (asked["namespace"], asked["object"], asked["options"]["kind"]) == ("ns", None, "DeleteOptions")
    assert asked["userInfo"] == {"username": "ann", "groups": ["dev"], "extra": {"k": ["v"]}}

    scale: Object = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "d"}}
    request = AdmissionRequest("UPDATE", resources.DEPLOYMENTS, "scale", "ns", "d", scale, scale, user)
    asked = review("v1", "u", request, Seen(resources.DEPLOYMENTS, scale, scale))["request"]
    assert asked["kind"] == asked["requestKind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert (asked["resource"]["resource"], asked["subResource"]) == ("deployments", "scale")


def test_patch_warnings_and_annotations_are_taken() -> None:
    given = answer(
        allowed=True, patch=encoded('[{"op":"remove","path":"/a"}]'), patchType="JSONPatch",
        warnings=["w", 1], auditAnnotations={"a": "b", "c": 1},
    )  # fmt: skip

    found = verdict(given, "v1", "u", mutating=True)

    assert found == Verdict(True, {}, [{"op": "remove", "path": "/a"}], ("w",), {"a": "b"})


def test_the_first_version_of_reviews_needs_neither_uid_nor_patch_type() -> None:
    given = {"response": {"allowed": True, "patch": encoded("[]")}}

    assert verdict(given, "v1beta1", "u", mutating=True) == Verdict(True)


@pytest.mark.parametrize(
    ("given", "mutating", "why"),
    [
        ({"kind": "AdmissionReview"}, True, "webhook response was absent"),
        (answer(uid="x"), True, 'expected response.uid="u", got "x"'),
        (answer("v1beta1"), True, "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got"),
        (answer(patch=encoded("[]")), True, "webhook returned response.patch but not response.patchType"),
        (answer(patchType="JSONPatch"), True, "webhook returned response.patchType but not response.patch"),
        (
            answer(patch=encoded("[]"), patchType="Merge"),
            True,
            'webhook returned invalid response.patchType of "Merge"',
        ),
        (answer(patch="~", patchType="JSONPatch"), True, "response.patch is no base64 of a JSON document"),
        (answer(patch=7, patchType="JSONPatch"), True, "response.patch is no base64 of a JSON document"),
        (answer(patch=encoded("{}"), patchType="JSONPatch"), True, "response.patch is no list of operations"),
        (answer(patch=encoded("[]")), False, "validating webhook may not return response.patch"),
        (answer(patchType="JSONPatch"), False, "validating webhook may not return response.patchType"),
    ],
)
def test_other_answers_are_none(given: Object, mutating: bool, why: str) -> None:
    with pytest.raises(BadReviewError) as caught:
        verdict(given, "v1", "u", mutating=mutating)

    assert str(caught.value).startswith(why)


@pytest.mark.parametrize("allowed", [None, "true", 1, False])
def test_only_a_true_allows(allowed: Any) -> None:
    assert not verdict(answer(allowed=allowed), "v1", "u", mutating=False).allowed


@pytest.mark.parametrize("code", [200, 0, 99999, "500", None])
def test_a_refusal_never_looks_like_a_success(code: Any) -> None:
    refusal = rejection("h", {"code": code, "status": "Success"})

    assert (refusal.http_code, refusal.status["status"]) == (400, "Failure")
    assert refusal.message == 'admission webhook "h" denied the request without explanation'
