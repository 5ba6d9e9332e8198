"""
Pods with names and volumes that stay, in order.

`plan_step` is pure: what to create, delete or wait for next.
Source: kube-controller-manager, pkg/controller/statefulset.
"""

import datetime
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cluster.api import resources
from cluster.client.controller import Controller, Requeue, is_being_emptied
from cluster.client.expectations import Expectations
from cluster.controller_manager.context import Context, enqueue_all
from cluster.controller_manager.controller_revision import HASH_LABEL, REVISIONS, History, RevisionKeeper
from cluster.controller_manager.owned_pods import OwnedPods
from cluster.controller_manager.ownership import (
    BY_CONTROLLER,
    Claimer,
    controller_index,
    is_being_deleted,
    owner_reference,
)
from cluster.controller_manager.pods import is_ready, phase, pod_from_template, seconds_until_available
from cluster.controller_manager.rollout import scaled_value
from cluster.machinery.labels import selector_of
from cluster.machinery.objects import Key, Object, copy_object, key_of
from cluster.machinery.status_errors import AlreadyExists, ApiError, Conflict, NotFound

STATEFUL_SETS = resources.named("statefulsets.apps")
CLAIMS = resources.named("persistentvolumeclaims")
POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"
_NAME = re.compile(r"(.*)-([0-9]+)$")


def ordinal_of(pod: Object, stateful_set: Object) -> int | None:
    match = _NAME.match(pod["metadata"]["name"])
    return int(match[2]) if match and match[1] == stateful_set["metadata"]["name"] else None


def ordinals(stateful_set: Object) -> range:
    spec = stateful_set["spec"]
    start = int((spec.get("ordinals") or {}).get("start") or 0)
    replicas = spec.get("replicas")
    return range(start, start + (1 if replicas is None else int(replicas)))


def is_parallel(stateful_set: Object) -> bool:
    return bool(stateful_set["spec"].get("podManagementPolicy") == "Parallel")


