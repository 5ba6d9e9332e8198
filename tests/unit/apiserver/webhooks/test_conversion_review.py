"""What is believed of a conversion webhook's answer."""

from typing import Any

import pytest

from cluster.apiserver.webhooks.conversion_review import BadAnswerError, converted, request
from cluster.machinery.objects import Object

BEFORE: Object = {
    "apiVersion": "e.com/v1",
    "kind": "Door",
    "metadata": {"name": "a", "namespace": "ns", "uid": "u", "labels": {"old": "1"}, "generation": 3},
}


def answer(*objects: Any, version: str = "v1", uid: str = "r", **result: str) -> Object:
    return {
        "apiVersion": f"apiextensions.k8s.io/{version}",
        "kind": "ConversionReview",
        "response": {"uid": uid, "result": {"status": "Success", **result}, "convertedObjects": list(objects)},
    }


def after(**metadata: Any) -> Object:
    known = {"name": "a", "namespace": "ns", "uid": "u"}
    return {"apiVersion": "e.com/v2", "kind": "Door", "metadata": {**known, **metadata}, "spec": {"new": 1}}


def test_a_request_names_the_wanted_version() -> None:
    assert request("v1", "r", [BEFORE], "e.com/v2") == {
        "kind": "ConversionReview",
        "apiVersion": "apiextensions.k8s.io/v1",
        "request": {"uid": "r", "desiredAPIVersion": "e.com/v2", "objects": [BEFORE]},
    }


def test_metadata_other_than_labels_and_annotations_stays_as_it_was() -> None:
    changed = after(annotations={"by": "hook"}, generation=9, ownerReferences=[{}], finalizers=["x.example.com/y"])

    [found] = converted(answer(changed), "v1", "r", [BEFORE], "e.com/v2")

    assert found["spec"] == {"new": 1}
    assert found["metadata"] == {
        "name": "a", "namespace": "ns", "uid": "u", "generation": 3, "annotations": {"by": "hook"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"kind": "Status"}, "failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview"),
        (answer(version="v1beta1"), "got apiextensions.k8s.io/v1beta1, Kind=ConversionReview"),
        ({**answer(), "response": None}, "failed: no response provided"),
        (answer(uid="other"), 'failed: expected response.uid="r", got "other"'),
        (answer(status="Failed"), "failed: response.result.status was 'Failed', not 'Success'"),
        (answer(status="Failed", message="broken"), "failed: broken"),
        (answer(), "returned 0 objects, expected 1"),
        (answer("text"), "returned invalid converted object at index 0"),
        (answer({**after(), "kind": "Gate"}), "invalid kind (expected Door, received Gate)"),
        (answer(after(uid="x")), "must have the same UID: u != x"),
        (answer({**after(), "metadata": 7}), "invalid metadata of type"),
        (answer(after(labels={"a b": "c"})), "metadata.labels"),
        (answer(after(annotations={"a": 1})), "metadata.annotations[a] must be a string"),
    ],
)
def test_other_answers_are_refused(given: Object, why: str) -> None:
    with pytest.raises(BadAnswerError) as caught:
        converted(given, "v1", "r", [BEFORE], "e.com/v2")

    assert why in str(caught.value)
