"""What a member gets is the template without what members decide, and with its share."""

from typing import Any

import pytest

from federation.placement.dependencies import apply_order, dependencies_of
from federation.placement.plans import Assignment
from federation.placement.render import APPLIED, MANAGED, TEMPLATE_UID, render, seal


def service(**spec: Any) -> dict[str, Any]:
    ports = [{"port": 80, "protocol": "TCP", "nodePort": 31000}, {"port": 81, "protocol": "TCP", "nodePort": 30081}]
    key = 'k:{"port":81,"protocol":"TCP"}'
    owned: dict[str, Any] = {"f:spec": {"f:ports": {key: {".": {}, "f:port": {}, "f:nodePort": {}}}, "f:type": {}}}
    metadata = {
        "name": "web",
        "namespace": "shop",
        "uid": "u1",
        "resourceVersion": "7",
        "finalizers": ["federation.hanse.io/members"],
        "ownerReferences": [{"uid": "x"}],
        "managedFields": [{"manager": "kubectl", "fieldsV1": owned}],
        "annotations": {"federation.kubernetes.io/x": "y", "note": "kept"},
    }
    spec = {"type": "NodePort", "clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"], "ports": ports, **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": {"loadBalancer": {}}}


def workload(kind: str, **spec: Any) -> dict[str, Any]:
    group = "batch/v1" if kind == "Job" else "apps/v1"
    return {"apiVersion": group, "kind": kind, "metadata": {"name": "w", "namespace": "n"}, "spec": spec}


def test_a_service_keeps_what_its_user_set_and_loses_what_the_server_allocated() -> None:
    rendered = render(service(), Assignment("eu"))

    assert rendered["spec"] == {
        "type": "NodePort",
        "ports": [{"port": 80, "protocol": "TCP"}, {"port": 81, "protocol": "TCP", "nodePort": 30081}],
    }
    annotations = {"note": "kept", TEMPLATE_UID: "u1"}
    expected = {"name": "web", "namespace": "shop", "annotations": annotations, "labels": {MANAGED: "true"}}
    assert rendered["metadata"] == expected
    assert "status" not in rendered


def test_a_headless_service_stays_headless() -> None:
    rendered = render(service(clusterIP="None", clusterIPs=["None"]), Assignment("eu"))

    assert (rendered["spec"]["clusterIP"], rendered["spec"]["clusterIPs"]) == ("None", ["None"])


def test_shares_are_written_and_left_out_where_an_autoscaler_decides() -> None:
    assert render(workload("Deployment", replicas=9), Assignment("eu", 4))["spec"] == {"replicas": 4}
    assert render(workload("Deployment", replicas=9), Assignment("eu"))["spec"] == {}
    ordered = render(workload("StatefulSet", replicas=9), Assignment("eu", 4, None, 5))
    assert ordered["spec"] == {"replicas": 4, "ordinals": {"start": 5}}
    job = render(workload("Job", parallelism=9, completions=9), Assignment("eu", 4, 3))
    assert job["spec"] == {"parallelism": 4, "completions": 3}


def test_a_job_loses_the_selector_its_server_made_and_keeps_its_users() -> None:
    labels = {"controller-uid": "1", "app": "x"}
    made = workload("Job", selector={"matchLabels": {"a": "1"}}, template={"metadata": {"labels": labels}})

    assert render(made, Assignment("eu", 1))["spec"] == {
        "template": {"metadata": {"labels": {"app": "x"}}},
        "parallelism": 1,
    }
    made["spec"]["manualSelector"] = True
    assert render(made, Assignment("eu", 1))["spec"]["selector"] == {"matchLabels": {"a": "1"}}


@pytest.mark.parametrize("manual", [False, True])
def test_a_jobs_time_to_live_is_not_its_members_concern(manual: bool) -> None:
    job = workload(
        "Job", parallelism=1, ttlSecondsAfterFinished=60, manualSelector=manual, selector={"matchLabels": {}}
    )
    assert "ttlSecondsAfterFinished" not in render(job, Assignment("eu", 1))["spec"]
    assert job["spec"]["ttlSecondsAfterFinished"] == 60


def test_the_hash_names_the_content_and_not_itself() -> None:
    sealed, digest = seal(render(service(), Assignment("eu")))

    assert sealed["metadata"]["annotations"][APPLIED] == digest
    assert seal(sealed)[1] == digest
    sealed["spec"]["type"] = "ClusterIP"
    assert seal(sealed)[1] != digest


def test_dependencies_are_what_pods_name() -> None:
    container = {
        "name": "c",
        "envFrom": [{"configMapRef": {"name": "env-map"}}, {"secretRef": {"name": "env-secret"}}],
        "env": [{"name": "x", "valueFrom": {"secretKeyRef": {"name": "key-secret", "key": "k"}}}, {"name": "y"}],
    }
    projected = {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}, {"secret": {"name": "projected"}}]}
    spec = {
        "serviceAccountName": "robot",
        "imagePullSecrets": [{"name": "pull"}],
        "containers": [container],
        "volumes": [{"persistentVolumeClaim": {"claimName": "data"}}, {"projected": projected}, {"emptyDir": {}}],
    }

    found = dependencies_of(workload("Deployment", template={"spec": spec}))

    assert [(one.kind, one.name) for one in found] == [
        ("ConfigMap", "env-map"),
        ("PersistentVolumeClaim", "data"),
        ("Secret", "env-secret"),
        ("Secret", "key-secret"),
        ("Secret", "projected"),
        ("Secret", "pull"),
        ("ServiceAccount", "robot"),
    ]
    assert {one.namespace for one in found} == {"n"}


def test_what_is_needed_is_applied_first() -> None:
    kinds = [("example.com/v1", "Widget"), ("apps/v1", "Deployment"), ("v1", "Secret"), ("v1", "Namespace")]
    kinds += [("apiextensions.k8s.io/v1", "CustomResourceDefinition")]

    ordered = apply_order([{"apiVersion": version, "kind": kind} for version, kind in kinds])

    names = [one["kind"] for one in ordered]
    assert names == ["Namespace", "CustomResourceDefinition", "Secret", "Deployment", "Widget"]
