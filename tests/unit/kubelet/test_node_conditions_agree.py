"""A kubelet that comes back finds its conditions set to Unknown and sets them right, and is quiet otherwise."""

from typing import Any

from cluster.kubelet.registration import _conditions_agree


def condition(kind: str, status: str = "True", reason: str = "KubeletReady") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": "m", "lastHeartbeatTime": "t"}


def test_conditions_that_a_controller_changed_do_not_agree() -> None:
    unknown = condition("Ready", "Unknown", "NodeStatusUnknown")

    assert not _conditions_agree({"conditions": [condition("Ready")]}, {"conditions": [unknown]})


def test_heartbeats_and_conditions_of_others_do_not_count() -> None:
    shown = [{**condition("Ready"), "lastHeartbeatTime": "later"}, condition("NetworkUnavailable", "False", "Other")]

    assert _conditions_agree({"conditions": [condition("Ready")]}, {"conditions": shown})


def test_a_node_without_status_does_not_agree() -> None:
    assert not _conditions_agree({"conditions": [condition("Ready")]}, {})
