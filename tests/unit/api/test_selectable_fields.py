import pytest

from cluster.api import resources
from cluster.api.selectable_fields import is_selectable, refusal, selectable_fields
from cluster.machinery.fields import FieldSelector
from cluster.machinery.objects import Object


@pytest.mark.parametrize(
    ("resource", "obj", "selector", "matches"),
    [
        ("pods", {"spec": {"nodeName": "n1"}}, "spec.nodeName=n1", True),
        ("pods", {"spec": {}}, "spec.nodeName=", True),
        ("pods", {"spec": {"hostNetwork": True}}, "spec.hostNetwork=true", True),
        ("pods", {"status": {"phase": "Running"}}, "status.phase!=Running", False),
        ("nodes", {"spec": {}}, "spec.unschedulable=false", True),
        ("events", {"involvedObject": {"uid": "1"}}, "involvedObject.uid=1", True),
        ("events", {"source": {}, "reportingComponent": "kubelet"}, "source=kubelet", True),
        ("events.events.k8s.io", {"regarding": {"kind": "Pod"}}, "regarding.kind=Pod", True),
        ("secrets", {"type": "Opaque"}, "type=Opaque", True),
        ("jobs.batch", {"status": {}}, "status.successful=0", True),
        ("services", {"spec": {"clusterIP": "None"}}, "spec.clusterIP=None,metadata.name=", True),
    ],
)
def test_objects_are_found_by_their_fields(resource: str, obj: Object, selector: str, matches: bool) -> None:
    kind = resources.named(resource)
    parsed = FieldSelector.parse(selector)
    assert all(is_selectable(kind, term.field) for term in parsed.terms)
    assert parsed.matches(selectable_fields(kind, obj)) is matches


@pytest.mark.parametrize("resource", resources.ALL, ids=lambda resource: f"{resource.qualified}/{resource.version}")
def test_every_field_that_is_told_can_be_selected_by(resource: resources.Resource) -> None:
    fields = selectable_fields(resource, {"metadata": {"name": "x"}})
    assert fields["metadata.name"] == "x"
    assert all(is_selectable(resource, field) for field in fields)
    assert is_selectable(resource, "metadata.namespace") is resource.namespaced
    assert not is_selectable(resource, "data.k")


def test_an_unknown_field_is_refused_in_the_words_of_the_kind() -> None:
    assert refusal(resources.PODS, "spec.x") == "field label not supported: spec.x"
    assert refusal(resources.CONFIG_MAPS, "data.k") == (
        '"data.k" is not a known field selector: only "metadata.name", "metadata.namespace"'
    )
