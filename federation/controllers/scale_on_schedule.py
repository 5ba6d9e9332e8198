"""
Carries out ScalingSchedules: at set times a template's replicas, or an autoscaler's bounds, become others.

The placer then divides them as it divides what a user writes. Not here    what is due (placement.scaling_schedules).
"""

import datetime as dt
import logging
from collections.abc import Callable

from cluster.client.controller import Controller, Requeue
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object, key_of
from cluster.machinery.status_errors import ApiError, NotFound
from cluster.machinery.timestamps import format_time
from federation.api.refs import Ref, group_of
from federation.api.resources import SCALING_SCHEDULES
from federation.controllers.templates import Templates
from federation.placement.scaling_schedules import Due, change, due

log = logging.getLogger(__name__)

LONGEST = 3600.0
"""Seconds between looks without a reason: clocks are set, and machines sleep."""
_MESSAGE = 4096


class ScaleOnSchedule:
    """`run` in a task. Who made `templates` runs them."""

    def __init__(
        self,
        client: ApiClient,
        templates: Templates,
        schedules: Informer,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._client, self._templates, self._schedules, self._now = client, templates, schedules, now
        self._controller = Controller("scaling-schedules", self._reconcile, workers=2)
        schedules.add_handler(self._changed, lambda _old, new: self._changed(new))

    async def run(self) -> None:
        """Until cancelled."""
        await self._templates.wait_synced()
        await self._schedules.wait_synced()
        await self._controller.run()

    def _changed(self, schedule: Object) -> None:
        self._controller.queue.add(key_of(schedule))

    async def _reconcile(self, key: Key) -> Requeue | None:
        schedule = self._schedules.get(key)
        if schedule is None or schedule["metadata"].get("deletionTimestamp"):
            return None
        now = self._now()
        found = due(schedule, now)
        failures = list(found.faults)
        if found.rule is not None:
            failures += await self._scale(key, schedule["spec"]["scaleTargetRef"], found.rule)
        await self._tell(schedule, found, failures)
        if found.next_time is None:
            return None
        return Requeue(max(0.0, min((found.next_time - now).total_seconds(), LONGEST)))

    async def _scale(self, key: Key, target: Object, rule: Object) -> list[str]:
        """Why it was not done, if so. Raises ApiError for what may work another time."""
        ref = Ref(group_of(target["apiVersion"]), target["kind"], key.namespace, target["name"])
        resource, template = self._templates.resource_of(ref), self._templates.get(ref)
        if resource is None or template is None:
            return [f"rule {rule['name']}: there is no {ref}"]
        try:
            spec = change(rule, template)
            await self._client.patch(resource, ref.name, {"spec": spec}, namespace=ref.namespace, patch_type="merge")
        except ValueError as wrong:
            return [str(wrong)]
        except ApiError as refused:
            if refused.http_code >= 500 or refused.http_code == 429:
                raise
            return [f"rule {rule['name']}: {refused}"]
        log.info("%s is scaled by rule %s of ScalingSchedule %s: %s", ref, rule["name"], key, spec)
        return []

    async def _tell(self, schedule: Object, found: Due, failures: list[str]) -> None:
        before = schedule.get("status") or {}
        status = dict(before)
        if found.rule is not None and found.time is not None:
            status |= {"lastRule": found.rule["name"], "lastTime": format_time(found.time)}
        status["nextTime"] = format_time(found.next_time) if found.next_time is not None else None
        if failures or found.rule is not None or not schedule["spec"]["rules"]:
            status["failure"] = "; ".join(failures)[:_MESSAGE] or None
        if {name: value for name, value in status.items() if value is not None} == before:
            return
        key = key_of(schedule)
        version = {"resourceVersion": schedule["metadata"]["resourceVersion"]}
        body = {"metadata": version, "status": status}
        try:
            await self._client.patch(
                SCALING_SCHEDULES, key.name, body, namespace=key.namespace, subresource="status", patch_type="merge"
            )
        except NotFound:
            return  # somebody deleted it just now
