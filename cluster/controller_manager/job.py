"""
Pods until enough have succeeded.

Every Pod carries a finalizer until it is counted, so that one deleted in between is not lost: first its uid goes into
`uncountedTerminatedPods`, then the finalizer comes off, then the counts go up. job_status.py decides.
Source: kube-controller-manager, pkg/controller/job, pkg/controller/ttlafterfinished.
"""

import datetime
from collections.abc import Sequence

from cluster.api import resources
from cluster.client.controller import Controller, Requeue
from cluster.client.expectations import Expectations
from cluster.controller_manager import job_status
from cluster.controller_manager.context import Context, enqueue_all
from cluster.controller_manager.job_status import FINALIZER, INDEX
from cluster.controller_manager.owned_pods import OwnedPods
from cluster.controller_manager.ownership import (
    BY_CONTROLLER,
    Claimer,
    controller_index,
    controller_of,
    is_being_deleted,
    owner_reference,
)
from cluster.controller_manager.pod_batch import PodWriter, delete_all, slow_start
from cluster.controller_manager.pods import in_order_of_deletion, is_ready, is_terminal, phase, pod_from_template
from cluster.machinery.labels import selector_of
from cluster.machinery.objects import Key, Object, copy_object, key_of
from cluster.machinery.status_errors import Conflict, NotFound
from cluster.machinery.timestamps import parse_time

JOBS = resources.named("jobs.batch")


def is_tracked(pod: Object) -> bool:
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def _job_uid(pod: Object) -> str:
    return str((controller_of(pod) or {}).get("uid") or "")


def _job_of_tracked(pod: Object) -> list[str]:
    """Index function: the Job that a Pod with our finalizer names."""
    reference = controller_of(pod)
    if reference is None or reference["kind"] != "Job" or not is_tracked(pod):
        return []
    return [str(Key(key_of(pod).namespace, reference["name"]))]


