"""
How many Pods of a PodDisruptionBudget may be evicted at the moment.

`budget_status` is pure. Source: kube-controller-manager, pkg/controller/disruption.
"""

import datetime
from collections.abc import Callable, Sequence

from cluster.api import resources
from cluster.client.controller import Controller, Requeue
from cluster.controller_manager.context import Context, enqueue_all
from cluster.controller_manager.ownership import controller_of
from cluster.controller_manager.pods import condition, is_ready, is_terminal
from cluster.controller_manager.rollout import scaled_value
from cluster.machinery.labels import selector_of
from cluster.machinery.objects import Key, Object, copy_object, key_of
from cluster.machinery.timestamps import format_time, parse_time

BUDGETS = resources.named("poddisruptionbudgets.policy")
DELETION_TIMEOUT = 120.0  # seconds an eviction counts before the Pod is seen going

Scale = Callable[[Object], int | None]
"""Replicas that the controller of a Pod wants; None when nobody knows."""


def budget_status(budget: Object, pods: Sequence[Object], expected: int, now: datetime.datetime) -> Object:
    """The status; evictions the apiserver noted count until their Pod is gone."""
    spec, before = budget["spec"], budget.get("status") or {}
    if spec.get("minAvailable") is not None:
        desired = scaled_value(spec["minAvailable"], expected, round_up=True)
    else:
        desired = max(expected - scaled_value(spec.get("maxUnavailable", 0), expected, round_up=True), 0)
    disrupted = {
        name: when
        for name, when in (before.get("disruptedPods") or {}).items()
        if any(p["metadata"]["name"] == name and not p["metadata"].get("deletionTimestamp") for p in pods)
        and (now - parse_time(when)).total_seconds() < DELETION_TIMEOUT
    }
    healthy = sum(
        is_ready(p) and not p["metadata"].get("deletionTimestamp") and p["metadata"]["name"] not in disrupted
        for p in pods
    )
    allowed = max(healthy - desired, 0) if expected > 0 else 0
    status: Object = {
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "expectedPods": expected,
        "observedGeneration": budget["metadata"].get("generation", 0),
    }
    if disrupted:
        status["disruptedPods"] = disrupted
    status["conditions"] = [_condition(budget, allowed, now)]
    return status


def _condition(budget: Object, allowed: int, now: datetime.datetime) -> Object:
    holds = "True" if allowed > 0 else "False"
    before = condition(budget, "DisruptionAllowed")
    return {
        "type": "DisruptionAllowed",
        "status": holds,
        "reason": "SufficientPods" if allowed > 0 else "InsufficientPods",
        "message": "",
        "observedGeneration": budget["metadata"].get("generation", 0),
        "lastTransitionTime": before["lastTransitionTime"]
        if before is not None and before["status"] == holds
        else format_time(now),
    }


def expected_pods(budget: Object, pods: Sequence[Object], scale: Scale) -> int:
    """What a percentage refers to: the wish of the controllers; the Pods themselves for a plain minAvailable."""
    spec = budget["spec"]
    if spec.get("maxUnavailable") is None and not isinstance(spec.get("minAvailable"), str):
        return len(pods)
    total = 0
    seen: set[str] = set()
    for pod in pods:
        owner = controller_of(pod)
        if owner is None or owner["uid"] in seen:
            continue
        seen.add(owner["uid"])
        total += scale(pod) or 0
    return total


class DisruptionController:
    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._budgets = context.informers.of(BUDGETS)
        self._pods = context.informers.of(resources.PODS)
        self._owners = {
            "ReplicaSet": context.informers.of(resources.REPLICA_SETS),
            "StatefulSet": context.informers.of(resources.named("statefulsets.apps")),
            "ReplicationController": context.informers.of(resources.named("replicationcontrollers")),
        }
        self.controller = Controller("disruption", self.reconcile, workers=1)
        enqueue_all(self.controller, self._budgets)
        self._pods.add_handler(self._pod_changed, lambda _, new: self._pod_changed(new), self._pod_changed)

    async def run(self) -> None:
        await self.controller.run()

    def _pod_changed(self, pod: Object) -> None:
        for budget in self._budgets.list(key_of(pod).namespace):
            if selector_of(budget["spec"].get("selector")).matches(pod["metadata"].get("labels")):
                self.controller.enqueue(budget)

    def _scale(self, pod: Object) -> int | None:
        owner = controller_of(pod)
        informer = self._owners.get(owner["kind"]) if owner is not None else None
        if owner is None or informer is None:
            return None
        found = informer.get(Key(key_of(pod).namespace, owner["name"]))
        if found is None or found["metadata"]["uid"] != owner["uid"]:
            return None
        replicas = found["spec"].get("replicas")
        return 1 if replicas is None else int(replicas)

    async def reconcile(self, key: Key) -> Requeue | None:
        budget = self._budgets.get(key)
        if budget is None:
            return None
        selector = selector_of(budget["spec"].get("selector"))
        pods = [
            p
            for p in self._pods.list(key.namespace)
            if not is_terminal(p) and selector.matches(p["metadata"].get("labels"))
        ]
        status = budget_status(
            budget, pods, expected_pods(budget, pods, self._scale), datetime.datetime.now(datetime.UTC)
        )
        if status != (budget.get("status") or {}):
            changed = {**copy_object(budget), "status": status}
            await self._client.update(BUDGETS, changed, subresource="status")
        return Requeue(DELETION_TIMEOUT) if status.get("disruptedPods") else None
