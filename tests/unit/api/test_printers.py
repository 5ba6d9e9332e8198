"""The folder tests/scenarios/api: what `kubectl get` shows of an object."""

import pathlib
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from cluster.api import resources
from cluster.api.defaults import apply_defaults
from cluster.api.printers import cells, columns
from cluster.api.printers.ages import human_duration, since
from cluster.api.printers.build_descriptions import collect
from cluster.api.printers.columns import referenced_fields
from cluster.machinery.objects import Object

SCENARIOS = yaml.safe_load((pathlib.Path(__file__).parents[2] / "scenarios/api/printers.yaml").read_text())
NOW = datetime(2026, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["name"])
def test_a_row_says_what_matters(scenario: dict[str, Any]) -> None:
    assert cells(resources.named(scenario["resource"]), scenario["object"], NOW) == scenario["row"]


@pytest.mark.parametrize("resource", resources.ALL, ids=lambda resource: f"{resource.qualified}/{resource.version}")
def test_a_row_has_as_many_cells_as_the_table_has_columns(resource: resources.Resource) -> None:
    obj: Object = {"metadata": {"name": "x"}}
    apply_defaults(resource, obj)
    assert len(cells(resource, obj, NOW)) == len(columns(resource))
    assert cells(resource, {}, NOW)[:1] != [None]


def test_wide_columns_have_priority_one_and_only_names_are_formatted() -> None:
    shown = {column["name"]: column for column in columns(resources.PODS)}
    assert shown["IP"]["priority"] == 1
    assert shown["Status"]["priority"] == 0
    assert (shown["Name"]["format"], shown["Ready"]["format"]) == ("name", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (121, "2m1s"), (599, "9m59s"),
        (600, "10m"), (10_799, "179m"), (10_800, "3h"), (12_000, "3h20m"), (28_800, "8h"), (172_799, "47h"),
        (172_800, "2d"), (183_600, "2d3h"), (691_200, "8d"), (63_071_999, "729d"), (63_072_000, "2y"),
        (64_000_000, "2y10d"), (252_288_000, "8y"), (300_000_000, "9y"),
    ],
)  # fmt: skip
def test_an_age_is_as_short_as_it_can_be(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def test_an_age_of_no_time_is_unknown() -> None:
    assert since(None, NOW) == "<unknown>"
    assert since("2026-01-09T23:00:00.500000Z", NOW) == "59m"


def test_descriptions_come_from_the_core_group_where_two_groups_share_a_kind() -> None:
    def definition(text: str) -> dict[str, dict[str, dict[str, str]]]:
        return {"properties": {"reason": {"description": text}}}

    definitions = {"io.k8s.api.events.v1.Event": definition("new"), "io.k8s.api.core.v1.Event": definition("old")}
    assert collect(definitions, {"Event.reason"}) == {"Event.reason": "old"}
    assert "Event.reason" in referenced_fields()
