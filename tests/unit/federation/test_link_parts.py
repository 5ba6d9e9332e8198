"""The small pieces of a link: its queue, its budget, its order, its patience, its patches."""

import asyncio

import pytest

from cluster.api.resources import DEPLOYMENTS
from federation.api.refs import Ref
from federation.controllers.aggregate_status import changes
from federation.controllers.links.brakes import Brake
from federation.controllers.links.budget import Budget
from federation.controllers.links.endings import Endings
from federation.controllers.links.fights import FREE, corrected
from federation.controllers.links.lanes import Lanes
from federation.controllers.links.parts import APPLIED, GONE, PENDING
from federation.controllers.links.rendering import without_us
from federation.controllers.links.reporter import status_with
from federation.controllers.links.reports import Found
from federation.controllers.links.three_way import three_way_patch


async def test_what_a_user_changed_comes_before_what_a_resync_found() -> None:
    lanes: Lanes[str] = Lanes(base_backoff=0.1, max_backoff=1.0)
    for key in ("a", "b", "c"):
        lanes.add_slow(key)
    lanes.add("c")
    lanes.add("d")
    assert len(lanes) == 4
    assert [await lanes.get() for _ in range(4)] == ["c", "d", "a", "b"]
    lanes.add_slow("a")
    lanes.done("a")
    assert await lanes.get() == "a"


async def test_a_resync_waits_while_the_queue_is_long() -> None:
    lanes: Lanes[int] = Lanes(base_backoff=0.1, max_backoff=1.0)
    for key in range(3):
        lanes.add_slow(key)
    waiting = asyncio.ensure_future(lanes.until_shorter(3))
    await asyncio.sleep(0)
    assert not waiting.done()
    await lanes.get()
    await waiting


def test_a_refusal_halves_the_budget_and_time_brings_it_back() -> None:
    now = 0.0
    budget = Budget(lambda: now, rate=100.0)
    budget.refused(2)
    budget.refused(2)  # what was on its way with it
    assert budget.rate == 50.0
    assert budget.next_in() == 2.0
    now = 2.5
    assert budget.next_in() == 0.0
    now = 12.0
    budget.next_in()
    assert budget.rate == 100.0


WEB, SETTINGS = Ref("apps", "Deployment", "team", "web"), Ref("", "ConfigMap", "team", "settings")
TEAM, WIDGETS = (
    Ref("", "Namespace", "", "team"),
    Ref("apiextensions.k8s.io", "CustomResourceDefinition", "", "widgets.x.test"),
)
WIDGET = Ref("x.test", "Widget", "team", "one")


def test_deletions_come_in_the_reverse_order() -> None:
    endings = Endings()
    for ref in (TEAM, WIDGETS, SETTINGS, WEB, WIDGET):
        endings.open(ref)
    assert [one for one in (TEAM, WIDGETS, SETTINGS, WEB, WIDGET) if not endings.must_wait(one)] == [WIDGET]
    assert endings.close(WIDGET)
    assert [one for one in (TEAM, WIDGETS, SETTINGS, WEB) if not endings.must_wait(one)] == [WIDGETS, WEB]
    endings.close(WEB)
    endings.close(SETTINGS)
    assert not endings.must_wait(TEAM)
    assert not endings.close(WEB)


def test_a_brake_counts_what_was_deleted_lately() -> None:
    now = 0.0
    brake = Brake("east", lambda: now)
    refs = [Ref("", "ConfigMap", "default", f"c{number}") for number in range(30)]
    done = 0
    for ref in refs:  # one after the other, as a placer finds them
        brake.expect(ref)
        if not brake.holds(ref, 100 - done):
            brake.settle(ref, sent=True)
            done += 1
    assert done == 20
    assert "of the 100 objects" in brake.why
    assert not brake.used_up()
    brake.confirmed = True
    assert brake.why == ""
    for ref in refs:
        assert not brake.holds(ref, 80)
        brake.settle(ref, sent=True)
    assert brake.used_up()
    assert not brake.used_up()


