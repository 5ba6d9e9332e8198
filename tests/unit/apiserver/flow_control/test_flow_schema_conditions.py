from typing import Any

from cluster.apiserver.flow_control.conditions import missing_condition


def schema(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"priorityLevelConfiguration": {"name": "exempt"}}, "status": {"conditions": list(conditions)}}


def test_a_new_schema_is_told_whether_its_level_exists() -> None:
    found = missing_condition(schema(), exists=True)
    assert found is not None
    assert (found["type"], found["status"], found["reason"]) == ("Dangling", "False", "Found")
    missing = missing_condition(schema(), exists=False)
    assert missing is not None
    assert (missing["status"], missing["reason"]) == ("True", "NotFound")


def test_what_was_said_is_not_said_again_and_what_changed_gets_a_new_time() -> None:
    said = missing_condition(schema(), exists=True)
    assert said is not None
    said["lastTransitionTime"] = "2020-01-01T00:00:00Z"
    assert missing_condition(schema(said), exists=True) is None
    turned = missing_condition(schema(said), exists=False)
    assert turned is not None
    assert turned["lastTransitionTime"] != said["lastTransitionTime"]