class JobController:
    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._events = context.events("job-controller")
        self._writer = PodWriter(context.client, self._events)
        self._claimer = Claimer(context.client, JOBS, resources.PODS)
        self._expectations = Expectations()
        self._jobs = context.informers.of(JOBS)
        self._pods = context.informers.of(resources.PODS)
        self._pods.add_index(BY_CONTROLLER, controller_index)
        self._pods.add_index("tracked-by-job", _job_of_tracked)
        self.controller = Controller("job-controller", self.reconcile, workers=5)
        enqueue_all(self.controller, self._jobs)
        OwnedPods("Job", self._expectations, self.controller.queue).follow(self._pods)

    async def run(self) -> None:
        await self.controller.run()

    # --- one pass ------------------------------------------------------------------------------------------

    async def reconcile(self, key: Key) -> Requeue | None:
        job = self._jobs.get(key)
        await self._release_strays(key, job)
        if job is None:
            return None
        pods = await self._pods_of(job)
        if is_being_deleted(job):
            for pod in pods:
                await self._untrack(pod)
            return None
        now = datetime.datetime.now(datetime.UTC)
        if job_status.is_finished(job):
            for pod in pods:
                await self._untrack(pod)
            return await self._expire(job, now)
        job = await self._count(job, pods, now)
        return await self._advance(job, pods, now)

    async def _release_strays(self, key: Key, job: Object | None) -> None:
        """Pods whose Job is gone, or another of that name by now: nobody will count them, their finalizer must go."""
        known = job["metadata"]["uid"] if job is not None else ""
        strays = [p for p in self._pods.by_index("tracked-by-job", str(key)) if _job_uid(p) != known]
        if not strays:
            return
        try:
            live = await self._client.get(JOBS, key.name, namespace=key.namespace)
        except NotFound:
            live = {"metadata": {"uid": ""}}
        for pod in strays:
            if _job_uid(pod) != live["metadata"]["uid"]:
                await self._untrack(pod)

    async def _pods_of(self, job: Object) -> list[Object]:
        candidates = self._pods.by_index(BY_CONTROLLER, job["metadata"]["uid"]) + self._pods.by_index(
            BY_CONTROLLER, f"orphan/{key_of(job).namespace}"
        )
        return await self._claimer.claim(job, selector_of(job["spec"].get("selector")), candidates)

    async def _count(self, job: Object, pods: Sequence[Object], now: datetime.datetime) -> Object:
        """Move finished Pods through `uncountedTerminatedPods` into the counts; returns the Job as written."""
        status = copy_object(job.get("status") or {})
        job_status.note_suspension(job, status, now)
        uncounted = status.setdefault("uncountedTerminatedPods", {})
        waiting: dict[str, list[str]] = {k: list(uncounted.get(k) or ()) for k in ("succeeded", "failed")}
        completed = job_status.parse_indexes(status.get("completedIndexes") or "")
        for pod in pods:
            uid = pod["metadata"]["uid"]
            if not is_tracked(pod) or uid in waiting["succeeded"] or uid in waiting["failed"]:
                continue
            if phase(pod) == "Succeeded":
                index = job_status.index_of(pod)
                if job_status.is_indexed(job) and index is not None:
                    completed.add(index)
                waiting["succeeded"].append(uid)
            elif phase(pod) == "Failed" or (is_being_deleted(pod) and not pod["spec"].get("nodeName")):
                waiting["failed"].append(uid)
        if job_status.is_indexed(job) and completed:
            status["completedIndexes"] = job_status.format_indexes(completed)
        status["uncountedTerminatedPods"] = {kind: uids for kind, uids in waiting.items() if uids}
        job = await self._write(job, status)
        by_uid = {pod["metadata"]["uid"]: pod for pod in pods}
        for uid in (*waiting["succeeded"], *waiting["failed"]):
            if uid in by_uid:
                await self._untrack(by_uid[uid])
        status = copy_object(job["status"])
        for kind, uids in waiting.items():
            if uids:
                status[kind] = int(status.get(kind) or 0) + len(uids)
        if job_status.is_indexed(job) and completed:
            status["succeeded"] = len(completed)
        status["uncountedTerminatedPods"] = {}
        return {**job, "status": status}

    async def _advance(self, job: Object, pods: Sequence[Object], now: datetime.datetime) -> Requeue | None:
        status = job["status"]
        active = [pod for pod in pods if not is_terminal(pod) and not is_being_deleted(pod)]
        succeeded, failed = int(status.get("succeeded") or 0), int(status.get("failed") or 0)
        ending = job_status.ending_of(job, succeeded, failed, len(active), now)
        uid = job["metadata"]["uid"]
        wait: float | None = None
        change = 0
        if ending is not None:
            await self._delete(job, active)
            active = []
            job_status.with_ending(status, ending, now)
        elif self._expectations.met(uid):
            wanted = job_status.wanted_active(job, succeeded, len(active))
            if wanted < len(active):
                surplus = in_order_of_deletion(active)[: len(active) - wanted]
                await self._delete(job, surplus)
                change = -len(surplus)
            elif wanted > len(active):
                wait = job_status.backoff_left([p for p in pods if phase(p) == "Failed"], now)
                if wait == 0.0:
                    change = await self._create(job, active, wanted - len(active))
        counts = {
            "active": len(active) + change,
            "ready": sum(is_ready(pod) for pod in active),
            "terminating": sum(is_being_deleted(pod) and not is_terminal(pod) for pod in pods),
        }
        status |= counts
        if not counts["active"]:
            del status["active"]
        await self._write(job, status)
        if ending is not None:
            kind = "Normal" if ending.kind == "Complete" else "Warning"
            reason = "Completed" if ending.kind == "Complete" else ending.reason
            message = "Job completed" if ending.kind == "Complete" else ending.message
            self._events.record(job, kind, reason, message)
        deadline = job_status.seconds_to_deadline(job, now)
        waits = [w for w in (wait, deadline) if w]
        return Requeue(min(waits)) if waits and ending is None else None

    async def _create(self, job: Object, active: Sequence[Object], count: int) -> int:
        uid = job["metadata"]["uid"]
        indexes: list[int] = []
        if job_status.is_indexed(job):
            completed = job_status.parse_indexes(job["status"].get("completedIndexes") or "")
            indexes = job_status.next_indexes(job, completed, active, count)
            count = len(indexes)

        async def create(number: int) -> Object:
            return await self._writer.create(job, self._pod_for(job, indexes[number] if indexes else None))

        self._expectations.expect(uid, creates=count)
        done, failure = await slow_start(count, create)
        self._expectations.created(uid, count - done)
        if failure is not None:
            raise failure
        return done

    def _pod_for(self, job: Object, index: int | None) -> Object:
        name = job["metadata"]["name"]
        prefix = f"{name}-" if index is None else f"{name}-{index}-"
        pod = pod_from_template(job["spec"]["template"], job, owner_reference(job, JOBS), prefix)
        pod["metadata"].setdefault("finalizers", []).append(FINALIZER)
        if index is None:
            return pod
        pod["metadata"]["annotations"][INDEX] = str(index)
        pod["metadata"]["labels"][INDEX] = str(index)
        pod["spec"].setdefault("hostname", f"{name}-{index}")
        source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
        for container in (*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]):
            variables = container.setdefault("env", [])
            if all(v["name"] != "JOB_COMPLETION_INDEX" for v in variables):
                variables.append({"name": "JOB_COMPLETION_INDEX", "valueFrom": source})
        return pod

    async def _delete(self, job: Object, pods: Sequence[Object]) -> None:
        uid = job["metadata"]["uid"]
        self._expectations.expect(uid, deletes={pod["metadata"]["uid"] for pod in pods})
        failure = await delete_all(self._writer, job, pods)
        if failure is not None:
            self._expectations.forget(uid)
            raise failure

    async def _untrack(self, pod: Object) -> None:
        if not is_tracked(pod):
            return
        namespace, name = key_of(pod)
        patch = {
            "metadata": {"uid": pod["metadata"]["uid"], "$deleteFromPrimitiveList/finalizers": [FINALIZER]},
        }
        try:
            await self._client.patch(resources.PODS, name, patch, namespace=namespace, patch_type="strategic")
        except (NotFound, Conflict):
            return

    async def _write(self, job: Object, status: Object) -> Object:
        if status == (self._jobs.get(key_of(job)) or job).get("status") and status == job.get("status"):
            return job
        return await self._client.update(JOBS, {**copy_object(job), "status": status}, subresource="status")

    async def _expire(self, job: Object, now: datetime.datetime) -> Requeue | None:
        """Delete a finished Job when its time to live is over."""
        seconds = job["spec"].get("ttlSecondsAfterFinished")
        if seconds is None:
            return None
        ended = next(
            parse_time(c["lastTransitionTime"])
            for c in job["status"]["conditions"]
            if c["type"] in ("Complete", "Failed") and c["status"] == "True"
        )
        left = float(seconds) - (now - ended).total_seconds()
        if left > 0:
            return Requeue(left)
        namespace, name = key_of(job)
        options = {"propagationPolicy": "Foreground", "preconditions": {"uid": job["metadata"]["uid"]}}
        try:
            await self._client.delete(JOBS, name, namespace=namespace, options=options)
        except (NotFound, Conflict):
            return None
        return None
