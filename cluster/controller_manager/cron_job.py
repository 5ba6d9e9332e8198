"""
A Job on schedule.

Source: kube-controller-manager, pkg/controller/cronjob.
"""

import datetime
from collections.abc import Sequence
from zoneinfo import ZoneInfoNotFoundError

from cluster.api import resources
from cluster.client.controller import Controller, Requeue
from cluster.controller_manager.context import Context, enqueue_all
from cluster.controller_manager.job import JOBS
from cluster.controller_manager.ownership import (
    BY_CONTROLLER,
    controller_index,
    controller_of,
    is_being_deleted,
    owner_reference,
)
from cluster.controller_manager.pods import condition
from cluster.machinery.cron_schedule import Schedule, latest_strike, zone_of
from cluster.machinery.objects import Key, Object, copy_object, key_of
from cluster.machinery.status_errors import AlreadyExists, ApiError, NotFound
from cluster.machinery.timestamps import format_time, parse_time

CRON_JOBS = resources.named("cronjobs.batch")
SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"


def outcome(job: Object) -> str:
    """Complete, Failed or empty while it runs."""
    for kind in ("Complete", "Failed"):
        entry = condition(job, kind)
        if entry is not None and entry["status"] == "True":
            return kind
    return ""


def surplus_history(cron_job: Object, jobs: Sequence[Object]) -> list[Object]:
    """The oldest finished Jobs beyond the two limits."""
    found: list[Object] = []
    for kind, field, default in (
        ("Complete", "successfulJobsHistoryLimit", 3),
        ("Failed", "failedJobsHistoryLimit", 1),
    ):
        limit = cron_job["spec"].get(field)
        finished = sorted(
            (job for job in jobs if outcome(job) == kind),
            key=lambda job: (str((job.get("status") or {}).get("startTime") or ""), str(job["metadata"]["name"])),
        )
        found += finished[: max(len(finished) - (default if limit is None else int(limit)), 0)]
    return found


def job_of(cron_job: Object, strike: datetime.datetime) -> Object:
    """The Job of one strike. Its name comes from the time, so that no strike makes two."""
    template = copy_object(cron_job["spec"]["jobTemplate"])
    metadata = template.get("metadata") or {}
    namespace, name = key_of(cron_job)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "namespace": namespace,
            "name": f"{name}-{int(strike.timestamp()) // 60}",
            "labels": metadata.get("labels") or {},
            "annotations": {**(metadata.get("annotations") or {}), SCHEDULED_AT: format_time(strike)},
            "ownerReferences": [owner_reference(cron_job, CRON_JOBS)],
        },
        "spec": template["spec"],
    }


