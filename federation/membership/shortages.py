"""
Workloads of a member of which Pods cannot be scheduled, and how many Pods of them the member does run. Pure.

Pods that wait for a minute count, as in v1 federation; before that a scheduler may be about to find room.
Source: kubernetes-retired/federation, pkg/federation-controller/util/podanalyzer.
"""

import datetime as dt
from collections.abc import Iterable
from typing import NamedTuple

from cluster.machinery.objects import Object
from cluster.machinery.timestamps import parse_time
from federation.api.refs import Ref, group_of

UNSCHEDULABLE_AFTER = 60.0  # seconds
MOST = 500
"""Workloads that are told; more are cut off, the next look tells of those that are left."""


class _Count(NamedTuple):
    scheduled: int = 0
    stuck: int = 0


def shortages(pods: Iterable[Object], now: dt.datetime) -> list[Object]:
    """Entries of Cluster.status.shortages, in order."""
    counts: dict[Ref, _Count] = {}
    for pod in pods:
        owner = workload_of(pod)
        if owner is None:
            continue
        before = counts.get(owner, _Count())
        if (pod.get("spec") or {}).get("nodeName"):
            counts[owner] = before._replace(scheduled=before.scheduled + 1)
        elif _is_stuck(pod, now):
            counts[owner] = before._replace(stuck=before.stuck + 1)
    short = sorted((owner, count) for owner, count in counts.items() if count.stuck)
    return [
        {
            "group": owner.group,
            "kind": owner.kind,
            "namespace": owner.namespace,
            "name": owner.name,
            "replicas": count.scheduled,
        }
        for owner, count in short[:MOST]
    ]


def shortages_of(cluster: Object) -> dict[Ref, int]:
    """Workload -> replicas that the member is able to run, from a Cluster object."""
    found = (cluster.get("status") or {}).get("shortages") or ()
    return {
        Ref(one.get("group") or "", one["kind"], one["namespace"], one["name"]): one.get("replicas") or 0
        for one in found
    }


def workload_of(pod: Object) -> Ref | None:
    """What a user knows a Pod by: of a ReplicaSet that a Deployment made, the Deployment."""
    metadata = pod["metadata"]
    owner = next((one for one in metadata.get("ownerReferences") or () if one.get("controller")), None)
    if owner is None:
        return None
    group, kind, name = group_of(owner.get("apiVersion") or ""), owner["kind"], owner["name"]
    made_from = (metadata.get("labels") or {}).get("pod-template-hash")
    if (group, kind) == ("apps", "ReplicaSet") and made_from and name.endswith(f"-{made_from}"):
        kind, name = "Deployment", name.removesuffix(f"-{made_from}")
    return Ref(group, kind, metadata.get("namespace") or "", name)


def _is_stuck(pod: Object, now: dt.datetime) -> bool:
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            since = condition.get("lastTransitionTime")
            waited = (now - parse_time(since)).total_seconds() if since else 0.0
            return condition.get("reason") == "Unschedulable" and waited >= UNSCHEDULABLE_AFTER
    return False
