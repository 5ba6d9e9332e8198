"""What a kubelet writes to make the API's status of a Pod its own."""

from cluster.api import resources
from cluster.kubelet.status_writer import status_patch
from cluster.machinery import strategic_merge


def test_a_condition_that_is_true_again_keeps_no_reason_of_before() -> None:
    unready = {"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "containers [web]"}
    gone = {"type": "DisruptionTarget", "status": "True", "reason": "Eviction", "message": "m"}
    pod = {"metadata": {"name": "p", "uid": "1"}, "status": {"conditions": [unready, gone]}}
    patch = status_patch(pod, {"conditions": [{"type": "Ready", "status": "True"}, gone]})

    merged = strategic_merge.apply(resources.PODS, pod, patch)

    assert merged["status"]["conditions"] == [{"type": "Ready", "status": "True"}, gone]


def test_a_condition_that_is_new_gets_no_nulls() -> None:
    pod = {"metadata": {"name": "p", "uid": "1"}, "status": {}}
    patch = status_patch(pod, {"conditions": [{"type": "Ready", "status": "True"}]})

    merged = strategic_merge.apply(resources.PODS, pod, patch)

    assert merged["status"]["conditions"] == [{"type": "Ready", "status": "True"}]
