"""One status out of many: what kubectl rollout status, kubectl wait and Helm look at."""

from typing import Any

from federation.placement.aggregate import Reported, aggregate

TIMES = {"lastTransitionTime": "2026-01-01T00:00:00Z"}


def template(kind: str, api_version: str = "apps/v1", generation: int = 2, **status: Any) -> dict[str, Any]:
    metadata = {"name": "x", "generation": generation}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "status": status}


def condition(kind: str, status: str, **more: str) -> dict[str, Any]:
    return {"type": kind, "status": status, **TIMES, **more}


def test_a_deployment_is_observed_once_every_member_observed_it() -> None:
    counts = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2}
    available = condition("Available", "True", reason="MinimumReplicasAvailable")
    eu = Reported("eu", {**counts, "observedGeneration": 5, "conditions": [available]}, generation=5)
    us = Reported("us", {**counts, "observedGeneration": 7, "conditions": [available]}, generation=7)
    late = Reported("us", {**counts, "observedGeneration": 6, "conditions": [available]}, generation=7)
    deployment = template("Deployment", observedGeneration=1)

    done, waiting = aggregate(deployment, [us, eu]), aggregate(deployment, [eu, late])

    assert done is not None
    assert waiting is not None
    assert (done["observedGeneration"], waiting["observedGeneration"]) == (2, 1)
    assert (done["replicas"], done["updatedReplicas"], done["availableReplicas"]) == (4, 4, 4)
    assert "unavailableReplicas" not in done
    old = Reported("us", us.status, generation=7, current=False)
    assert (aggregate(deployment, [eu, old]) or {})["observedGeneration"] == 1


def test_the_worst_condition_counts_and_names_its_clusters() -> None:
    good = condition("Available", "True")
    bad = condition("Available", "False", reason="MinimumReplicasUnavailable", message="too few")
    reports = [Reported("eu", {"conditions": [good]}), Reported("us", {"conditions": [bad]}), Reported("asia", None)]

    status = aggregate(template("Deployment"), reports)

    assert status is not None
    assert status["conditions"] == [
        {
            "type": "Available",
            "status": "False",
            "reason": "MinimumReplicasUnavailable",
            "message": "us: too few",
            **TIMES,
        }
    ]
    silent = aggregate(template("Deployment"), [reports[0], reports[2]])
    assert silent is not None
    assert silent["conditions"][0]["status"] == "Unknown"


def test_a_rollout_that_goes_on_somewhere_is_not_done() -> None:
    done = condition("Progressing", "True", reason="NewReplicaSetAvailable")
    busy = condition("Progressing", "True", reason="ReplicaSetUpdated")

    status = aggregate(
        template("Deployment"), [Reported("eu", {"conditions": [done]}), Reported("us", {"conditions": [busy]})]
    )

    assert status is not None
    assert status["conditions"][0]["reason"] == "ReplicaSetUpdated"


def test_a_stateful_set_is_updated_when_it_is_everywhere() -> None:
    same = Reported("eu", {"replicas": 1, "currentRevision": "a", "updateRevision": "a"})
    moving = Reported("us", {"replicas": 1, "currentRevision": "a", "updateRevision": "b"})

    status = aggregate(template("StatefulSet"), [same, moving])

    assert status is not None
    assert (status["replicas"], status["currentRevision"], status["updateRevision"]) == (2, "a", "b")


def job(*conditions: str, **more: Any) -> dict[str, Any]:
    return {"startTime": "2026-01-01T00:00:00Z", "conditions": [condition(one, "True") for one in conditions], **more}


def types(status: dict[str, Any] | None) -> list[str]:
    assert status is not None
    return [one["type"] for one in status.get("conditions", ())]


def test_a_job_is_complete_when_it_is_everywhere() -> None:
    complete = job("SuccessCriteriaMet", "Complete", succeeded=2, completionTime="2026-01-01T00:05:00Z")
    running = job(active=1)
    one = template("Job", "batch/v1")

    both = aggregate(one, [Reported("eu", complete), Reported("us", complete)])
    half = aggregate(one, [Reported("eu", complete), Reported("us", running)])

    assert types(both) == ["SuccessCriteriaMet", "Complete"]
    assert both is not None
    assert (both["succeeded"], both["completionTime"]) == (4, "2026-01-01T00:05:00Z")
    assert types(half) == []


def test_a_job_that_failed_somewhere_has_failed_once_it_runs_nowhere() -> None:
    failed, complete = job("FailureTarget", "Failed", failed=3), job("SuccessCriteriaMet", "Complete", succeeded=1)
    one = template("Job", "batch/v1")

    assert types(aggregate(one, [Reported("eu", failed), Reported("us", job(active=1))])) == ["FailureTarget"]
    assert types(aggregate(one, [Reported("eu", failed), Reported("us", complete)])) == ["FailureTarget", "Failed"]


def test_addresses_are_those_of_all_members_each_once() -> None:
    def at(*addresses: str) -> dict[str, Any]:
        return {"loadBalancer": {"ingress": [{"ip": address} for address in addresses]}}

    reports = [Reported("us", at("192.0.2.2")), Reported("eu", at("192.0.2.1", "192.0.2.2")), Reported("x", None)]

    status = aggregate(template("Service", "v1"), reports)

    assert status == {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}]}}


def test_a_claim_is_bound_when_it_is_everywhere() -> None:
    eu = Reported("eu", {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "2Gi"}})
    us = Reported("us", {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1500Mi"}})
    claim = template("PersistentVolumeClaim", "v1")

    bound = {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1500Mi"}}
    assert aggregate(claim, [eu, us]) == bound
    assert (aggregate(claim, [eu, Reported("us", None)]) or {})["phase"] == "Pending"


def test_unknown_kinds_show_what_members_agree_on() -> None:
    widget = template("Widget", "example.com/v1")
    green, red = {"colour": "green"}, {"colour": "red"}

    assert aggregate(widget, [Reported("eu", green), Reported("us", green)]) == green
    differing = aggregate(widget, [Reported("eu", green), Reported("us", red)])
    assert differing is not None
    assert "colour" not in differing
    assert "clusters eu, us report different" in differing["conditions"][0]["message"]
    assert aggregate(widget, [Reported("eu", None)]) is None
    assert aggregate(template("Namespace", "v1"), [Reported("eu", {"phase": "Active"})]) is None