def test_who_changes_a_field_again_and_again_is_answered_more_and_more_seldom() -> None:
    fight, now = None, 0.0
    pauses = []
    for _ in range(FREE + 2):
        fight = corrected(fight, "spec.replicas", now)
        pauses.append(fight.until - now)
        now = fight.until
    assert pauses == [0.0] * (FREE - 1) + [2.0, 4.0, 8.0]
    assert corrected(fight, "spec.paused", now).corrections == 1
    assert corrected(fight, "spec.replicas", now + 1000).corrections == 1


def test_a_three_way_patch_leaves_alone_what_is_the_members() -> None:
    def spec(*containers: object, **fields: object) -> dict[str, object]:
        return {"spec": {"template": {"spec": {"containers": list(containers)}}, **fields}}

    def web(**fields: object) -> dict[str, object]:
        return {"name": "web", **fields}

    last = spec(web(image="web:1", command=["a"]), replicas=2, paused=True)
    wanted = spec(web(image="web:2"), replicas=2)
    theirs = {"name": "proxy", "image": "proxy:1"}
    live = spec(
        web(image="web:1", command=["a"], tty=True), theirs, replicas=2, paused=True, progressDeadlineSeconds=600
    )
    patch = three_way_patch(DEPLOYMENTS.shape, last, wanted, live)
    assert patch == spec({"name": "web", "image": "web:2", "command": None}, paused=None)
    assert (
        three_way_patch(DEPLOYMENTS.shape, wanted, wanted, spec(web(image="web:2", tty=True), theirs, replicas=2)) == {}
    )
    without_shape = three_way_patch(None, last, wanted, live)
    assert without_shape["spec"]["template"]["spec"]["containers"] == [{"name": "web", "image": "web:2"}]


@pytest.mark.parametrize("others", [True, False])
def test_an_object_is_let_go_without_a_trace(others: bool) -> None:
    theirs = [{"manager": "kubectl", "operation": "Update"}] if others else []
    metadata = {
        "uid": "c1",
        "resourceVersion": "7",
        "labels": {"federation.hanse.io/managed": "true", "app": "web"},
        "managedFields": [{"manager": "federation", "operation": "Apply"}, *theirs],
    }
    assert without_us({"metadata": metadata}) == {
        "metadata": {
            "uid": "c1",
            "resourceVersion": "7",
            "labels": {"federation.hanse.io/managed": None},
            "managedFields": theirs or [{}],
        }
    }


def test_a_placements_status_is_written_for_the_clusters_that_it_names() -> None:
    spec = {
        "template": {"uid": "u1", "generation": 2},
        "clusters": [{"name": "east"}, {"name": "west"}],
        "tombstones": [{"cluster": "north", "uid": "u0"}],
    }
    gone = {"name": "south", "state": GONE}
    placement = {"metadata": {"generation": 5}, "spec": spec, "status": {"clusters": [gone]}}
    found = {
        "east": Found(APPLIED, "u1", "h", 1, 2, status={"replicas": 1}),
        "west": Found(PENDING, "u1", message="its namespace is not there yet"),
        "north": Found(GONE, "u0"),
    }
    status = status_with(placement, found, "t1")
    assert [(one["name"], one["state"]) for one in status["clusters"]] == [
        ("east", APPLIED), ("north", GONE), ("west", PENDING),
    ]  # fmt: skip
    condition = status["conditions"][0]
    assert (condition["status"], condition["message"]) == ("False", "1 of 2 clusters have it; without: west")
    assert status["observedGeneration"] == 5
    again = {**placement, "status": status}
    assert status_with(again, found, "t2") == status
    status = status_with(again, {"west": Found(APPLIED, "u1", "h", 1, 2)}, "t3")
    assert status["conditions"][0] | {"message": ""} == {
        "type": "Applied", "status": "True", "reason": "Everywhere", "message": "", "lastTransitionTime": "t3",
    }  # fmt: skip


def test_a_status_is_patched_where_it_differs() -> None:
    before = {"replicas": 3, "readyReplicas": 1, "loadBalancer": {"ingress": [1]}, "same": {"a": 1}}
    after = {"replicas": 4, "loadBalancer": {}, "same": {"a": 1}}
    assert changes(before, after) == {"replicas": 4, "readyReplicas": None, "loadBalancer": {"ingress": None}}
    assert changes(after, after) == {}
