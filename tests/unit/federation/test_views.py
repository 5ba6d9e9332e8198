"""What requests on views ask for, and how the answers of members are put together."""

import pytest

from cluster.apiserver.router import route
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import BadRequest, NotFound
from federation.apiserver.views import marks, versions
from federation.apiserver.views.asked import Asked, asked

MEMBERS = ("east", "west", "north")


def ask(path: str, query: str = "") -> Asked:
    return asked(route("GET", path, query), MEMBERS)


@pytest.mark.parametrize(
    ("query", "clusters"),
    [
        ("", ("east", "north", "west")),
        ("cluster=west", ("west",)),
        ("cluster=west,east", ("east", "west")),
        ("labelSelector=federation.hanse.io/cluster=east", ("east",)),
        ("labelSelector=federation.hanse.io/cluster+in+(east,south)", ("east",)),
        ("labelSelector=federation.hanse.io/cluster+notin+(east)", ("north", "west")),
        ("labelSelector=!federation.hanse.io/cluster", ()),
        ("cluster=west&labelSelector=federation.hanse.io/cluster=east", ()),
        ("fieldSelector=metadata.name=east:web", ("east",)),
    ],
)
def test_members_are_chosen_by_parameter_label_and_name(query: str, clusters: tuple[str, ...]) -> None:
    assert ask("/api/v1/pods", query).clusters == clusters


def test_members_get_the_selectors_without_what_is_ours() -> None:
    found = ask(
        "/api/v1/pods",
        "labelSelector=app=web,federation.hanse.io/cluster=east,!old&fieldSelector=spec.nodeName=east:n1",
    )
    assert (found.label_selector, found.field_selector) == ("app=web,!old", "spec.nodeName=n1")


def test_a_name_may_have_its_cluster_in_front() -> None:
    found = ask("/api/v1/namespaces/shop/pods/east:web-0")
    assert (found.clusters, found.name, found.shown_name) == (("east",), "web-0", "east:web-0")
    with pytest.raises(NotFound, match="south"):
        ask("/api/v1/namespaces/shop/pods/south:web-0")
    with pytest.raises(BadRequest):
        ask("/api/v1/pods", "labelSelector=a=b=c")


def test_events_of_a_template_are_found_though_copies_have_other_uids() -> None:
    selector = "involvedObject.name=web,involvedObject.kind={},involvedObject.uid=1-2"
    of_template = ask("/api/v1/events", "fieldSelector=" + selector.format("Deployment"))
    assert of_template.field_selector == "involvedObject.name=web,involvedObject.kind=Deployment"
    of_pod = ask("/api/v1/events", "fieldSelector=" + selector.format("Pod"))
    assert of_pod.field_selector == selector.format("Pod")


def test_versions_of_members_are_one_token_and_nothing_else_is() -> None:
    assert versions.unpack(versions.pack({"east": "7", "west": "9"})) == {"east": "7", "west": "9"}
    for wrong in ("7", "", "!", "a" * 70_000, "eyJhIjoxfQ"):  # the last is {"a":1}
        assert versions.unpack(wrong) is None
    with pytest.raises(BadRequest, match="invalid continue token"):
        versions.unpack_continue("7")


def test_cells_of_an_older_member_come_under_the_right_columns() -> None:
    def table(*names: str) -> Object:
        return {
            "columnDefinitions": [{"name": name, "type": "string"} for name in names],
            "rows": [{"cells": [f"{name}!" for name in names], "object": {"metadata": {"labels": None}}}],
        }

    columns = marks.Columns()
    first, second = table("Name", "Ready", "Age"), table("Name", "Age", "Odd")
    [one] = columns.take(first, "east", marks.column_names(first))
    [two] = columns.take(second, "west", marks.column_names(second), "west:Name!")
    assert [column["name"] for column in columns.definitions] == ["Name", "Cluster", "Ready", "Age"]
    assert one["cells"] == ["Name!", "east", "Ready!", "Age!"]
    assert two["cells"] == ["west:Name!", "west", None, "Age!"]
    assert two["object"]["metadata"] == {
        "name": "west:Name!",
        "labels": {"federation.hanse.io/cluster": "west"},
    }
