"""
So many Pods of a template: ReplicaSets, and ReplicationControllers by an adapter.

`plan_replicas` and `observed_status` are pure. Source: kube-controller-manager, pkg/controller/replicaset.
"""

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.client.controller import Controller, Requeue
from cluster.client.expectations import Expectations
from cluster.controller_manager.context import Context, enqueue_all
from cluster.controller_manager.ownership import (
    BY_CONTROLLER,
    Claimer,
    controller_index,
    controller_of,
    is_being_deleted,
    owner_reference,
)
from cluster.controller_manager.pod_batch import BURST, PodWriter, delete_all, slow_start
from cluster.controller_manager.pods import (
    in_order_of_deletion,
    is_active,
    is_ready,
    pod_from_template,
    seconds_until_available,
)
from cluster.machinery.labels import NOTHING, Selector, selector_of
from cluster.machinery.objects import Key, Object, copy_object, key_of
from cluster.machinery.status_errors import ApiError
from cluster.machinery.timestamps import format_time

REPLICATION_CONTROLLERS = resources.named("replicationcontrollers")


@dataclass(frozen=True, slots=True)
class ReplicaPlan:
    """What one pass will do. Empty when desired and observed agree."""

    create: int = 0
    delete: tuple[Object, ...] = ()


def plan_replicas(desired: int, pods: Sequence[Object]) -> ReplicaPlan:
    """Compare the wish with the active Pods; at most BURST a pass."""
    surplus = len(pods) - desired
    if surplus < 0:
        return ReplicaPlan(create=min(-surplus, BURST))
    return ReplicaPlan(delete=tuple(in_order_of_deletion(pods)[: min(surplus, BURST)]))


@dataclass(frozen=True, slots=True)
class Observed:
    """What the Pods are, for the status; `later` is when the next one becomes available, in seconds."""

    replicas: int
    fully_labeled: int
    ready: int
    available: int
    later: float | None


def observe(pods: Sequence[Object], template: Object, min_ready_seconds: int, now: datetime.datetime) -> Observed:
    labels = ((template.get("metadata") or {}).get("labels") or {}).items()
    waits = [seconds_until_available(pod, min_ready_seconds, now) for pod in pods]
    return Observed(
        replicas=len(pods),
        fully_labeled=sum(labels <= (pod["metadata"].get("labels") or {}).items() for pod in pods),
        ready=sum(is_ready(pod) for pod in pods),
        available=sum(wait == 0.0 for wait in waits),
        later=min((wait for wait in waits if wait), default=None),
    )


def observed_status(owner: Object, seen: Observed, failure: ApiError | None, plan: ReplicaPlan) -> Object:
    """The status to write; zero counts are left out, as upstream's JSON leaves them out."""
    before = owner.get("status") or {}
    counts: Mapping[str, int] = {
        "fullyLabeledReplicas": seen.fully_labeled,
        "readyReplicas": seen.ready,
        "availableReplicas": seen.available,
    }
    status: Object = {"replicas": seen.replicas, "observedGeneration": owner["metadata"].get("generation", 0)}
    status |= {name: count for name, count in counts.items() if count}
    conditions = [c for c in before.get("conditions") or () if c.get("type") != "ReplicaFailure"]
    if failure is not None:
        was = next((c for c in before.get("conditions") or () if c.get("type") == "ReplicaFailure"), None)
        reason = "FailedCreate" if plan.create else "FailedDelete"
        conditions.append(
            {
                "type": "ReplicaFailure",
                "status": "True",
                "reason": reason,
                "message": str(failure),
                "lastTransitionTime": was["lastTransitionTime"]
                if was is not None and was.get("reason") == reason
                else format_time(datetime.datetime.now(datetime.UTC)),
            }
        )
    if conditions:
        status["conditions"] = conditions
    return status


def _set_selector(spec: Object) -> Selector:
    return selector_of(spec.get("selector"))


def _map_selector(spec: Object) -> Selector:
    """A ReplicationController's selector is a plain map."""
    selector = spec.get("selector")
    return Selector.from_labels(selector) if selector else NOTHING


