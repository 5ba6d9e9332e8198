"""What a link does about one object, given what is wished, what is there and what is remembered."""

import pytest

from cluster.machinery.objects import Key, Object
from federation.controllers.links.copies import ADOPTED, Copy, copy_of, first_difference, owners_of
from federation.controllers.links.decide import (
    Action,
    Adopt,
    Apply,
    Create,
    Delete,
    Ending,
    Fail,
    Going,
    Gone,
    Look,
    Nothing,
    Nowhere,
    Release,
    Rendered,
    Settled,
    Verify,
    Wait,
    decide,
    decide_ending,
)
from federation.controllers.links.parts import Part, Tombstone, part_of
from federation.placement.plans import Assignment
from federation.placement.render import seal

DEPLOYMENT = ("apps", "Deployment")
BEING_DELETED = "an object of this name is being deleted in the cluster"
PART = Part(Key("default", "deployment.apps-web"), "u1", 3, Assignment("east", 2))


def rendered(**spec: object) -> Rendered:
    metadata = {
        "name": "web",
        "namespace": "default",
        "labels": {"federation.hanse.io/managed": "true"},
        "annotations": {"federation.hanse.io/template-uid": "u1"},
    }
    return Rendered(*seal({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}))


WANTED = rendered(replicas=2, template={"spec": {"containers": [{"name": "web", "image": "web:1"}]}})
FIELDS: Object = {
    "f:metadata": {
        "f:labels": {"f:federation.hanse.io/managed": {}},
        "f:annotations": {"f:federation.hanse.io/template-uid": {}, "f:federation.hanse.io/applied": {}},
    },
    "f:spec": {
        "f:replicas": {},
        "f:template": {
            "f:spec": {"f:containers": {'k:{"name":"web"}': {".": {}, "f:name": {}, "f:image": {}}}},
        },
    },
}


def live(wanted: Rendered = WANTED, *, fields: Object = FIELDS, **metadata: object) -> Object:
    entry = {"manager": "federation", "operation": "Apply", "fieldsV1": fields}
    known = {**wanted.obj["metadata"], "uid": "c1", "resourceVersion": "7", "managedFields": [entry], **metadata}
    return {**wanted.obj, "metadata": known}


def known(**metadata: object) -> Copy:
    return copy_of(live(**metadata))  # type: ignore[arg-type]


def settled(copy: Copy, hash_: str = WANTED.hash) -> Settled:
    return Settled(copy.uid, hash_, copy.print)


@pytest.mark.parametrize(
    ("part", "wanted", "found", "remembered", "action"),
    [
        (PART, WANTED, Nowhere.UNSEEN, None, Look()),
        (PART, WANTED, Nowhere.ABSENT, None, Create()),
        (PART, WANTED, known(), None, Nothing()),
        (PART, WANTED, known(), settled(known()), Nothing()),
        (PART, rendered(replicas=3), known(), settled(known()), Apply()),
        (PART, rendered(replicas=3), known(), None, Apply()),
        (PART, WANTED, known(labels={}), None, Adopt(overwrite=False)),
        (PART, WANTED, known(deletionTimestamp="2026-01-01T00:00:00Z"), None, Wait(BEING_DELETED)),
        (PART, Rendered({}, "", "rule 1: no such path"), known(), None, Fail("rule 1: no such path")),
        (PART, None, known(), None, Wait()),
    ],
)  # fmt: skip
def test_decision(
    part: Part, wanted: Rendered | None, found: Copy | Nowhere, remembered: Settled | None, action: Action
) -> None:
    assert decide(part, wanted, found, remembered) == action


def test_a_field_that_somebody_took_is_drift_after_a_write_and_looked_into_after_a_restart() -> None:
    taken = {**FIELDS, "f:spec": {"f:template": FIELDS["f:spec"]["f:template"]}}
    changed = copy_of({**live(fields=taken), "spec": {**WANTED.obj["spec"], "replicas": 9}})
    assert decide(PART, WANTED, changed, settled(known())) == Apply(drift=True)
    assert decide(PART, WANTED, changed, None) == Verify("spec.replicas")


