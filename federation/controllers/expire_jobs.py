"""
Deletes Jobs of the federation that are finished and whose time to live is over.

Members are not told that time: one that deleted its copy by itself would be given it again, and would run it again.
Not here    when it is over (federation.placement.expiry).
"""

import datetime as dt
from collections.abc import Callable

from cluster.api import resources
from cluster.client.controller import Controller, Requeue
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object
from cluster.machinery.status_errors import Conflict, NotFound
from federation.api.refs import Ref, ref_of
from federation.controllers.templates import Change, Templates
from federation.placement.expiry import expiry_of
from federation.placement.workloads import JOB

JOBS = resources.named("jobs.batch")
LONGEST = 3600.0
"""Seconds between looks without a reason: clocks are set, and machines sleep."""


class ExpireJobs:
    """
    `run` in a task, and call `changed` for every status that was written. Who made `templates` runs them.

    Args:
        read: a template with the newest status, see AggregateStatus.
    """

    def __init__(
        self,
        client: ApiClient,
        templates: Templates,
        read: Callable[[Ref], Object | None],
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._client, self._templates, self._read, self._now = client, templates, read, now
        self._controller = Controller("expire-jobs", self._reconcile, workers=2)
        templates.listen(self._template_changed)

    async def run(self) -> None:
        """Until cancelled."""
        await self._templates.wait_synced()
        for job in self._templates.list_kind(*JOB):
            self.changed(ref_of(job))
        await self._controller.run()

    def changed(self, ref: Ref) -> None:
        if (ref.group, ref.kind) == JOB:
            self._controller.queue.add(Key(ref.namespace, ref.name))

    def _template_changed(self, ref: Ref, change: Change) -> None:
        if change in (Change.LISTED, Change.CHANGED):
            self.changed(ref)

    async def _reconcile(self, key: Key) -> Requeue | None:
        job = self._read(Ref(*JOB, key.namespace, key.name))
        if job is None or job["metadata"].get("deletionTimestamp"):
            return None
        end = expiry_of(job)
        if end is None:
            return None
        left = (end - self._now()).total_seconds()
        if left > 0:
            return Requeue(min(left, LONGEST))
        options = {"propagationPolicy": "Background", "preconditions": {"uid": job["metadata"]["uid"]}}
        try:
            await self._client.delete(JOBS, key.name, namespace=key.namespace, options=options)
        except (NotFound, Conflict):
            return None  # it is gone, or another one
        return None
