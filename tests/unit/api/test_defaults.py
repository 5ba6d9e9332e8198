"""The folder tests/scenarios/api: what the server fills in, kind by kind."""

import pathlib
from typing import Any

import pytest
import yaml

from cluster.api import resources
from cluster.api.defaults import apply_defaults
from cluster.api.defaults.images import pull_policy_for
from cluster.machinery.objects import copy_object

SCENARIOS = yaml.safe_load((pathlib.Path(__file__).parents[2] / "scenarios/api/defaults.yaml").read_text())
ABSENT = object()


def at(obj: Any, path: str) -> Any:
    """The value at a path; keys may hold dots, so the longest key that fits wins."""
    if not path:
        return obj
    if isinstance(obj, list):
        head, _, rest = path.partition(".")
        return at(obj[int(head)], rest)
    parts = path.split(".")
    for count in range(len(parts), 0, -1):
        key = ".".join(parts[:count])
        if isinstance(obj, dict) and key in obj:
            return at(obj[key], ".".join(parts[count:]))
    return ABSENT


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["name"])
def test_what_a_client_leaves_out_is_filled_in(scenario: dict[str, Any]) -> None:
    obj = copy_object(scenario["object"])
    apply_defaults(resources.named(scenario["resource"]), obj)
    assert {path: at(obj, path) for path in scenario["expect"]} == scenario["expect"]
    assert [path for path in scenario.get("absent", ()) if at(obj, path) is not ABSENT] == []


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["name"])
def test_a_second_time_changes_nothing(scenario: dict[str, Any]) -> None:
    obj = copy_object(scenario["object"])
    apply_defaults(resources.named(scenario["resource"]), obj)
    once = copy_object(obj)
    apply_defaults(resources.named(scenario["resource"]), obj)
    assert obj == once


@pytest.mark.parametrize("resource", resources.ALL, ids=lambda resource: f"{resource.qualified}/{resource.version}")
def test_an_empty_object_of_any_kind_can_be_completed(resource: resources.Resource) -> None:
    apply_defaults(resource, {"metadata": {}})


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("registry:5000/nginx", "Always"),
        ("registry:5000/nginx:1.2", "IfNotPresent"),
        ("nginx@sha256:abc", "IfNotPresent"),
        ("nginx:latest@sha256:abc", "Always"),
        ("NotAReference", "IfNotPresent"),
        ("", "IfNotPresent"),
    ],
)
def test_only_an_image_that_may_change_is_always_pulled(image: str, policy: str) -> None:
    assert pull_policy_for(image) == policy
