"""The examples of a federation are accepted, and do what their first lines say."""

import datetime as dt
import pathlib
from dataclasses import replace
from typing import Any

import pytest
import yaml

from cluster.api.custom_resource import CustomResource
from cluster.apiserver.custom_resources.definitions import served
from federation.api.kinds import GROUP, definitions
from federation.dns.policies import policy_for as dns_policy_for, read_policy
from federation.membership.remedies import in_force
from federation.placement.members import Capacity, Member
from federation.placement.overrides import override
from federation.placement.plan import Assignment, Situation, plan
from federation.placement.policies import override_policy_of, policy_for, propagation_policy_of
from federation.placement.scaling_schedules import change, due

FOLDER = pathlib.Path(__file__).parents[2] / "federation" / "examples"
EXAMPLES = {path.name: list(yaml.safe_load_all(path.read_text())) for path in sorted(FOLDER.glob("*.yaml"))}
OURS = [
    pytest.param(document, id=f"{name}-{number}")
    for name, documents in EXAMPLES.items()
    for number, document in enumerate(documents)
    if document["apiVersion"].startswith(GROUP)
]
WEB = next(one for one in EXAMPLES["everywhere.yaml"] if one["kind"] == "Deployment")
EAST, WEST = Member("east", region="us-east-1"), Member("west", region="us-west-2")
NORTH = Member("north", region="eu-central-1", labels={"stage": "test"})
SOUTH = Member("south", region="us-east-1")
ALL = (EAST, WEST, NORTH, SOUTH)


def kind_of(document: dict[str, Any]) -> CustomResource:
    return served(next(one for one in definitions() if one["spec"]["names"]["kind"] == document["kind"]))[0]


def planned(name: str, *members: Member, replicas: int = 4, situation: Situation | None = None) -> dict[str, int]:
    policies = [propagation_policy_of(one) for one in EXAMPLES[name] if one["kind"].endswith("PropagationPolicy")]
    web = {**WEB, "spec": {**WEB["spec"], "replicas": replicas}}
    found = plan(web, members or ALL, policy_for(web, policies), situation or Situation())
    assert not found.fault
    return {one.cluster: one.replicas or 0 for one in found.assignments}


def test_every_example_begins_with_what_it_does() -> None:
    assert len(EXAMPLES) >= 6
    for path in FOLDER.glob("*.yaml"):
        assert path.read_text().startswith("# "), path.name


@pytest.mark.parametrize("document", OURS)
def test_documents_are_valid(document: dict[str, Any]) -> None:
    resource = kind_of(document)
    resource.complete(document)
    assert [str(fault) for fault in resource.faults(document)] == []
    if document["kind"].endswith("PropagationPolicy"):
        assert not propagation_policy_of(document).fault
    if document["kind"] == "OverridePolicy":
        assert not override_policy_of(document).fault


def test_without_a_policy_replicas_are_divided_among_all() -> None:
    assert planned("everywhere.yaml") == {"east": 1, "west": 1, "north": 1, "south": 1}
    assert sorted(planned("everywhere.yaml", replicas=7).values()) == [1, 2, 2, 2]


def test_two_regions_get_one_cluster_each() -> None:
    found = planned("two_regions.yaml")
    assert sum(found.values()) == 4
    assert len({one.region for one in ALL if found.get(one.name)}) == 2
    assert len(found) == 2


def test_weights_divide_three_to_one_up_to_a_limit() -> None:
    assert planned("weights.yaml") == {"east": 3, "west": 1}
    assert planned("weights.yaml", replicas=20) == {"east": 18, "west": 2}


def test_the_spare_cluster_is_used_when_the_first_is_lost() -> None:
    assert planned("spare_cluster.yaml") == {"east": 4}
    lost = Situation(held=(Assignment("east", 4),), lost=frozenset({"east"}))
    assert planned("spare_cluster.yaml", replace(EAST, phase="Unreachable"), WEST, situation=lost) == {"west": 4}


def test_as_much_as_fits_follows_room_and_leaves_test_clusters_out() -> None:
    roomy, tight = replace(EAST, capacity=Capacity(pods=30)), replace(WEST, capacity=Capacity(pods=10))
    found = planned("as_much_as_fits.yaml", roomy, tight, replace(NORTH, capacity=Capacity(pods=50)))
    assert found == {"east": 3, "west": 1}


def test_east_is_filled_first_and_west_has_the_rest() -> None:
    tight, roomy = replace(EAST, capacity=Capacity(pods=3)), replace(WEST, capacity=Capacity(pods=9))
    assert planned("fill_east_first.yaml", tight, roomy, replicas=3) == {"east": 3}
    assert planned("fill_east_first.yaml", tight, roomy, replicas=5) == {"east": 3, "west": 2}


def test_replicas_keep_office_hours() -> None:
    [schedule] = EXAMPLES["office_hours.yaml"]
    monday = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
    made = {**schedule, "metadata": {**schedule["metadata"], "creationTimestamp": "2026-01-05T00:00:00Z"}}
    for hour, rule, replicas in ((6, "morning", 6), (19, "evening", 2)):
        found = due(made, monday + dt.timedelta(hours=hour))
        assert (found.rule or {})["name"] == rule
        assert change(found.rule or {}, WEB) == {"replicas": replicas}


def test_a_cluster_without_names_is_spared_until_it_has_them() -> None:
    now = dt.datetime(2026, 1, 5, 0, 2, tzinfo=dt.UTC)
    condition = {"type": "NamesResolve", "status": "False", "lastTransitionTime": "2026-01-05T00:00:00Z"}
    cluster = {"metadata": {"name": "east"}, "status": {"conditions": [condition]}}
    [entry] = in_force(cluster, EXAMPLES["remedy.yaml"], now).entries
    assert (entry["traffic"], entry["taints"][0]["effect"]) == ("Stop", "NoSchedule")
    well = {"conditions": [{**condition, "status": "True"}], "remedies": [entry]}
    assert in_force({**cluster, "status": well}, EXAMPLES["remedy.yaml"], now).entries == ()


def test_images_come_from_a_registry_near_by() -> None:
    [policy] = [override_policy_of(one) for one in EXAMPLES["images_by_region.yaml"]]
    [container] = override(WEB, NORTH, [policy]).obj["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.eu.example.com/web:1"
    assert container["args"] == ["--verbose"]
    assert override(WEB, EAST, [policy]).obj == WEB


def test_each_service_has_the_strategy_that_is_said() -> None:
    policies = EXAMPLES["dns.yaml"]
    found = {}
    for name in ("web", "api", "other"):
        service = {"metadata": {"name": name, "namespace": "shop"}}
        found[name] = dns_policy_for(service, policies, []).strategy
    assert found == {"web": "Weighted", "api": "Failover", "other": "Geo"}
    assert read_policy(policies[0]["spec"]).weights == {"east": 3, "west": 1}
