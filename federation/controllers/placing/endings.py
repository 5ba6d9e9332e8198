"""
When a template ends: its copies become tombstones, and its Placement goes with the last of them.

Gone is only what a list of its kind does not hold and a GET does not find. Finalizers of deletions with `orphan` and
`foregroundDeletion` are carried out here, because no garbage collector works on templates.
"""

import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import replace
from enum import Enum

from cluster.api.resources import Resource
from cluster.client.discovery import preferred_resources
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object, key_of
from cluster.machinery.status_errors import NotFound, ServiceUnavailable
from cluster.machinery.timestamps import parse_time
from federation.api.refs import Ref, outliving_key, placement_key
from federation.controllers.placing.decide import Circumstances, end, merged, standing
from federation.controllers.placing.fleet import Fleet
from federation.controllers.placing.store import PlacementStore
from federation.controllers.templates import Templates
from federation.placement.left_alone import is_propagated
from federation.placement.record import DELETED, FOREGROUND, MISSING, NOT_SELECTED, ORPHAN, Record, record_of

log = logging.getLogger(__name__)

ORPHAN_FINALIZER, FOREGROUND_FINALIZER = "orphan", "foregroundDeletion"
LOOK_AGAIN = 1.0  # seconds, while our copy of a kind is behind what a GET says
PATIENCE = 5.0
"""Seconds that a namespace that ends waits for members that answer, before its tombstones move."""


class Standing(Enum):
    """What a live look at a template says."""

    GONE = "gone"
    LEFT_ALONE = "left alone"
    """It is there, and labelled so that it is no template any more."""
    THERE = "there"
    """And our copy of its kind will say so soon."""