class ReplicaController:
    def __init__(
        self, context: Context, resource: Resource, component: str, selector: Callable[[Object], Selector]
    ) -> None:
        self._client = context.client
        self._resource = resource
        self._selector = selector
        self._events = context.events(component)
        self._writer = PodWriter(context.client, self._events)
        self._claimer = Claimer(context.client, resource, resources.PODS)
        self._expectations = Expectations()
        self._owners = context.informers.of(resource)
        self._pods = context.informers.of(resources.PODS)
        self._pods.add_index(BY_CONTROLLER, controller_index)
        self.controller = Controller(component, self.reconcile, workers=5)
        enqueue_all(self.controller, self._owners)
        self._owners.add_handler(on_delete=lambda owner: self._expectations.forget(owner["metadata"]["uid"]))
        self._pods.add_handler(self._pod_added, self._pod_updated, self._pod_deleted)

    async def run(self) -> None:
        await self.controller.run()

    # --- what the watch tells ------------------------------------------------------------------------------

    def _owner_uid(self, pod: Object) -> str:
        reference = controller_of(pod)
        return reference["uid"] if reference is not None and reference["kind"] == self._resource.kind else ""

    def _enqueue_owner(self, pod: Object) -> None:
        reference = controller_of(pod)
        if reference is not None:
            if reference["kind"] == self._resource.kind:
                self.controller.queue.add(Key(key_of(pod).namespace, reference["name"]))
            return
        for owner in self._owners.list(key_of(pod).namespace):  # somebody may want the orphan
            if self._selector(owner["spec"]).matches(pod["metadata"].get("labels")):
                self.controller.enqueue(owner)

    def _pod_added(self, pod: Object) -> None:
        if is_being_deleted(pod):
            self._pod_deleted(pod)
            return
        self._expectations.created(self._owner_uid(pod))
        self._enqueue_owner(pod)

    def _pod_updated(self, old: Object, new: Object) -> None:
        if is_being_deleted(new):
            self._expectations.deleted(self._owner_uid(new), new["metadata"]["uid"])
        if self._owner_uid(old) != self._owner_uid(new):
            self._enqueue_owner(old)
        self._enqueue_owner(new)

    def _pod_deleted(self, pod: Object) -> None:
        self._expectations.deleted(self._owner_uid(pod), pod["metadata"]["uid"])
        self._enqueue_owner(pod)

    # --- one pass ------------------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> Requeue | None:
        owner = self._owners.get(key)
        if owner is None:
            return None
        uid = owner["metadata"]["uid"]
        settled = self._expectations.met(uid)
        candidates = self._pods.by_index(BY_CONTROLLER, uid) + self._pods.by_index(
            BY_CONTROLLER, f"orphan/{key.namespace}"
        )
        active = [pod for pod in candidates if is_active(pod)]
        pods = await self._claimer.claim(owner, self._selector(owner["spec"]), active)
        plan, failure = ReplicaPlan(), None
        if settled and not is_being_deleted(owner):
            plan = plan_replicas(self._desired(owner), pods)
            failure = await self._carry_out(owner, plan)
        template = owner["spec"].get("template") or {}
        now = datetime.datetime.now(datetime.UTC)
        seen = observe(pods, template, int(owner["spec"].get("minReadySeconds") or 0), now)
        await self._write_status(owner, observed_status(owner, seen, failure, plan))
        if failure is not None:
            raise failure
        return Requeue(seen.later) if seen.later is not None else None

    def _desired(self, owner: Object) -> int:
        replicas = owner["spec"].get("replicas")
        return 1 if replicas is None else int(replicas)

    async def _carry_out(self, owner: Object, plan: ReplicaPlan) -> ApiError | None:
        uid = owner["metadata"]["uid"]
        if plan.create:
            self._expectations.expect(uid, creates=plan.create)
            pod = pod_from_template(owner["spec"].get("template") or {}, owner, owner_reference(owner, self._resource))

            async def create(_: int) -> Any:
                return await self._writer.create(owner, pod)

            done, failure = await slow_start(plan.create, create)
            self._expectations.created(uid, plan.create - done)  # these will never show up
            return failure
        if plan.delete:
            self._expectations.expect(uid, deletes={pod["metadata"]["uid"] for pod in plan.delete})
            failure = await delete_all(self._writer, owner, plan.delete)
            if failure is not None:
                self._expectations.forget(uid)
            return failure
        return None

    async def _write_status(self, owner: Object, status: Object) -> None:
        if status == (owner.get("status") or {}):
            return
        changed = copy_object(owner)
        changed["status"] = status
        await self._client.update(self._resource, changed, subresource="status")


def replica_set_controller(context: Context) -> ReplicaController:
    return ReplicaController(context, resources.REPLICA_SETS, "replicaset-controller", _set_selector)


def replication_controller(context: Context) -> ReplicaController:
    return ReplicaController(context, REPLICATION_CONTROLLERS, "replication-controller", _map_selector)