def partition_of(stateful_set: Object) -> int:
    rolling = (stateful_set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    return int(rolling.get("partition") or 0)


def max_unavailable(stateful_set: Object) -> int:
    rolling = (stateful_set["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    value = rolling.get("maxUnavailable")
    if value is None:
        return 1
    return max(scaled_value(value, len(ordinals(stateful_set)), round_up=True), 1)


def revision_label(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get(HASH_LABEL) or "")


@dataclass(frozen=True, slots=True)
class Create:
    ordinal: int
    revision: str


@dataclass(frozen=True, slots=True)
class Step:
    """What one pass does. Empty: everything is as wished, or something must be waited for."""

    create: tuple[Create, ...] = ()
    delete: tuple[Object, ...] = ()


def plan_step(
    stateful_set: Object,
    pods: Mapping[int, Object],
    current: str,
    update: str,
    now: datetime.datetime,
) -> Step:
    """
    The next step.

    Args:
        pods: By ordinal; the ones beyond the replicas included.
        current, update: Names of the revisions that is being left and that is being rolled out.
    """
    minimum = int(stateful_set["spec"].get("minReadySeconds") or 0)
    wanted = ordinals(stateful_set)
    parallel = is_parallel(stateful_set)
    create: list[Create] = []
    delete: list[Object] = []

    def available(pod: Object) -> bool:
        return not is_being_deleted(pod) and seconds_until_available(pod, minimum, now) == 0.0

    for ordinal in wanted:
        pod = pods.get(ordinal)
        if pod is None:
            create.append(Create(ordinal, _revision_for(stateful_set, ordinal, pods, current, update)))
        elif phase(pod) in ("Failed", "Succeeded") and not is_being_deleted(pod):
            delete.append(pod)
        elif available(pod):
            continue
        if not parallel:
            return Step(tuple(create), tuple(delete))
    condemned = [pods[o] for o in sorted(pods, reverse=True) if o not in wanted]
    for pod in condemned:
        if not is_being_deleted(pod):
            delete.append(pod)
        if not parallel:
            return Step(tuple(create), tuple(delete))
    if create or delete:
        return Step(tuple(create), tuple(delete))
    if ((stateful_set["spec"].get("updateStrategy") or {}).get("type") or "RollingUpdate") != "RollingUpdate":
        return Step()
    return Step(delete=tuple(_outdated(stateful_set, pods, update, available)))


def _outdated(
    stateful_set: Object, pods: Mapping[int, Object], update: str, available: Callable[[Object], bool]
) -> list[Object]:
    """The highest old Pods, as many as may be unavailable, down to the partition."""
    wanted = ordinals(stateful_set)
    first = wanted.start + partition_of(stateful_set)
    unavailable = sum(not available(pods[o]) for o in wanted if o in pods)
    allowed = max_unavailable(stateful_set)
    found: list[Object] = []
    for ordinal in sorted((o for o in wanted if o >= first and o in pods), reverse=True):
        pod = pods[ordinal]
        if revision_label(pod) == update:
            if not available(pod) and unavailable >= allowed:
                return found  # the new one must come up before the next old one goes
            continue
        if is_being_deleted(pod):
            return found
        already_down = not available(pod)
        if not already_down and unavailable >= allowed:
            return found
        found.append(pod)
        unavailable += not already_down
        if len(found) >= allowed:
            return found
    return found


def _revision_for(stateful_set: Object, ordinal: int, pods: Mapping[int, Object], current: str, update: str) -> str:
    """New Pods below the partition are made as the old ones were."""
    wanted = ordinals(stateful_set)
    strategy = (stateful_set["spec"].get("updateStrategy") or {}).get("type") or "RollingUpdate"
    if strategy == "OnDelete" or current == update:
        return update
    updated = sum(revision_label(pod) == update for o, pod in pods.items() if o in wanted)
    if partition_of(stateful_set) == 0 and not (stateful_set["spec"].get("updateStrategy") or {}).get("rollingUpdate"):
        return current if ordinal < wanted.start + len(wanted) - updated - 1 else update
    return current if ordinal < wanted.start + partition_of(stateful_set) else update


def claims_of(stateful_set: Object, ordinal: int) -> list[Object]:
    """The PersistentVolumeClaims of one Pod."""
    namespace, name = key_of(stateful_set)
    found = []
    for template in stateful_set["spec"].get("volumeClaimTemplates") or ():
        claim = copy_object(template)
        labels = (stateful_set["spec"].get("selector") or {}).get("matchLabels") or {}
        metadata = {
            **(claim.get("metadata") or {}),
            "name": f"{template['metadata']['name']}-{name}-{ordinal}",
            "namespace": namespace,
        }
        metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
        found.append({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim["spec"]})
    return found


def pod_for(stateful_set: Object, ordinal: int, revision: Object) -> Object:
    """The Pod of an ordinal, from the template of a revision."""
    template = copy_object((revision.get("data") or {}).get("spec", {}).get("template") or {})
    template.pop("$patch", None)
    pod = pod_from_template(template, stateful_set, owner_reference(stateful_set, STATEFUL_SETS))
    name = f"{stateful_set['metadata']['name']}-{ordinal}"
    del pod["metadata"]["generateName"]
    pod["metadata"]["name"] = name
    pod["metadata"]["labels"] |= {
        POD_NAME_LABEL: name,
        INDEX_LABEL: str(ordinal),
        HASH_LABEL: revision["metadata"]["name"],
    }
    spec = pod["spec"]
    spec["hostname"] = name
    if stateful_set["spec"].get("serviceName"):
        spec["subdomain"] = stateful_set["spec"]["serviceName"]
    claimed = {
        template["metadata"]["name"]: {
            "name": template["metadata"]["name"],
            "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]},
        }
        for template, claim in zip(
            stateful_set["spec"].get("volumeClaimTemplates") or (), claims_of(stateful_set, ordinal), strict=True
        )
    }
    if claimed:
        spec["volumes"] = [v for v in spec.get("volumes") or () if v["name"] not in claimed] + list(claimed.values())
    return pod


def status_of(
    stateful_set: Object, pods: Sequence[Object], current: str, update: str, history: History, now: datetime.datetime
) -> Object:
    minimum = int(stateful_set["spec"].get("minReadySeconds") or 0)
    live = [p for p in pods if not is_being_deleted(p)]
    at_current = sum(revision_label(p) == current for p in live)
    at_update = sum(revision_label(p) == update for p in live)
    ready = sum(is_ready(p) for p in pods)
    wanted = len(ordinals(stateful_set))
    if at_update == wanted == len(pods) == ready and partition_of(stateful_set) == 0:
        current, at_current = update, at_update  # the rollout is over
    counts = {"readyReplicas": ready, "currentReplicas": at_current, "updatedReplicas": at_update}
    status: Object = {
        "observedGeneration": stateful_set["metadata"].get("generation", 0),
        "replicas": len(pods),
        "availableReplicas": sum(seconds_until_available(p, minimum, now) == 0.0 for p in pods),
        "currentRevision": current,
        "updateRevision": update,
    }
    status |= {name: value for name, value in counts.items() if value}
    status["collisionCount"] = history.collisions
    if (stateful_set.get("status") or {}).get("conditions"):
        status["conditions"] = stateful_set["status"]["conditions"]
    return status


class StatefulSetController:
    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._events = context.events("statefulset-controller")
        self._claimer = Claimer(context.client, STATEFUL_SETS, resources.PODS)
        self._expectations = Expectations()
        self._sets = context.informers.of(STATEFUL_SETS)
        self._pods = context.informers.of(resources.PODS)
        self._pods.add_index(BY_CONTROLLER, controller_index)
        revisions = context.informers.of(REVISIONS)
        revisions.add_index(BY_CONTROLLER, controller_index)
        self._keeper = RevisionKeeper(context.client, STATEFUL_SETS, revisions)
        self.controller = Controller("statefulset-controller", self.reconcile, workers=5)
        enqueue_all(self.controller, self._sets)
        OwnedPods("StatefulSet", self._expectations, self.controller.queue).follow(self._pods)

    async def run(self) -> None:
        await self.controller.run()

    async def reconcile(self, key: Key) -> Requeue | None:
        stateful_set = self._sets.get(key)
        if stateful_set is None:
            return None
        selector = selector_of(stateful_set["spec"].get("selector"))
        uid = stateful_set["metadata"]["uid"]
        candidates = self._pods.by_index(BY_CONTROLLER, uid) + self._pods.by_index(
            BY_CONTROLLER, f"orphan/{key.namespace}"
        )
        named = [pod for pod in candidates if ordinal_of(pod, stateful_set) is not None]
        pods = await self._claimer.claim(stateful_set, selector, named)
        history = await self._keeper.sync(stateful_set)
        update = str(history.update["metadata"]["name"])
        current = str((stateful_set.get("status") or {}).get("currentRevision") or update)
        known = {r["metadata"]["name"]: r for r in history.every}
        if current not in known:
            current = update
        by_ordinal = {o: p for p in pods if (o := ordinal_of(p, stateful_set)) is not None}
        now = datetime.datetime.now(datetime.UTC)
        if self._expectations.met(uid) and not is_being_deleted(stateful_set):
            step = plan_step(stateful_set, by_ordinal, current, update, now)
            await self._carry_out(stateful_set, step, known)
        status = status_of(stateful_set, pods, current, update, history, now)
        if status != (stateful_set.get("status") or {}):
            changed = {**copy_object(stateful_set), "status": status}
            await self._client.update(STATEFUL_SETS, changed, subresource="status")
        live = {current, update, *(revision_label(pod) for pod in pods)}
        await self._keeper.clean_up(stateful_set, history, live)
        minimum = int(stateful_set["spec"].get("minReadySeconds") or 0)
        waits = [wait for pod in pods if (wait := seconds_until_available(pod, minimum, now))]
        return Requeue(min(waits)) if waits else None

    async def _carry_out(self, stateful_set: Object, step: Step, revisions: Mapping[str, Object]) -> None:
        uid = stateful_set["metadata"]["uid"]
        for wish in step.create:
            await self._create_claims(stateful_set, wish.ordinal)
            pod = pod_for(stateful_set, wish.ordinal, revisions[wish.revision])
            name = pod["metadata"]["name"]
            subject = f"Pod {name} in StatefulSet {stateful_set['metadata']['name']}"
            self._expectations.expect(uid, creates=1)
            try:
                await self._client.create(resources.PODS, pod)
            except AlreadyExists:
                self._expectations.created(uid)
                continue  # the cache is late, or somebody else has the name: the next pass sees which
            except ApiError as error:
                self._expectations.created(uid)
                if not is_being_emptied(error):
                    message = f"create {subject} failed error: {error}"
                    self._events.record(stateful_set, "Warning", "FailedCreate", message)
                raise
            self._events.record(stateful_set, "Normal", "SuccessfulCreate", f"create {subject} successful")
        for pod in step.delete:
            await self._delete(stateful_set, pod)

    async def _create_claims(self, stateful_set: Object, ordinal: int) -> None:
        for claim in claims_of(stateful_set, ordinal):
            try:
                await self._client.create(CLAIMS, claim)
            except AlreadyExists:
                continue  # it stays when its Pod goes; that is what it is for

    async def _delete(self, stateful_set: Object, pod: Object) -> None:
        uid = stateful_set["metadata"]["uid"]
        namespace, name = key_of(pod)
        self._expectations.expect(uid, deletes={pod["metadata"]["uid"]})
        options = {"preconditions": {"uid": pod["metadata"]["uid"]}}
        try:
            await self._client.delete(resources.PODS, name, namespace=namespace, options=options)
        except (NotFound, Conflict):
            self._expectations.deleted(uid, pod["metadata"]["uid"])
            return
        except ApiError:
            self._expectations.deleted(uid, pod["metadata"]["uid"])
            raise
        subject = f"Pod {name} in StatefulSet {stateful_set['metadata']['name']}"
        self._events.record(stateful_set, "Normal", "SuccessfulDelete", f"delete {subject} successful")
