"""
Deployments: a new ReplicaSet for each template, old ones scaled down within surge and unavailability.

Reads, asks rollout.py and deployment_status.py what to do, does one step, writes the status.
Source: kube-controller-manager, pkg/controller/deployment.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.api import resources
from cluster.client.controller import Controller, Requeue
from cluster.controller_manager import deployment_status as progress, rollout
from cluster.controller_manager.context import Context, enqueue_all
from cluster.controller_manager.deployment_status import desired_replicas
from cluster.controller_manager.ownership import (
    BY_CONTROLLER,
    Claimer,
    controller_index,
    controller_of,
    is_being_deleted,
    owner_reference,
)
from cluster.controller_manager.pods import condition
from cluster.controller_manager.rollout import Share
from cluster.controller_manager.template_hash import HASH_LABEL, same_template, template_hash
from cluster.machinery.labels import selector_of
from cluster.machinery.objects import Key, Object, copy_object, key_of
from cluster.machinery.status_errors import AlreadyExists, NotFound
from cluster.machinery.timestamps import format_time

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
_NOT_INHERITED = frozenset(
    {"kubectl.kubernetes.io/last-applied-configuration", REVISION, REVISION_HISTORY, DESIRED, MAXIMUM,
     "deprecated.deployment.rollback.to"}
)  # fmt: skip


def revision_of(obj: Object) -> int:
    text = (obj["metadata"].get("annotations") or {}).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def share_of(replica_set: Object) -> Share:
    status = replica_set.get("status") or {}
    maximum = (replica_set["metadata"].get("annotations") or {}).get(MAXIMUM, "")
    return Share(
        name=replica_set["metadata"]["name"],
        replicas=desired_replicas(replica_set),
        available=int(status.get("availableReplicas") or 0),
        pods=int(status.get("replicas") or 0),
        created=replica_set["metadata"].get("creationTimestamp") or "",
        max_replicas=int(maximum) if maximum.isdigit() else 0,
    )


def find_new(deployment: Object, replica_sets: Sequence[Object]) -> Object | None:
    """The oldest ReplicaSet with the Deployment's template."""
    template = deployment["spec"]["template"]
    ordered = sorted(replica_sets, key=lambda s: (s["metadata"].get("creationTimestamp") or "", s["metadata"]["name"]))
    return next((s for s in ordered if same_template(s["spec"]["template"], template)), None)


@dataclass(slots=True)
class Rollout:
    """One Deployment with its ReplicaSets, as one pass sees them."""

    deployment: Object
    new: Object | None
    old: list[Object]

    @property
    def every(self) -> list[Object]:
        return [*self.old, *([self.new] if self.new is not None else [])]


