from datetime import UTC, datetime
from typing import Any

import pytest

from cluster.apiserver.registry.deletion import finalizers_for, mark
from cluster.apiserver.registry.strategy import DeletePlan

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def obj(**metadata: Any) -> dict[str, Any]:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a", **metadata}}


@pytest.mark.parametrize(
    ("options", "present", "default", "expected"),
    [
        ({}, [], "Background", []),
        ({}, [], "Orphan", ["orphan"]),
        ({"propagationPolicy": "Foreground"}, ["x"], "Background", ["x", "foregroundDeletion"]),
        ({"propagationPolicy": "Background"}, ["orphan"], "Orphan", []),
        ({"orphanDependents": True}, [], "Background", ["orphan"]),
        ({}, ["foregroundDeletion"], "Background", ["foregroundDeletion"]),
    ],
)
def test_the_propagation_policy_decides_the_finalizers(
    options: dict[str, Any], present: list[str], default: str, expected: list[str]
) -> None:
    assert finalizers_for(options, present, default) == expected


def test_an_object_that_nothing_holds_goes_at_once() -> None:
    assert mark(obj(), DeletePlan(), {}, "Background", NOW) is None


def test_grace_is_added_to_the_time_of_the_delete() -> None:
    marked = mark(obj(), DeletePlan(graceful=True, grace_seconds=30), {}, "Background", NOW)
    assert marked is not None
    assert marked["metadata"]["deletionTimestamp"] == "2026-01-02T00:00:30Z"
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 30


def test_a_second_delete_may_only_shorten_the_grace() -> None:
    first = mark(obj(), DeletePlan(graceful=True, grace_seconds=30), {}, "Background", NOW)
    assert first is not None
    assert mark(first, DeletePlan(graceful=True, grace_seconds=60), {}, "Background", NOW) == first
    shorter = mark(first, DeletePlan(graceful=True, grace_seconds=5), {}, "Background", NOW)
    assert shorter is not None
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
