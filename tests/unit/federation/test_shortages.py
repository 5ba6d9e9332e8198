"""Pods that wait for room tell how many replicas their cluster is able to run."""

import datetime as dt
from typing import Any

from cluster.machinery.timestamps import format_time
from federation.api.refs import Ref
from federation.membership.shortages import shortages, shortages_of, workload_of

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def pod(owner: str, kind: str = "ReplicaSet", node: str = "", waits: float | None = None, digest: str = "") -> Any:
    api_version = "batch/v1" if kind == "Job" else "apps/v1"
    reference = {"apiVersion": api_version, "kind": kind, "name": owner, "controller": True}
    metadata = {"namespace": "shop", "labels": {"pod-template-hash": digest}, "ownerReferences": [reference]}
    conditions = []
    if waits is not None:
        since = format_time(NOW - dt.timedelta(seconds=waits))
        unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        conditions = [{**unscheduled, "lastTransitionTime": since}]
    return {"metadata": metadata, "spec": {"nodeName": node}, "status": {"conditions": conditions}}


def test_a_pod_is_its_deployments_when_a_deployment_made_its_replica_set() -> None:
    assert workload_of(pod("web-abc", digest="abc")) == Ref("apps", "Deployment", "shop", "web")
    assert workload_of(pod("web-abc")) == Ref("apps", "ReplicaSet", "shop", "web-abc")
    assert workload_of(pod("db", "StatefulSet", digest="x")) == Ref("apps", "StatefulSet", "shop", "db")
    assert workload_of({"metadata": {"name": "bare"}}) is None


def test_only_what_waits_for_a_minute_is_short_and_what_runs_is_counted() -> None:
    pods = [
        pod("web-abc", node="n1", digest="abc"),
        pod("web-abc", node="n2", digest="abc"),
        pod("web-def", waits=61, digest="def"),
        pod("fresh-abc", waits=59, digest="abc"),
        pod("work", "Job", waits=3600),
        pod("fine-abc", node="n1", digest="abc"),
    ]
    found = shortages(pods, NOW)
    assert shortages_of({"status": {"shortages": found}}) == {
        Ref("apps", "Deployment", "shop", "web"): 2,
        Ref("batch", "Job", "shop", "work"): 0,
    }
    assert shortages_of({}) == {}