class DeploymentController:
    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._events = context.events("deployment-controller")
        self._claimer = Claimer(context.client, resources.DEPLOYMENTS, resources.REPLICA_SETS)
        self._deployments = context.informers.of(resources.DEPLOYMENTS)
        self._replica_sets = context.informers.of(resources.REPLICA_SETS)
        self._replica_sets.add_index(BY_CONTROLLER, controller_index)
        self._pods = context.informers.of(resources.PODS)
        self._pods.add_index(BY_CONTROLLER, controller_index)
        self.controller = Controller("deployment-controller", self.reconcile, workers=5)
        enqueue_all(self.controller, self._deployments)
        self._replica_sets.add_handler(
            self._enqueue_owner, lambda old, new: self._enqueue_owner(new), self._enqueue_owner
        )
        self._pods.add_handler(on_delete=self._pod_deleted)

    async def run(self) -> None:
        await self.controller.run()

    def _enqueue_owner(self, replica_set: Object) -> None:
        namespace = key_of(replica_set).namespace
        reference = controller_of(replica_set)
        if reference is not None:
            if reference["kind"] == "Deployment":
                self.controller.queue.add(Key(namespace, reference["name"]))
            return
        for deployment in self._deployments.list(namespace):
            if selector_of(deployment["spec"].get("selector")).matches(replica_set["metadata"].get("labels")):
                self.controller.enqueue(deployment)

    def _pod_deleted(self, pod: Object) -> None:
        """Recreate waits for the last old Pod."""
        reference = controller_of(pod)
        if reference is None or reference["kind"] != "ReplicaSet":
            return
        replica_set = self._replica_sets.get(Key(key_of(pod).namespace, reference["name"]))
        if replica_set is not None:
            self._enqueue_owner(replica_set)

    # --- one pass ------------------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> Requeue | None:
        deployment = self._deployments.get(key)
        if deployment is None:
            return None
        selector = selector_of(deployment["spec"].get("selector"))
        if selector.empty:
            self._events.record(
                deployment,
                "Warning",
                "SelectingAll",
                "This deployment is selecting all pods. A non-empty selector is required.",
            )
            return None
        candidates = self._replica_sets.by_index(
            BY_CONTROLLER, deployment["metadata"]["uid"]
        ) + self._replica_sets.by_index(BY_CONTROLLER, f"orphan/{key.namespace}")
        owned = await self._claimer.claim(deployment, selector, candidates)
        new = find_new(deployment, owned)
        state = Rollout(deployment, new, [s for s in owned if s is not new])
        if is_being_deleted(deployment):
            await self._write_status(state, advance=False)
            return None
        state.deployment = await self._note_pause(deployment)
        paused = bool(deployment["spec"].get("paused"))
        if paused or self._is_scaling(state):
            return await self._scale_only(state, paused=paused)
        if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
            return await self._recreate(state)
        return await self._roll(state)

    def _is_scaling(self, state: Rollout) -> bool:
        """Whether `replicas` was changed since the active ReplicaSets were last scaled."""
        desired = str(desired_replicas(state.deployment))
        return any(
            (s["metadata"].get("annotations") or {}).get(DESIRED, desired) != desired
            for s in state.every
            if desired_replicas(s) > 0
        )

    async def _scale_only(self, state: Rollout, *, paused: bool) -> Requeue | None:
        if state.new is not None:
            state.new = await self._sync_new(state)
        desired = desired_replicas(state.deployment)
        scaling = rollout.plan_proportional(
            desired,
            share_of(state.new) if state.new is not None else None,
            [share_of(s) for s in state.old],
            rollout.limits_of(state.deployment["spec"], desired),
            rolling=(state.deployment["spec"].get("strategy") or {}).get("type") != "Recreate",
        )
        await self._scale(state, scaling)
        if not scaling:
            await self._note_desired(state)
        if paused:
            await self._clean_up(state)
        return await self._write_status(state, advance=not paused)

    async def _roll(self, state: Rollout) -> Requeue | None:
        state.new = await self._sync_new(state, create=True)
        desired = desired_replicas(state.deployment)
        limits = rollout.limits_of(state.deployment["spec"], desired)
        old = [share_of(s) for s in state.old]
        scaling = rollout.plan_rolling(desired, share_of(state.new), old, limits)
        await self._scale(state, scaling)
        return await self._finish(state)

    async def _recreate(self, state: Rollout) -> Requeue | None:
        old = [share_of(s) for s in state.old]
        shrinking = rollout.plan_recreate(desired_replicas(state.deployment), None, old)
        running = any(
            (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
            for s in state.old
            for pod in self._pods.by_index(BY_CONTROLLER, s["metadata"]["uid"])
        )
        if shrinking or running:
            await self._scale(state, shrinking)
            return await self._finish(state)
        state.new = await self._sync_new(state, create=True)
        await self._scale(state, rollout.plan_recreate(desired_replicas(state.deployment), share_of(state.new), old))
        return await self._finish(state)

    async def _finish(self, state: Rollout) -> Requeue | None:
        status = progress.counts(state.deployment, state.new, state.every)
        if rollout.is_complete(desired_replicas(state.deployment), status, 0):
            await self._clean_up(state)
        return await self._write_status(state, advance=True)

    # --- the new ReplicaSet --------------------------------------------------------------------------------

    async def _sync_new(self, state: Rollout, *, create: bool = False) -> Object:
        """
        The ReplicaSet of the current template, made if need be, with its revision noted on both.

        Raises Conflict when somebody changed one of them: the next pass sees the change.
        """
        deployment = state.deployment
        revision = max((revision_of(s) for s in state.old), default=0) + 1
        if state.new is None:
            if not create:
                raise ValueError("there is no new ReplicaSet to sync")
            created = await self._create_new(state, revision)
            await self._note_revision(state, revision)
            return created
        wanted = copy_object(state.new)
        _annotate_new(wanted, deployment, max(revision, revision_of(state.new)))
        minimum = int(deployment["spec"].get("minReadySeconds") or 0)
        if minimum:
            wanted["spec"]["minReadySeconds"] = minimum
        else:
            wanted["spec"].pop("minReadySeconds", None)
        if wanted != state.new:
            wanted = await self._client.update(resources.REPLICA_SETS, wanted)
        await self._note_revision(state, revision_of(wanted))
        if condition(deployment, "Progressing") is None and progress.progress_deadline(deployment) is not None:
            name = wanted["metadata"]["name"]
            await self._progressing(state, progress.FOUND_NEW, f'Found new replica set "{name}"')
        return wanted

    async def _create_new(self, state: Rollout, revision: int) -> Object:
        deployment = state.deployment
        collisions = int((deployment.get("status") or {}).get("collisionCount") or 0)
        digest = template_hash(deployment["spec"]["template"], collisions)
        replica_set = _new_replica_set(deployment, digest)
        desired = desired_replicas(deployment)
        limits = rollout.limits_of(deployment["spec"], desired)
        rolling = (deployment["spec"].get("strategy") or {}).get("type") != "Recreate"
        name = replica_set["metadata"]["name"]
        if rolling:
            old = [share_of(s) for s in state.old]
            replicas = rollout.plan_new(desired, Share(name, 0), old, limits).get(name, 0)
        else:
            replicas = desired
        replica_set["spec"]["replicas"] = replicas
        _annotate_new(replica_set, deployment, revision)
        try:
            created = await self._client.create(resources.REPLICA_SETS, replica_set)
        except AlreadyExists:
            return await self._settle_clash(state, name)
        if replicas:
            self._tell_scaled(deployment, name, 0, replicas)
        message = f'Created new replica set "{name}"'
        await self._progressing(state, progress.NEW_CREATED, message)
        return created

    async def _settle_clash(self, state: Rollout, name: str) -> Object:
        """The name is taken: by us, a moment ago, or by another template with the same hash."""
        deployment = state.deployment
        existing = await self._client.get(resources.REPLICA_SETS, name, namespace=key_of(deployment).namespace)
        reference = controller_of(existing)
        ours = reference is not None and reference["uid"] == deployment["metadata"]["uid"]
        if ours and same_template(existing["spec"]["template"], deployment["spec"]["template"]):
            return existing
        changed = copy_object(deployment)
        status = changed.setdefault("status", {})
        status["collisionCount"] = int(status.get("collisionCount") or 0) + 1
        await self._client.update(resources.DEPLOYMENTS, changed, subresource="status")
        raise AlreadyExists(f"a ReplicaSet {name} of another template exists; the next pass takes another name")

    async def _progressing(self, state: Rollout, reason: str, message: str) -> None:
        if progress.progress_deadline(state.deployment) is None:
            return
        before = condition(state.deployment, "Progressing")
        now = datetime.datetime.now(datetime.UTC)
        entry = progress.make_condition(before, "Progressing", "True", reason, message, now)
        if reason == progress.NEW_CREATED:
            entry = {**entry, "lastUpdateTime": format_time(now), "message": message}
        state.deployment = _with_condition(state.deployment, entry)

    async def _note_revision(self, state: Rollout, revision: int) -> None:
        annotations = state.deployment["metadata"].get("annotations") or {}
        if annotations.get(REVISION) == str(revision):
            return
        changed = copy_object(state.deployment)
        changed["metadata"].setdefault("annotations", {})[REVISION] = str(revision)
        status = changed.get("status")
        # By way of the status: an annotation written to the object itself would count as a new generation.
        state.deployment = await self._client.update(resources.DEPLOYMENTS, changed, subresource="status")
        if status is not None:  # the conditions of this pass may have changed since
            state.deployment = {**state.deployment, "status": status}

    async def _note_pause(self, deployment: Object) -> Object:
        """Pausing and resuming stop and restart the clock of the progress deadline."""
        if progress.progress_deadline(deployment) is None:
            return deployment
        before = condition(deployment, "Progressing")
        if before is not None and before.get("reason") == progress.TIMED_OUT:
            return deployment
        noted = before is not None and before.get("reason") == progress.PAUSED
        paused = bool(deployment["spec"].get("paused"))
        if paused == noted:
            return deployment
        reason, message = (
            (progress.PAUSED, "Deployment is paused") if paused else (progress.RESUMED, "Deployment is resumed")
        )
        now = datetime.datetime.now(datetime.UTC)
        entry = progress.make_condition(before, "Progressing", "Unknown", reason, message, now)
        changed = _with_condition(deployment, entry)
        return await self._client.update(resources.DEPLOYMENTS, changed, subresource="status")

    # --- scaling and cleaning ------------------------------------------------------------------------------

    async def _scale(self, state: Rollout, scaling: rollout.Scaling) -> None:
        """Write the new replicas; what is scaled is replaced in `state` by what the server answered."""
        for replica_set in state.every:
            name = replica_set["metadata"]["name"]
            if name not in scaling:
                continue
            before = desired_replicas(replica_set)
            changed = copy_object(replica_set)
            changed["spec"]["replicas"] = scaling[name]
            _annotate_scale(changed, state.deployment)
            written = await self._client.update(resources.REPLICA_SETS, changed)
            self._replace(state, replica_set, written)
            self._tell_scaled(state.deployment, name, before, scaling[name])

    async def _note_desired(self, state: Rollout) -> None:
        for replica_set in state.every:
            changed = copy_object(replica_set)
            _annotate_scale(changed, state.deployment)
            if desired_replicas(replica_set) and changed != replica_set:
                self._replace(state, replica_set, await self._client.update(resources.REPLICA_SETS, changed))

    def _replace(self, state: Rollout, before: Object, after: Object) -> None:
        if state.new is before:
            state.new = after
        else:
            state.old = [after if s is before else s for s in state.old]

    def _tell_scaled(self, deployment: Object, name: str, before: int, after: int) -> None:
        way = "up" if after > before else "down"
        self._events.record(
            deployment,
            "Normal",
            "ScalingReplicaSet",
            f"Scaled {way} replica set {name} from {before} to {after}",
        )

    async def _clean_up(self, state: Rollout) -> None:
        limit = state.deployment["spec"].get("revisionHistoryLimit")
        if limit is None or int(limit) >= 2**31 - 1:
            return
        old = [s for s in state.old if not is_being_deleted(s)]
        revisions = {s["metadata"]["name"]: revision_of(s) for s in old}
        surplus = rollout.plan_history([share_of(s) for s in old], int(limit), revisions)
        for name in surplus:
            namespace = key_of(state.deployment).namespace
            try:
                await self._client.delete(resources.REPLICA_SETS, name, namespace=namespace)
            except NotFound:
                continue

    async def _write_status(self, state: Rollout, *, advance: bool) -> Requeue | None:
        now = datetime.datetime.now(datetime.UTC)
        stored = self._deployments.get(key_of(state.deployment)) or state.deployment
        status = progress.full_status(state.deployment, state.new, state.every, now, progress=advance)
        if status != (stored.get("status") or {}):
            changed = copy_object(state.deployment)
            changed["status"] = status
            await self._client.update(resources.DEPLOYMENTS, changed, subresource="status")
        wait = progress.seconds_to_deadline(status, state.deployment, now)
        return Requeue(wait) if wait is not None else None


def _with_condition(deployment: Object, entry: Object) -> Object:
    changed = copy_object(deployment)
    status = changed.setdefault("status", {})
    others = [c for c in status.get("conditions") or () if c.get("type") != entry["type"]]
    status["conditions"] = [*others, entry]
    return changed


def _new_replica_set(deployment: Object, digest: str) -> Object:
    spec = deployment["spec"]
    template = copy_object(spec["template"])
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    labels[HASH_LABEL] = digest
    selector = copy_object(spec["selector"])
    selector.setdefault("matchLabels", {})[HASH_LABEL] = digest
    replica_set: Object = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{deployment['metadata']['name']}-{digest}",
            "namespace": key_of(deployment).namespace,
            "labels": dict(labels),
            "ownerReferences": [owner_reference(deployment, resources.DEPLOYMENTS)],
        },
        "spec": {"replicas": 0, "selector": selector, "template": template},
    }
    if spec.get("minReadySeconds"):
        replica_set["spec"]["minReadySeconds"] = spec["minReadySeconds"]
    return replica_set


def _annotate_scale(replica_set: Object, deployment: Object) -> None:
    desired = desired_replicas(deployment)
    annotations = replica_set["metadata"].setdefault("annotations", {})
    annotations[DESIRED] = str(desired)
    annotations[MAXIMUM] = str(desired + rollout.limits_of(deployment["spec"], desired).surge)


def _annotate_new(replica_set: Object, deployment: Object, revision: int) -> None:
    """The Deployment's annotations, the revision, and the revisions this template had before."""
    annotations = replica_set["metadata"].setdefault("annotations", {})
    for name, value in (deployment["metadata"].get("annotations") or {}).items():
        if name not in _NOT_INHERITED:
            annotations[name] = value
    before = annotations.get(REVISION, "")
    if before and before != str(revision):
        earlier = [text for text in annotations.get(REVISION_HISTORY, "").split(",") if text]
        annotations[REVISION_HISTORY] = ",".join([*earlier, before])
    annotations[REVISION] = str(revision)
    if DESIRED not in annotations:
        _annotate_scale(replica_set, deployment)
