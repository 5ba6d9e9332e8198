"""
Writes what links found into Placements' status: one writer, however many members there are.

What somebody waits for (the last first Applied, Gone) is written at once, with what else is there at that moment; a
first Applied waits a moment for those of the other members, once a second; other changes of one Placement are written
at most twice a second. What is written already is not written again. Agents in members
write entries of their own: a write names the version it is made from, and is made again from the newer one on
conflict.
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Mapping

from cluster.client.controller import run_workers
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.client.workqueue import WorkQueue
from cluster.machinery.objects import Key, Object, key_of
from cluster.machinery.status_errors import ApiError, Conflict, NotFound
from cluster.machinery.timestamps import format_time
from federation.api.resources import CLUSTER_PLACEMENTS, CLUSTERS, PLACEMENTS
from federation.controllers.links.brakes import CONFIRM
from federation.controllers.links.parts import APPLIED, GONE, clusters_of
from federation.controllers.links.reports import Found
from federation.placement.scheduled import SCHEDULED, is_scheduled, scheduled_condition

log = logging.getLogger(__name__)

GATHER = 0.02  # seconds: members answer one after the other
TOGETHER, APART = 0.2, 1.0  # seconds that a first Applied waits for the others, and after the write before
QUIET = 0.5  # seconds between two writes of one Placement that nobody waits for
WORKERS = 8
TRIES = 5


class StatusReporter:
    """`run` in a task. Owned by one event loop."""

    def __init__(self, client: ApiClient, placements: Informer, cluster_placements: Informer) -> None:
        self._client = client
        self._placements, self._cluster_placements = placements, cluster_placements
        self._found: dict[Key, dict[str, Found | None]] = {}
        self._written: dict[Key, float] = {}
        """When a Placement was written last; only while that matters."""
        self._newest: dict[Key, Object] = {}
        """What our last write was answered, until the informer has it."""
        self._queue: WorkQueue[Key] = WorkQueue(base_backoff=0.2, max_backoff=30.0)
        self._used: asyncio.Queue[str] = asyncio.Queue()
        """Clusters whose confirmation is used up."""

    async def run(self) -> None:
        """Until cancelled."""
        for informer in (self._placements, self._cluster_placements):
            informer.add_handler(self._note_schedule, lambda _, new: self._seen(new), self._forget)
        async with asyncio.TaskGroup() as tasks:
            work = run_workers("placement-status", self._queue, self._write, workers=WORKERS)
            tasks.create_task(work, name="status of placements")
            tasks.create_task(self._take_confirmations(), name="confirmations of deletions")

    def report(self, home: Key, cluster: str, found: Found | None) -> None:
        """Say what was found; None: nothing is to be said of this cluster any more. Returns at once."""
        base = self._base(home)
        if base is None:
            return
        before = _entry(base, cluster)
        pending = self._found.setdefault(home, {})
        pending[cluster] = found
        since = asyncio.get_running_loop().time() - self._written.get(home, 0.0)
        if found is None or found.state not in (APPLIED, GONE) or _says(before, found):
            self._queue.add_after(home, max(GATHER, QUIET - since))
        elif found.state == GONE or _are_all_applied(base, pending):
            self._queue.add_after(home, GATHER)
        else:
            self._queue.add_after(home, max(TOGETHER, APART - since))

    def confirmation_used(self, cluster: str) -> None:
        """Take the annotation that confirms deletions from the Cluster: what it was given for is done."""
        self._used.put_nowait(cluster)

    # --- writing -------------------------------------------------------------------------------------------

    async def _take_confirmations(self) -> None:
        while True:
            cluster = await self._used.get()
            patch = {"metadata": {"annotations": {CONFIRM: None}}}
            try:
                await self._client.patch(CLUSTERS, cluster, patch, patch_type="merge")
            except NotFound:
                log.info("cluster %s left with its confirmation", cluster)
            except ApiError as error:
                log.warning("cluster %s keeps its annotation %s, remove it: %s", cluster, CONFIRM, error)

    async def _write(self, home: Key) -> None:
        found = self._found.pop(home, {})
        base = self._base(home)
        try:
            for attempt in range(TRIES):
                if base is None:
                    return
                status = status_with(base, found, format_time(dt.datetime.now(dt.UTC)))
                if status == (base.get("status") or {}):
                    return
                try:
                    await self._send(home, base, status)
                except Conflict:
                    if attempt == TRIES - 1:
                        raise
                    base = await self._read(home)
                else:
                    return
        except ApiError:
            # What came meanwhile is newer.
            self._found[home] = {**found, **self._found.get(home, {})}
            raise

    async def _send(self, home: Key, base: Object, status: Object) -> None:
        metadata = {"resourceVersion": base["metadata"]["resourceVersion"], "uid": base["metadata"]["uid"]}
        resource = PLACEMENTS if home.namespace else CLUSTER_PLACEMENTS
        patch = {"metadata": metadata, "status": status}
        try:
            answer = await self._client.patch(
                resource, home.name, patch, namespace=home.namespace, patch_type="merge", subresource="status"
            )
        except NotFound:
            return
        loop = asyncio.get_running_loop()
        cached = self._cached(home)
        if cached is None or _version(cached) < _version(answer):  # else the watch was faster than the answer
            self._newest[home] = answer
        self._written[home] = loop.time()
        loop.call_later(2 * QUIET, self._written.pop, home, None)

    async def _read(self, home: Key) -> Object | None:
        resource = PLACEMENTS if home.namespace else CLUSTER_PLACEMENTS
        try:
            return await self._client.get(resource, home.name, namespace=home.namespace)
        except NotFound:
            return None

    # --- what is known -------------------------------------------------------------------------------------

    def _cached(self, home: Key) -> Object | None:
        return (self._placements if home.namespace else self._cluster_placements).get(home)

    def _base(self, home: Key) -> Object | None:
        cached = self._cached(home)
        newest = self._newest.get(home)
        if newest is None or cached is None or newest["metadata"]["uid"] != cached["metadata"]["uid"]:
            return cached
        return newest if _version(newest) > _version(cached) else cached

    def _note_schedule(self, placement: Object) -> None:
        """What has no place anywhere, no link has anything to say of."""
        conditions = (placement.get("status") or {}).get("conditions") or ()
        said = next((one["status"] for one in conditions if one["type"] == SCHEDULED), "True")
        if (said == "True") != is_scheduled(placement["spec"]):
            self._queue.add_after(key_of(placement), GATHER)

    def _seen(self, placement: Object) -> None:
        self._note_schedule(placement)
        home = Key(placement["metadata"].get("namespace") or "", placement["metadata"]["name"])
        newest = self._newest.get(home)
        if newest is not None and _version(newest) <= _version(placement):
            del self._newest[home]

    def _forget(self, placement: Object) -> None:
        home = Key(placement["metadata"].get("namespace") or "", placement["metadata"]["name"])
        for known in (self._newest, self._found, self._written):
            known.pop(home, None)


def _version(obj: Object) -> int:
    """Of an object of our own apiserver, whose versions are numbers."""
    return int(obj["metadata"]["resourceVersion"])


def _entry(placement: Object, cluster: str) -> Object | None:
    for one in (placement.get("status") or {}).get("clusters") or ():
        if one["name"] == cluster:
            found: Object = one
            return found
    return None


def _says(entry: Object | None, found: Found) -> bool:
    return entry is not None and entry["state"] == found.state and entry.get("uid", "") == found.uid


def _are_all_applied(placement: Object, pending: Mapping[str, Found | None]) -> bool:
    """With what waits to be written."""
    spec, entries = placement["spec"], (placement.get("status") or {}).get("clusters") or ()
    wanted = spec.get("clusters") or ()
    if len(pending) + len(entries) < len(wanted):
        return False
    there = {entry["name"] for entry in entries if _is_current(spec["template"], entry)}
    there.update(name for name, one in pending.items() if one is not None and one.state == APPLIED)
    return all(one["name"] in there for one in wanted)


def status_with(placement: Object, found: Mapping[str, Found | None], now: str) -> Object:
    """The status with what was found in it; entries of clusters that the spec no longer names are left out. Pure."""
    before = placement.get("status") or {}
    named = clusters_of(placement)
    entries = {one["name"]: one for one in before.get("clusters") or ()}
    for cluster, one in found.items():
        if one is None:
            entries.pop(cluster, None)
        else:
            entries[cluster] = one.entry(cluster)
    clusters = [entries[name] for name in sorted(entries) if name in named]
    conditions = {one["type"]: one for one in before.get("conditions") or ()}
    applied = _applied(placement["spec"], clusters, conditions.pop("Applied", None), now)
    scheduled = scheduled_condition(placement["spec"], conditions.pop(SCHEDULED, None), now)
    status: Object = {**before, "clusters": clusters, "conditions": [applied, scheduled, *conditions.values()]}
    status["observedGeneration"] = placement["metadata"].get("generation") or 0
    return status


def _applied(spec: Object, clusters: list[Object], old: Object | None, now: str) -> Object:
    wanted = [one["name"] for one in spec.get("clusters") or ()]
    known = {one["name"]: one for one in clusters}
    lacking = [name for name in wanted if not _is_current(spec["template"], known.get(name))]
    condition: Object = {"type": "Applied", "status": "False" if lacking else "True"}
    condition["reason"] = "NotEverywhere" if lacking else "Everywhere"
    condition["message"] = (
        f"{len(wanted) - len(lacking)} of {len(wanted)} clusters have it; without: {', '.join(lacking[:5])}"
        if lacking
        else f"{len(wanted)} clusters have it"
    )
    same = old is not None and old["status"] == condition["status"]
    condition["lastTransitionTime"] = old["lastTransitionTime"] if same and old is not None else now
    return condition


def _is_current(template: Object, entry: Object | None) -> bool:
    return (
        entry is not None
        and entry["state"] == APPLIED
        and entry.get("uid", "") == (template.get("uid") or "")
        and (entry.get("observed") or 0) >= (template.get("generation") or 0)
    )
