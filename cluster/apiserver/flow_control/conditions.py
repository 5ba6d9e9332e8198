"""
FlowSchemas say in their status whether the priority level that they name exists.

Every apiserver does this, as upstream's do; whoever comes later finds it said already.
Source: k8s.io/apiserver, pkg/util/flowcontrol/apf_controller.go.
"""

import asyncio
import logging

from cluster.api import resources
from cluster.apiserver.registry import rules
from cluster.apiserver.registry.generic import WriteContext, Writer, now_text
from cluster.apiserver.registry.registry import Registry
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError
from cluster.store.backend import StoreError

log = logging.getLogger(__name__)

FLOW_SCHEMAS = resources.named("flowschemas.flowcontrol.apiserver.k8s.io")
PRIORITY_LEVELS = resources.named("prioritylevelconfigurations.flowcontrol.apiserver.k8s.io")
MANAGER = "api-priority-and-fairness-config-consumer-v1"
RETRY = 5.0


def dangling(level: str, *, exists: bool) -> Object:
    """The condition, without its time."""
    named = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}"'
    if exists:
        return {"type": "Dangling", "status": "False", "reason": "Found", "message": f"{named} and it exists"}
    why = f"{named} but there is no such object"
    return {"type": "Dangling", "status": "True", "reason": "NotFound", "message": why}


def missing_condition(schema: Object, *, exists: bool) -> Object | None:
    """What the schema's status should say and does not."""
    wanted = dangling(schema["spec"]["priorityLevelConfiguration"]["name"], exists=exists)
    for found in (schema.get("status") or {}).get("conditions") or []:
        if found.get("type") == "Dangling":
            if all(found.get(field) == value for field, value in wanted.items()):
                return None
            same = found.get("status") == wanted["status"] and found.get("lastTransitionTime")
            return {**wanted, "lastTransitionTime": same or now_text()}
    return {**wanted, "lastTransitionTime": now_text()}


class FlowSchemaConditions:
    def __init__(self, registry: Registry, writer: Writer) -> None:
        self._registry = registry
        self._writer = writer
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """For ever: looks whenever a schema or a level changed."""
        for resource in (FLOW_SCHEMAS, PRIORITY_LEVELS):
            cache = self._registry.kind(resource).cache
            cache.subscribe(lambda change: self._changed.set(), self._changed.set)
        while True:
            self._changed.clear()
            pause = 0.0
            for schema in self._registry.list(FLOW_SCHEMAS):
                try:
                    await self._look_at(schema)
                except (ApiError, StoreError) as fault:
                    log.info("the status of FlowSchema %s waits: %s", schema["metadata"]["name"], fault)
                    pause = RETRY
            if pause:
                await asyncio.sleep(pause)
            else:
                await self._changed.wait()

    async def _look_at(self, schema: Object) -> None:
        name = schema["metadata"]["name"]
        level = schema["spec"]["priorityLevelConfiguration"]["name"]
        exists = self._registry.get(PRIORITY_LEVELS, "", level) is not None
        if missing_condition(schema, exists=exists) is None:
            return

        async def make(live: Object) -> Object:
            condition = missing_condition(live, exists=exists)
            if condition is None:
                return live
            config: Object = {
                "apiVersion": FLOW_SCHEMAS.api_version,
                "kind": FLOW_SCHEMAS.kind,
                "metadata": {"name": name},
                "status": {"conditions": [condition]},
            }
            merged: Object = rules.managed_fields.apply(FLOW_SCHEMAS, live, config, MANAGER, True, now_text(), "status")
            return merged

        context = WriteContext(field_manager=MANAGER, track_fields=False)
        kind = self._registry.kind(FLOW_SCHEMAS)
        await self._writer.update(kind, "", name, make, context, subresource="status")