class CronJobController:
    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._events = context.events("cronjob-controller")
        self._cron_jobs = context.informers.of(CRON_JOBS)
        self._jobs = context.informers.of(JOBS)
        self._jobs.add_index(BY_CONTROLLER, controller_index)
        self.controller = Controller("cronjob-controller", self.reconcile, workers=2)
        enqueue_all(self.controller, self._cron_jobs)
        self._jobs.add_handler(self._job_changed, lambda _, new: self._job_changed(new), self._job_changed)

    async def run(self) -> None:
        await self.controller.run()

    def _job_changed(self, job: Object) -> None:
        reference = controller_of(job)
        if reference is not None and reference["kind"] == "CronJob":
            self.controller.queue.add(Key(key_of(job).namespace, reference["name"]))

    async def reconcile(self, key: Key) -> Requeue | None:
        cron_job = self._cron_jobs.get(key)
        if cron_job is None or is_being_deleted(cron_job):
            return None
        now = datetime.datetime.now(datetime.UTC)
        jobs = self._jobs.by_index(BY_CONTROLLER, cron_job["metadata"]["uid"])
        for job in surplus_history(cron_job, jobs):
            await self._delete(cron_job, job)
        status = copy_object(cron_job.get("status") or {})
        self._note_jobs(cron_job, status, jobs)
        requeue: Requeue | None = None
        try:
            if not cron_job["spec"].get("suspend"):
                requeue = await self._strike(cron_job, status, jobs, now)
        finally:
            if status != (cron_job.get("status") or {}):
                changed = {**copy_object(cron_job), "status": status}
                await self._client.update(CRON_JOBS, changed, subresource="status")
        return requeue

    def _note_jobs(self, cron_job: Object, status: Object, jobs: Sequence[Object]) -> None:
        known = {reference["uid"] for reference in status.get("active") or ()}
        running = [job for job in jobs if not outcome(job)]
        for job in jobs:
            name = job["metadata"]["name"]
            if outcome(job) and job["metadata"]["uid"] in known:
                self._events.record(
                    cron_job, "Normal", "SawCompletedJob", f"Saw completed job: {name}, condition: {outcome(job)}"
                )
            ended = (job.get("status") or {}).get("completionTime")
            if ended and ended > str(status.get("lastSuccessfulTime") or ""):
                status["lastSuccessfulTime"] = ended
        status["active"] = [_reference(job) for job in running]
        if not running:
            del status["active"]

    async def _strike(
        self, cron_job: Object, status: Object, jobs: Sequence[Object], now: datetime.datetime
    ) -> Requeue | None:
        spec = cron_job["spec"]
        try:
            zone = zone_of(spec.get("timeZone"))
        except ZoneInfoNotFoundError:
            self._events.record(
                cron_job, "Warning", "UnknownTimeZone", f"invalid timeZone: {spec['timeZone']!r} is not known here"
            )
            return None
        schedule = Schedule.parse(spec["schedule"])
        after = parse_time(status.get("lastScheduleTime") or cron_job["metadata"]["creationTimestamp"])
        deadline = spec.get("startingDeadlineSeconds")
        if deadline is not None:
            after = max(after, now - datetime.timedelta(seconds=float(deadline)))
        due, missed = latest_strike(schedule, after, now, zone)
        if missed > 100:
            self._events.record(
                cron_job,
                "Warning",
                "TooManyMissedTimes",
                "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew",
            )
        if due is not None:
            await self._start(cron_job, status, jobs, due)
        following = schedule.next_after(now, zone)
        return None if following is None else Requeue(max((following - now).total_seconds(), 0.0) + 0.1)

    async def _start(self, cron_job: Object, status: Object, jobs: Sequence[Object], due: datetime.datetime) -> None:
        policy = cron_job["spec"].get("concurrencyPolicy") or "Allow"
        running = [job for job in jobs if not outcome(job)]
        wanted = job_of(cron_job, due)
        name = wanted["metadata"]["name"]
        if any(job["metadata"]["name"] == name for job in jobs):
            status["lastScheduleTime"] = format_time(due)
            return
        if policy == "Forbid" and running:
            message = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self._events.record(cron_job, "Normal", "JobAlreadyActive", message)
            return
        if policy == "Replace":
            for job in running:
                await self._delete(cron_job, job)
            status.pop("active", None)
        try:
            created = await self._client.create(JOBS, wanted)
        except AlreadyExists:
            status["lastScheduleTime"] = format_time(due)
            return
        except ApiError as error:
            self._events.record(cron_job, "Warning", "FailedCreate", f"Error creating job: {error}")
            raise
        self._events.record(cron_job, "Normal", "SuccessfulCreate", f"Created job {name}")
        status["active"] = [*(status.get("active") or ()), _reference(created)]
        status["lastScheduleTime"] = format_time(due)

    async def _delete(self, cron_job: Object, job: Object) -> None:
        namespace, name = key_of(job)
        try:
            await self._client.delete(JOBS, name, namespace=namespace, options={"propagationPolicy": "Background"})
        except NotFound:
            return
        self._events.record(cron_job, "Normal", "SuccessfulDelete", f"Deleted job {name}")


def _reference(job: Object) -> Object:
    metadata = job["metadata"]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "resourceVersion": metadata["resourceVersion"],
    }