class Endings:
    def __init__(
        self,
        client: ApiClient,
        templates: Templates,
        store: PlacementStore,
        fleet: Fleet,
        clock: Callable[[], dt.datetime],
    ) -> None:
        self._client, self._templates, self._store, self._fleet, self._clock = client, templates, store, fleet, clock
        self.asked_for: set[Ref] = set()
        """Templates that were deleted before our eyes, until their Placement says so."""

    def namespace_of(self, ref: Ref) -> Object | None:
        return self._templates.get(Ref("", "Namespace", "", ref.namespace)) if ref.namespace else None

    def is_ending(self, ref: Ref) -> bool:
        """Whether the namespace is being deleted."""
        namespace = self.namespace_of(ref)
        return namespace is not None and bool(namespace["metadata"].get("deletionTimestamp"))

    # --- a template that is gone ---------------------------------------------------------------------------

    async def gone(self, ref: Ref) -> tuple[Record | None, float | None]:
        """
        Bring the Placement of what is no template (any more) one step on.

        Returns what it is now, None when it is no more, and seconds until the next look.
        """
        stored, moved = self._store.get(ref), self._store.outliving(ref)
        if stored is None:
            return (await self._prune(ref, moved), None) if moved is not None else (None, None)
        before = record_of(stored)
        after = before
        if before.clusters or before.evicting:
            found = await self._look(ref, before)
            if found is Standing.THERE:
                return before, LOOK_AGAIN
            why = NOT_SELECTED if found is Standing.LEFT_ALONE else self._why(ref)
            after = end(before, why, self._clock())
        record = await self._settle(ref, stored, before, after)
        if record is not None and record.tombstones and self.is_ending(ref):
            return await self._move(ref, stored, record)
        return record, None

    def _why(self, ref: Ref) -> str:
        return DELETED if ref in self.asked_for or self.is_ending(ref) else MISSING

    async def _look(self, ref: Ref, before: Record) -> Standing:
        """Raises ApiError where nobody can say."""
        resource = self._templates.resource_of(ref) or await self._find_kind(ref)
        if resource is None:
            return Standing.GONE  # the kind went, and with it every object
        try:
            found = await self._client.get(resource, ref.name, namespace=ref.namespace)
        except NotFound:
            return Standing.GONE
        found = {**found, "apiVersion": resource.api_version, "kind": resource.kind}
        namespace = self.namespace_of(ref)
        if not is_propagated(found) or (ref.namespace not in ("", "default") and namespace is None):
            return Standing.LEFT_ALONE
        return Standing.GONE if found["metadata"]["uid"] != before.uid else Standing.THERE

    async def _find_kind(self, ref: Ref) -> Resource | None:
        found, missing = await preferred_resources(self._client)
        if any(one.rpartition("/")[0] == ref.group for one in missing):
            raise ServiceUnavailable(f"whether {ref} is gone cannot be said: its group does not answer")
        return next((one for one in found if (one.group, one.kind) == (ref.group, ref.kind)), None)

    async def _settle(self, ref: Ref, stored: Object, before: Record, after: Record) -> Record | None:
        """Write it without what is carried out; delete it when nothing is left."""
        around = Circumstances(now=self._clock(), members=self._fleet.members, reports=self._store.reports(stored))
        after = replace(after, tombstones=standing(after, around))
        if after.empty:
            await self._store.delete(stored)
            return None
        if after != before:
            await self._store.write(key_of(stored), ref, stored, after)
        return after

    # --- a namespace that ends -----------------------------------------------------------------------------

    async def _move(self, ref: Ref, stored: Object, record: Record) -> tuple[Record | None, float | None]:
        """Tombstones that keep their namespace from ending go where they can outlive it."""
        now = self._clock()
        waited = min((now - parse_time(one.since)).total_seconds() for one in record.tombstones)
        answering = any(self._answers(one.cluster) for one in record.tombstones)
        if answering and waited < PATIENCE:
            return record, PATIENCE - waited
        moved = self._store.outliving(ref)
        known = record_of(moved).tombstones if moved is not None else ()
        outliving = replace(record, tombstones=merged(known, record.tombstones))
        if moved is None or record_of(moved) != outliving:
            await self._store.write(outliving_key(ref), ref, moved, outliving)
        newest = self._store.get(ref)
        if newest is not None:
            await self._store.delete(newest)
        return outliving, None

    def _answers(self, cluster: str) -> bool:
        member = self._fleet.members.get(cluster)
        return member is not None and member.ready

    async def _prune(self, ref: Ref, moved: Object) -> Record | None:
        record = record_of(moved)
        return await self._settle(ref, moved, record, record)

    # --- a template that is being deleted ------------------------------------------------------------------

    async def deleting(self, ref: Ref, template: Object) -> tuple[Record | None, float | None]:
        """Carry out what its finalizers ask of us; others are somebody else's, and until then nothing changes."""
        finalizers = template["metadata"].get("finalizers") or ()
        stored = self._store.get(ref)
        if ORPHAN_FINALIZER in finalizers:
            record = await self._end(ref, stored, ORPHAN)
            await self._release(ref, template, ORPHAN_FINALIZER)
            return record, None
        if FOREGROUND_FINALIZER in finalizers:
            record = await self._end(ref, stored, FOREGROUND)
            if record is None or not any(self._reachable(one.cluster) for one in record.tombstones):
                await self._release(ref, template, FOREGROUND_FINALIZER)
            return record, None
        return (record_of(stored) if stored is not None else None), None

    async def _end(self, ref: Ref, stored: Object | None, propagation: str) -> Record | None:
        if stored is None:
            return None
        before = record_of(stored)
        after = end(before, DELETED, self._clock(), propagation)
        around = Circumstances(now=self._clock(), members=self._fleet.members, reports=self._store.reports(stored))
        after = replace(after, tombstones=standing(after, around))
        if after != before:
            await self._store.write(placement_key(ref), ref, stored, after)
        return after

    def _reachable(self, cluster: str) -> bool:
        member = self._fleet.members.get(cluster)
        return member is not None and member.reachable

    async def _release(self, ref: Ref, template: Object, finalizer: str) -> None:
        """Take a finalizer away; with the last one the template goes."""
        resource = self._templates.resource_of(ref)
        if resource is None:
            return
        metadata = template["metadata"]
        left = [one for one in metadata.get("finalizers") or () if one != finalizer]
        change = {"metadata": {"finalizers": left, "resourceVersion": metadata["resourceVersion"]}}
        try:
            await self._client.patch(resource, ref.name, change, namespace=ref.namespace)
        except NotFound:
            log.debug("%s is gone already", ref)
