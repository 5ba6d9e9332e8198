"""A Placement tells where its object is, where it is not, and what stands in the way."""

from typing import Any

from cluster.api import resources
from cluster.apiserver.negotiation import TABLE, View
from cluster.machinery.objects import Key
from federation.apiserver.views.placement_events import told
from federation.placement.scheduled import scheduled_condition
from federation.placement.story import chapters, events

SPEC: dict[str, Any] = {
    "template": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web", "uid": "u1"},
    "policy": "shop/near",
    "clusters": [{"name": "east", "replicas": 2, "why": "2 of 4 replicas by weight 1"}],
    "passedOver": [{"cluster": "north", "why": "it is cordoned"}],
    "evicting": [{"name": "west", "replicas": 2, "since": "2026-01-02T03:04:05Z", "reason": "ClusterLost"}],
    "tombstones": [{"cluster": "south", "uid": "u0", "why": "Deleted", "since": "2026-01-02T03:04:04Z"}],
    "displaced": [{"cluster": "west", "replicas": 2}],
    "unplaced": 2,
}
STATUS = {"clusters": [{"name": "east", "state": "Conflict", "message": "it is there already"}]}
PLACEMENT = {
    "metadata": {"name": "deployment.apps-web", "uid": "p1", "creationTimestamp": "2026-01-02T03:00:00Z"},
    "spec": SPEC,
    "status": STATUS,
}
FIELDS = "involvedObject.name=web,involvedObject.namespace=shop,involvedObject.kind=Deployment"


def placements(kind: str, key: Key) -> list[dict[str, Any]]:
    return [PLACEMENT] if (kind, key) == ("Deployment", Key("shop", "web")) else []


def test_it_tells_everything_the_worst_last() -> None:
    found = {chapter.reason: (chapter.kind, chapter.message) for chapter in chapters(PLACEMENT)}
    assert found == {
        "Placed": ("Normal", "Placed in 1 clusters by policy shop/near: east: 2 of 4 replicas by weight 1"),
        "PassedOver": ("Normal", "Not placed everywhere by policy shop/near: north: it is cordoned"),
        "Evicting": ("Warning", "west: ClusterLost; its copy stays until what replaces it is ready"),
        "Removing": ("Normal", "south: its copy goes (Deleted), and is not known to be gone"),
        "FailedOver": ("Normal", "Replicas of lost clusters run elsewhere; to return: 2 to west"),
        "Conflict": ("Warning", "east: it is there already"),
        "Unplaced": ("Warning", "2 replicas fit into no cluster"),
    }
    nowhere = {
        "metadata": PLACEMENT["metadata"],
        "spec": {"template": SPEC["template"], "fault": "a selector cannot be read"},
    }
    assert [chapter.reason for chapter in chapters(nowhere)] == ["NotPlaced", "PlacementFault"]


def test_events_are_named_alike_each_time_and_about_the_template() -> None:
    first = events(PLACEMENT)
    assert first == events(PLACEMENT)
    assert len({one["metadata"]["uid"] for one in first}) == len(first)
    about = first[0]["involvedObject"]
    assert (about["kind"], about["namespace"], about["name"], about["uid"]) == ("Deployment", "shop", "web", "u1")
    assert first[0]["metadata"]["namespace"] == "shop"


def test_only_who_asks_about_one_object_is_told() -> None:
    view = View()
    assert told(resources.EVENTS, "shop", "", view, placements) is None
    assert told(resources.EVENTS, "shop", "type=Warning", view, placements) is None
    assert told(resources.EVENTS, "else", FIELDS, view, placements) is None
    assert told(resources.EVENTS, "shop", FIELDS.replace("name=web", "name=other"), view, placements) is None
    everything = told(resources.EVENTS, "shop", FIELDS, view, placements)
    assert everything is not None
    assert len(everything["items"]) == 7
    bad = told(resources.EVENTS, "shop", f"{FIELDS},type!=Normal", view, placements)
    assert bad is not None
    assert {one["reason"] for one in bad["items"]} == {"Evicting", "Conflict", "Unplaced"}
    table = told(resources.EVENTS, "shop", FIELDS, View(shape=TABLE, version="v1"), placements)
    assert table is not None
    assert table["rows"][0]["cells"][1:4] == ["Normal", "Placed", "deployment/web"]


def test_the_condition_says_what_has_no_place_and_keeps_its_time() -> None:
    passed = [{"cluster": "north", "why": "it is cordoned"}]
    nowhere = scheduled_condition({"passedOver": passed}, None, "now")
    assert (nowhere["status"], nowhere["reason"]) == ("False", "NoClusterFits")
    assert nowhere["message"] == "no cluster may have it: north: it is cordoned"
    assert scheduled_condition({}, {**nowhere, "lastTransitionTime": "then"}, "now")["lastTransitionTime"] == "then"
    assert scheduled_condition({"clusters": [{"name": "east"}]}, nowhere, "later") == {
        "type": "Scheduled",
        "status": "True",
        "reason": "Placed",
        "message": "in 1 clusters: east",
        "lastTransitionTime": "later",
    }
    assert (
        scheduled_condition({"fault": "x", "clusters": [{"name": "east"}]}, None, "now")["reason"] == "PlacementFault"
    )
    assert scheduled_condition({"unplaced": 2, "clusters": [{"name": "east"}]}, None, "now")["status"] == "False"
    assert scheduled_condition({"tombstones": [{"cluster": "east"}]}, None, "now")["status"] == "True"
    suspended = scheduled_condition({"suspended": True, "clusters": [{"name": "east"}]}, None, "now")
    assert (suspended["status"], suspended["reason"]) == ("True", "Suspended")
