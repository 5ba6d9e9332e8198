"""The ReplicaSet that Helm 3 looks for beside a Deployment."""

from typing import Any

from federation.controllers.shadow_replica_sets import RELEASE, shadow_of, status_for


def deployment(**status: Any) -> dict[str, Any]:
    metadata = {"name": "web", "namespace": "default", "uid": "u1", "generation": 2, "annotations": {RELEASE: "web"}}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    return {"metadata": metadata, "spec": spec, "status": status}


def test_it_is_found_by_owner_selector_and_template_and_stays_at_the_federation() -> None:
    owner = deployment()
    shadow = shadow_of(owner)
    assert shadow is not None
    labels = shadow["metadata"]["labels"]
    assert labels["app"] == "web"
    assert labels["federation.hanse.io/local"] == "true"
    assert shadow["metadata"]["ownerReferences"][0]["uid"] == "u1"
    assert shadow["spec"]["template"]["metadata"]["labels"].pop("pod-template-hash")
    assert shadow["spec"]["template"] == owner["spec"]["template"]
    owner["spec"]["template"]["spec"]["containers"][0]["image"] = "web:2"
    other = shadow_of(owner)
    assert other is not None
    assert other["metadata"]["name"] != shadow["metadata"]["name"]


def test_a_deployment_that_helm_did_not_install_has_none() -> None:
    owner = deployment()
    del owner["metadata"]["annotations"]
    assert shadow_of(owner) is None


def test_only_pods_of_the_present_template_count() -> None:
    shadow = {"metadata": {"generation": 1}}
    status = status_for(deployment(observedGeneration=2, replicas=4, updatedReplicas=1, readyReplicas=3), shadow)
    assert (status["replicas"], status["readyReplicas"]) == (1, 1)
    status = status_for(deployment(observedGeneration=1, replicas=3, updatedReplicas=3, readyReplicas=3), shadow)
    assert status == {"replicas": 0, "observedGeneration": 1}
