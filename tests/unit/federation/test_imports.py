"""Exports of one Service in several clusters: what they come to, and what each cluster gets."""

from typing import Any

import pytest

from cluster.machinery.objects import Key
from federation.multicluster.imported import imported
from federation.multicluster.kinds import definitions
from federation.multicluster.merge import Export, merge
from federation.multicluster.writing import contains

KEY = Key("shop", "web")
HTTP = {"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}


def export(
    cluster: str, *, age: int = 0, network: str = "", ports: Any = (HTTP,), ingress: str = "", ready: bool = True,
    labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None, **spec: Any,
) -> Export:  # fmt: skip
    created = f"2026-01-01T00:00:{59 - age:02}Z"
    slices = [{
        "metadata": {"name": f"web-{cluster}"}, "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [f"10.{ord(cluster)}.0.1"], "conditions": {"ready": ready}, "hostname": "web-0",
                       "nodeName": "n", "targetRef": {"kind": "Pod"}}],
    }]  # fmt: skip
    service = {"spec": {"type": "ClusterIP", "clusterIP": "10.96.0.9", "ports": list(ports), **spec}}
    if ingress:
        service["spec"]["type"] = "LoadBalancer"
        service["status"] = {"loadBalancer": {"ingress": [{"ip": ingress}]}}
    metadata = {"name": "web", "creationTimestamp": created}
    exported = {"exportedLabels": labels or {}, "exportedAnnotations": annotations or {}}
    return Export(cluster, network, {"metadata": metadata, "spec": exported}, service, slices)


def told(exports: list[Export], kind: str) -> dict[str, tuple[str, str]]:
    found = merge(exports).conditions
    return {name: (one.status, one.reason) for name, all_ in found.items() for one in all_ if one.type == kind}


def test_ports_are_joined_and_of_two_that_clash_the_older_exports_prevails() -> None:
    more = {"name": "admin", "protocol": "TCP", "port": 81}
    assert merge([export("a", age=1), export("b", ports=[HTTP, more])]).spec == {
        "type": "ClusterSetIP", "sessionAffinity": "None",
        "ports": [{"name": "http", "protocol": "TCP", "port": 80}, {"name": "admin", "protocol": "TCP", "port": 81}],
    }  # fmt: skip
    for other in ({**HTTP, "port": 90}, {**HTTP, "name": "web"}, {**HTTP, "appProtocol": "h2"}):
        both = [export("a", ports=[other]), export("b", age=5)]
        spec = merge(both).spec
        assert spec is not None
        assert spec["ports"] == [{"name": "http", "protocol": "TCP", "port": 80}]
        assert told(both, "Conflict") == dict.fromkeys("ab", ("True", "PortConflict"))
    assert told([export("a"), export("b")], "Conflict") == dict.fromkeys("ab", ("False", "NoConflicts"))


def test_every_other_contradiction_is_told_to_all_and_settled_by_age() -> None:
    headless = export("a", age=9, clusterIP="None")
    both = [export("b"), headless]
    merged = merge(both)
    assert merged.spec is not None
    assert (merged.spec["type"], merged.members) == ("Headless", (headless,))
    assert told(both, "Conflict")["b"] == ("True", "TypeConflict")
    sticky = [export("a", age=1, sessionAffinity="ClientIP", labels={"x": "1"}), export("b")]
    merged = merge(sticky)
    assert merged.spec is not None
    assert (merged.spec["sessionAffinity"], merged.labels) == ("ClientIP", {"x": "1"})
    assert told(sticky, "Conflict")["b"] == ("True", "SessionAffinityConflict,LabelsConflict")
    message = next(one.message for one in merged.conditions["b"] if one.type == "Conflict")
    assert "of cluster a" in message


@pytest.mark.parametrize(
    ("older", "younger", "reason"),
    [
        ({"annotations": {"x": "1"}}, {}, "AnnotationsConflict"),
        ({}, {"annotations": {"x": "1"}}, "AnnotationsConflict"),
        ({}, {"labels": {"x": "1"}}, "LabelsConflict"),
        ({}, {"sessionAffinity": "ClientIP"}, "SessionAffinityConflict"),
        ({}, {"clusterIP": "None"}, "TypeConflict"),
        ({"clusterIP": "None"}, {}, "TypeConflict"),
        (
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}},
            {"sessionAffinity": "ClientIP"},
            "SessionAffinityConfigConflict",
        ),
    ],
)
def test_the_older_export_decides_whichever_cluster_it_is_of(
    older: dict[str, Any], younger: dict[str, Any], reason: str
) -> None:
    for old, new in (("a", "b"), ("b", "a")):
        both = [export("b", age=int(old == "b"), **(older if old == "b" else younger))]
        both.append(export("a", age=int(old == "a"), **(older if old == "a" else younger)))
        alone = merge([next(one for one in both if one.cluster == old)])
        merged = merge(both)
        assert (merged.spec, merged.labels, merged.annotations) == (alone.spec, alone.labels, alone.annotations)
        assert told(both, "Conflict") == dict.fromkeys((old, new), ("True", reason))