def test_what_the_member_adds_is_no_drift() -> None:
    sidecar = live()
    containers = [*WANTED.obj["spec"]["template"]["spec"]["containers"], {"name": "proxy", "image": "proxy:1"}]
    sidecar["spec"] = {**WANTED.obj["spec"], "paused": True, "template": {"spec": {"containers": containers}}}
    sidecar["status"] = {"replicas": 1}
    assert decide(PART, WANTED, copy_of(sidecar), settled(known())) == Nothing()
    assert decide(PART, WANTED, copy_of(sidecar), None) == Nothing()


def test_a_value_in_another_spelling_is_left_to_the_server() -> None:
    wanted = rendered(replicas=2, quota="1000m")
    fields = {**FIELDS, "f:spec": {"f:replicas": {}, "f:quota": {}}}
    found = live(wanted, fields=fields)
    found["spec"] = {"replicas": 2, "quota": "1"}
    assert first_difference(wanted.obj, found) == "spec.quota"
    assert decide(PART, wanted, copy_of(found), None) == Verify("spec.quota")


def test_nothing_is_applied_before_the_tombstone_of_the_same_template_is_taken_away() -> None:
    part = Part(PART.home, "u1", 3, PART.assignment, tombstones=(Tombstone("u1"),))
    assert decide(part, WANTED, Nowhere.ABSENT, None) == Wait()
    other = Part(PART.home, "u1", 3, PART.assignment, tombstones=(Tombstone("u0"),))
    assert decide(other, WANTED, Nowhere.ABSENT, None) == Create()


@pytest.mark.parametrize(
    ("tombstone", "found", "kind", "ending"),
    [
        (Tombstone("u1"), Nowhere.UNSEEN, DEPLOYMENT, Look()),
        (Tombstone("u1"), Nowhere.ABSENT, DEPLOYMENT, Gone()),
        (Tombstone("u1"), known(), DEPLOYMENT, Delete("c1", "Background")),
        (Tombstone("u1", "Foreground"), known(), DEPLOYMENT, Delete("c1", "Foreground")),
        (Tombstone("u0"), known(), DEPLOYMENT, Gone()),
        (Tombstone("u1"), known(labels={}), DEPLOYMENT, Gone()),
        (Tombstone("u1", "Orphan"), known(), DEPLOYMENT, Release()),
        (Tombstone("u1"), known(deletionTimestamp="2026-01-01T00:00:00Z"), DEPLOYMENT, Going()),
        (
            Tombstone("u1"),
            known(annotations={ADOPTED: "true", "federation.hanse.io/template-uid": "u1"}),
            ("", "Namespace"),
            Release(),
        ),
    ],
)
def test_ending(tombstone: Tombstone, found: Copy | Nowhere, kind: tuple[str, str], ending: Ending) -> None:
    assert decide_ending(tombstone, found, kind) == ending


def test_who_took_a_field_is_named() -> None:
    found = live()
    theirs = {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    found["metadata"]["managedFields"].append(theirs)
    assert owners_of(found, "spec.replicas") == "kubectl-edit"
    assert owners_of(found, "spec.paused") == ""


def test_a_placement_is_read_for_one_cluster() -> None:
    spec = {
        "template": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "u2", "generation": 4},
        "conflictResolution": "Overwrite",
        "clusters": [{"name": "east", "replicas": 2}, {"name": "west"}],
        "tombstones": [{"cluster": "west", "uid": "u1", "why": "NotSelected"}],
    }
    placement = {"metadata": {"namespace": "default", "name": "deployment.apps-web"}, "spec": spec}
    assert part_of(placement, "east") == Part(PART.home, "u2", 4, Assignment("east", 2), overwrite=True)
    assert part_of(placement, "west").tombstones == (Tombstone("u1", why="NotSelected"),)
    assert part_of(placement, "north").empty
