"""From plans to Placements: nothing that a member has is forgotten, nothing goes before its replacement is there."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from federation.api.refs import Ref
from federation.controllers.placing.decide import Circumstances, decide, end, merged
from federation.controllers.placing.reports import Report, are_ready
from federation.placement.plans import Assignment, Displaced, Eviction, Plan
from federation.placement.policies import DEFAULT_POLICY, Failover
from federation.placement.record import (
    Evicting,
    Record,
    Tombstone,
    is_worth_a_write,
    record_of,
    spec_of,
)

WEB = Ref("apps", "Deployment", "shop", "web")
SETTINGS = Ref("", "ConfigMap", "shop", "settings")
NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
THEN = "2026-01-02T03:04:05Z"
AROUND = Circumstances(now=NOW, members={"east", "west", "north"})
EAST, WEST = Assignment("east", 2, why="2 of 4"), Assignment("west", 2, why="2 of 4")
NOT_MEANT = Eviction("west", 2, "NotSelected")


def template(kind: str = "Deployment", uid: str = "u1") -> dict[str, Any]:
    pod: dict[str, Any] = {"template": {"spec": {"containers": []}}} if kind == "Deployment" else {}
    version = "apps/v1" if kind == "Deployment" else "v1"
    metadata = {"name": "web", "namespace": "shop", "uid": uid, "generation": 3}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": pod}


def held(*assignments: Assignment, **more: Any) -> Record:
    return Record("apps/v1", "u1", 3, clusters=assignments, **more)


def runs(replicas: int) -> Report:
    return Report("Applied", "u1", "", {"readyReplicas": replicas})


def test_a_new_object_is_where_its_plan_says_and_where_it_is_needed() -> None:
    around = replace(AROUND, follows={"north": "objects in it are there", "left": "objects in it are there"})
    found = decide(SETTINGS, template("ConfigMap"), None, Plan((Assignment("east"),)), DEFAULT_POLICY, around).record
    assert [one.cluster for one in found.clusters] == ["east", "north"]
    assert (found.uid, found.generation, found.tombstones) == ("u1", 3, ())


def test_an_evicted_copy_stays_until_its_replacement_runs_and_no_longer_than_grace() -> None:
    plan = Plan((replace(EAST, replicas=4),), (Eviction("west", 2, "ClusterLost"),), (Displaced("west", 2),))
    policy = replace(DEFAULT_POLICY, failover=Failover(grace_period_seconds=60))
    waiting = decide(WEB, template(), held(EAST, WEST), plan, policy, replace(AROUND, reports={"east": runs(2)}))
    assert waiting.record.evicting == (Evicting("west", 2, THEN, "ClusterLost"),)
    assert waiting.again == 60
    assert not waiting.record.tombstones

    done = decide(WEB, template(), waiting.record, plan, policy, replace(AROUND, reports={"east": runs(4)})).record
    assert (done.evicting, done.tombstones) == ((), (Tombstone("west", "u1", "Evicted", THEN),))

    late = replace(AROUND, now=NOW + dt.timedelta(seconds=61), reports={"east": runs(2)})
    over = decide(WEB, template(), waiting.record, plan, policy, late).record
    assert [(one.cluster, one.why) for one in over.tombstones] == [("west", "Evicted")]


@pytest.mark.parametrize("plan", [Plan(), Plan((EAST,), unplaced=2)], ids=["nowhere", "not all of it"])
def test_a_copy_without_full_replacement_stays(plan: Plan) -> None:
    around = replace(AROUND, reports={"east": runs(2)})
    found = decide(WEB, template(), held(WEST), plan, DEFAULT_POLICY, around).record
    assert [one.cluster for one in found.evicting] == ["west"]


def test_what_needs_no_replacement_goes_at_once() -> None:
    before = Record("v1", "u1", clusters=(Assignment("east"), Assignment("west")))
    found = decide(SETTINGS, template("ConfigMap"), before, Plan((Assignment("east"),)), DEFAULT_POLICY, AROUND).record
    assert [(one.cluster, one.why, one.propagation) for one in found.tombstones] == [
        ("west", "NotSelected", "Background")
    ]


def test_who_returns_in_time_loses_nothing_but_another_ones_tombstone_stays() -> None:
    old, present = Tombstone("west", "u0", "Deleted", THEN), Tombstone("west", "u1", "Evicted", THEN)
    before = held(EAST, evicting=(Evicting("north", 1, THEN, "ClusterLost"),), tombstones=(old, present))
    found = decide(WEB, template(), before, Plan((EAST, WEST, Assignment("north", 1))), DEFAULT_POLICY, AROUND).record
    assert found.tombstones == (old,)
    assert not found.evicting
    assert len(found.clusters) == 3


def test_a_template_of_the_same_name_takes_the_place_of_the_one_before() -> None:
    before = held(EAST, evicting=(Evicting("west", 2, THEN, "ClusterLost"),))
    found = decide(WEB, template(uid="u2"), before, Plan((EAST,)), DEFAULT_POLICY, AROUND).record
    assert found.uid == "u2"
    assert {(one.cluster, one.uid, one.why) for one in found.tombstones} == {
        ("east", "u1", "Deleted"),
        ("west", "u1", "Deleted"),
    }


def test_tombstones_end_with_the_answer_or_with_the_member() -> None:
    stones = tuple(Tombstone(name, "u0", "Deleted", THEN) for name in ("east", "west", "left"))
    around = replace(AROUND, reports={"east": Report("Gone", "u0"), "west": Report("Gone", "u1")})
    found = decide(WEB, template(), held(EAST, tombstones=stones), Plan((EAST,)), DEFAULT_POLICY, around).record
    assert [one.cluster for one in found.tombstones] == ["west"]


def test_a_member_that_leaves_is_left_alone_until_it_is_gone() -> None:
    plan = Plan((replace(EAST, replicas=4),), (Eviction("west", 2, "ClusterLeaving"),))
    around = replace(AROUND, reports={"east": runs(4)}, leaving={"west"})
    found = decide(WEB, template(), held(EAST, WEST), plan, DEFAULT_POLICY, around).record
    assert [(one.cluster, one.reason) for one in found.evicting] == [("west", "ClusterLeaving")]
    stays = decide(WEB, template(), found, plan, DEFAULT_POLICY, replace(around, leaving=())).record
    assert [(one.cluster, one.why) for one in stays.tombstones] == [("west", "NotSelected")]
    gone = decide(WEB, template(), found, plan, DEFAULT_POLICY, replace(around, members={"east"})).record
    assert gone.empty is False
    assert "west" not in str(spec_of(WEB, gone))


@pytest.mark.parametrize(("delete", "propagation"), [(False, "Orphan"), (True, "Background")])
def test_a_policy_that_is_gone_had_said_what_becomes_of_its_copies(delete: bool, propagation: str) -> None:
    before = Record("v1", "u1", policy="p", delete_with_policy=delete, clusters=(Assignment("west"),))
    around, plan = replace(AROUND, policy_gone=True), Plan((Assignment("east"),), (NOT_MEANT,))
    found = decide(SETTINGS, template("ConfigMap"), before, plan, DEFAULT_POLICY, around).record
    assert [one.propagation for one in found.tombstones] == [propagation]


@pytest.mark.parametrize(
    ("purge", "stays", "tombstones"),
    [("Gracefully", ["west"], []), ("Directly", [], ["west"]), ("Never", ["west"], [])],
)
def test_what_is_evicted_goes_as_its_policy_says(purge: str, stays: list[str], tombstones: list[str]) -> None:
    plan = Plan((replace(EAST, replicas=4),), (Eviction("west", 2, "PodsNotReady"),))
    policy = replace(DEFAULT_POLICY, failover=Failover(grace_period_seconds=60, purge=purge))
    found = decide(WEB, template(), held(EAST, WEST), plan, policy, AROUND).record
    assert [one.cluster for one in found.evicting] == stays
    assert [one.cluster for one in found.tombstones] == tombstones
    assert all(one.why == "Evicted" for one in found.tombstones)
    later = replace(AROUND, now=NOW + dt.timedelta(seconds=61), reports={"east": runs(4)})
    after = decide(WEB, template(), found, plan, policy, later).record
    assert [one.cluster for one in after.evicting] == (["west"] if purge == "Never" else [])


@pytest.mark.parametrize("purge", ["Directly", "Never"])
def test_how_it_is_purged_matters_to_evictions_alone(purge: str) -> None:
    plan = Plan((replace(EAST, replicas=4),), (Eviction("west", 2, "NotSelected"),))
    policy = replace(DEFAULT_POLICY, failover=Failover(purge=purge))
    waiting = decide(WEB, template(), held(EAST, WEST), plan, policy, AROUND).record
    assert [one.cluster for one in waiting.evicting] == ["west"]
    done = decide(WEB, template(), waiting, plan, policy, replace(AROUND, reports={"east": runs(4)})).record
    assert [one.cluster for one in done.tombstones] == ["west"]


@pytest.mark.parametrize(("delete", "evicting", "propagation"), [(False, [], ["Orphan"]), (True, ["west"], [])])
def test_a_workload_that_is_let_go_of_waits_for_nothing(
    delete: bool, evicting: list[str], propagation: list[str]
) -> None:
    before = replace(held(WEST), policy="p", delete_with_policy=delete)
    around = replace(AROUND, policy_gone=True)
    found = decide(WEB, template(), before, Plan((EAST,), (NOT_MEANT,)), DEFAULT_POLICY, around).record
    assert [one.cluster for one in found.evicting] == evicting
    assert [one.propagation for one in found.tombstones] == propagation


def test_what_was_to_go_before_its_policy_did_is_not_kept_for_that() -> None:
    before = replace(held(EAST), policy="p", evicting=(Evicting("west", 2, THEN, "NotSelected"),))
    around = replace(AROUND, policy_gone=True, reports={"east": runs(2)})
    found = decide(WEB, template(), before, Plan((EAST,), (NOT_MEANT,)), DEFAULT_POLICY, around).record
    assert [(one.cluster, one.propagation) for one in found.tombstones] == [("west", "Background")]


def test_who_has_no_share_of_fewer_replicas_is_not_kept_because_a_policy_went() -> None:
    before = replace(held(EAST, WEST), policy="p")
    around = replace(AROUND, policy_gone=True, reports={"east": runs(2)})
    found = decide(WEB, template(), before, Plan((EAST,)), DEFAULT_POLICY, around).record
    assert [(one.cluster, one.propagation) for one in found.tombstones] == [("west", "Background")]


def test_nothing_moves_on_while_the_federation_is_cut_off() -> None:
    before = held(EAST, evicting=(Evicting("west", 2, "2020-01-01T00:00:00Z", "ClusterLost"),))
    plan = Plan((replace(EAST, replicas=4),))
    around = replace(AROUND, isolated=True, reports={"east": runs(2)})
    assert decide(WEB, template(), before, plan, DEFAULT_POLICY, around).record.evicting == before.evicting
    over = decide(WEB, template(), before, plan, DEFAULT_POLICY, replace(around, isolated=False)).record
    assert [one.why for one in over.tombstones] == ["Evicted"]


def test_the_end_makes_tombstones_of_everything_and_keeps_those_there_are() -> None:
    before = held(
        EAST, evicting=(Evicting("west", 2, THEN, "x"),), tombstones=(Tombstone("north", "u0", "Deleted", "t"),)
    )
    found = end(before, "Missing", NOW)
    assert {(one.cluster, one.why) for one in found.tombstones} == {
        ("north", "Deleted"),
        ("east", "Missing"),
        ("west", "Missing"),
    }
    assert (found.clusters, found.evicting) == ((), ())
    assert end(found, "Deleted", NOW) == found


def test_a_deletion_goes_before_letting_go() -> None:
    let_go = Tombstone("east", "u1", "NotSelected", THEN, "Orphan")
    deleted = Tombstone("east", "u1", "Deleted", THEN)
    assert merged([let_go], [deleted]) == (deleted,)
    assert merged([deleted], [let_go]) == (deleted,)


def test_a_record_survives_being_stored() -> None:
    whole = Record(
        "apps/v1", "u1", 3, "shop/near", True, True, True, "hash",
        (Assignment("east", 0, 1, 2, "why"), Assignment("west")),
        (Evicting("north", None, THEN, "ClusterLost"),),
        (Tombstone("south", "u0", "Missing", THEN, "Orphan"),),
        (Displaced("north", 2, 5),),
        {"far": "it is cordoned"}, 7, "a fault",
    )  # fmt: skip
    assert record_of({"spec": spec_of(WEB, whole)}) == whole
    bare = Record("v1")
    assert spec_of(SETTINGS, bare) == {
        "template": {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "shop", "name": "settings"}
    }
    assert record_of({"spec": spec_of(SETTINGS, bare)}) == bare


def test_words_about_a_member_that_misses_probes_are_no_reason_to_write() -> None:
    ready = held(EAST, passed_over={"west": "the one replica is elsewhere"})
    suspect = held(EAST, passed_over={"west": "it is not ready but Suspect"})
    assert not is_worth_a_write(ready, suspect)
    assert not is_worth_a_write(suspect, ready)
    assert is_worth_a_write(ready, held(EAST, passed_over={"west": "it is cordoned"}))
    assert is_worth_a_write(ready, held(EAST))
    assert is_worth_a_write(ready, replace(ready, generation=4))


def test_ready_is_what_says_so_itself() -> None:
    daemons = Ref("apps", "DaemonSet", "shop", "log")
    assert are_ready(WEB, [EAST], {"east": runs(2)})
    assert not are_ready(WEB, [EAST], {"east": runs(1)})
    assert not are_ready(WEB, [EAST], {"east": replace(runs(2), state="Pending")})
    assert not are_ready(WEB, [Assignment("east")], {"east": runs(0)})
    assert not are_ready(
        daemons, [Assignment("east")], {"east": Report("Applied", status={"desiredNumberScheduled": 1})}
    )
    assert are_ready(SETTINGS, [Assignment("east")], {"east": Report("Applied")})
    assert not are_ready(SETTINGS, [Assignment("east")], {})