def test_each_cluster_is_reached_at_its_own_ports() -> None:
    a = export("a", age=1, network="n", ports=[HTTP])
    b = export("b", network="n", ports=[{**HTTP, "name": "admin", "port": 81}])
    slices = [{**each, "ports": [{"name": "admin", "port": 9090}]} for each in b.slices]
    b = Export("b", "n", b.export, b.service, slices)
    merged = merge([a, b])
    assert merged.spec is not None
    assert [one["port"] for one in merged.spec["ports"]] == [80, 81]
    assert addresses([a, b], "z", "n") == {"a": ["10.97.0.1:8080"], "b": ["10.98.0.1:9090"]}


def test_what_cannot_be_exported_says_why_and_does_not_count() -> None:
    missing = export("a", age=9)
    missing = Export("a", "", missing.export, None)
    outer = export("b", age=8, type="ExternalName")
    assert merge([missing, outer]).spec is None
    assert told([missing, outer], "Valid") == {"a": ("False", "NoService"), "b": ("False", "InvalidServiceType")}
    assert [each.cluster for each in merge([missing, outer, export("c")]).members] == ["c"]


def addresses(exports: list[Export], cluster: str, network: str = "") -> dict[str, list[str]]:
    """By exporting cluster."""
    found: dict[str, list[str]] = {}
    for each in imported(KEY, merge(exports), cluster, network).slices:
        name = each["metadata"]["labels"]["multicluster.kubernetes.io/source-cluster"]
        port = each["ports"][0]["port"]
        found.setdefault(name, []).extend(f"{one['addresses'][0]}:{port}" for one in each["endpoints"])
    return found


def test_pods_answer_in_their_network_and_load_balancers_elsewhere() -> None:
    a, b = export("a", network="n1"), export("b", network="n1", ingress="192.0.2.2")
    c = export("c", network="n2", ingress="192.0.2.3")
    assert addresses([a, b, c], "a", "n1") == {"a": ["10.97.0.1:8080"], "b": ["10.98.0.1:8080"], "c": ["192.0.2.3:80"]}
    assert addresses([a, b, c], "c", "n2") == {"b": ["192.0.2.2:80"], "c": ["10.99.0.1:8080"]}
    unknown = [export("a"), export("b", ingress="192.0.2.2")]
    assert addresses(unknown, "z") == {"a": ["10.97.0.1:8080"], "b": ["192.0.2.2:80"]}
    assert addresses(unknown, "b") == {"a": ["10.97.0.1:8080"], "b": ["10.98.0.1:8080"]}
    nodes = [{
        "metadata": {"name": "n", "labels": {}}, "spec": {},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.9"}],
                   "conditions": [{"type": "Ready", "status": "True"}]},
    }]  # fmt: skip
    open_ = export("a", network="n1", type="NodePort", ports=[{**HTTP, "nodePort": 30080}])
    open_ = Export("a", "n1", open_.export, open_.service, open_.slices, nodes)
    assert addresses([open_], "c", "n2") == {"a": ["192.0.2.9:30080"]}
    assert addresses([export("b", ingress="192.0.2.2", ready=False)], "z") == {"b": ["10.98.0.1:8080"]}


def test_slices_carry_their_labels_and_nothing_of_the_other_clusters_pods() -> None:
    wanted = imported(KEY, merge([export("a", clusterIP="None")]), "b", "")
    (each,) = wanted.slices
    labels = each["metadata"]["labels"]
    assert labels["multicluster.kubernetes.io/service-name"] == "web"
    assert labels["endpointslice.kubernetes.io/managed-by"] == "federation.hanse.io"
    assert "kubernetes.io/service-name" not in labels
    assert each["endpoints"] == [{"addresses": ["10.97.0.1"], "conditions": {"ready": True}, "hostname": "web-0"}]
    assert wanted.service is None
    service = imported(KEY, merge([export("a")]), "b", "").service
    assert service is not None
    assert "selector" not in service["spec"]


def test_definitions_are_whole_and_what_is_there_is_recognized() -> None:
    assert {each["spec"]["names"]["kind"] for each in definitions()} == {"ServiceExport", "ServiceImport"}
    assert contains({"a": [{"x": 1, "y": 2}], "b": 3}, {"a": [{"x": 1}]})
    assert not contains({"a": [1, 2]}, {"a": [1]})
    assert not contains({"a": None}, {"a": {"x": 1}})
