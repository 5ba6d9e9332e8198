"""
Delete what its owners left behind: in the background, before the owner (foreground), or let it go (orphan).

Watches the metadata of everything that discovery serves, custom resources too. An owner that the graph does not know
is asked for live before anything is deleted on its behalf.
Source: kube-controller-manager, pkg/controller/garbagecollector.
"""

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass

from cluster.api.resources import Resource
from cluster.client.controller import Requeue
from cluster.client.discovery import preferred_resources
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.client.workqueue import WorkQueue
from cluster.controller_manager.context import Context
from cluster.controller_manager.owner_graph import FOREGROUND, ORPHAN, Node, OwnerGraph, OwnerRef
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, Conflict, NotFound

log = logging.getLogger(__name__)

DISCOVERY_PERIOD = 30.0  # seconds
WORKERS = 20
ABSENT_KEPT = 500
"""Owners known to be gone; thousands of dependents of one owner ask once."""
IGNORED = frozenset({"events", "events.events.k8s.io"})
"""They own nothing and are owned by nobody, and there are many of them."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the owners of an object are: `solid` ones keep it, `waiting` ones are deleted in the foreground."""

    solid: tuple[OwnerRef, ...]
    gone: tuple[OwnerRef, ...]
    waiting: tuple[OwnerRef, ...]


def propagation(node: Node) -> str:
    """How an object that is collected takes its own dependents along: as it was asked to itself."""
    if ORPHAN in node.finalizers:
        return "Orphan"
    return "Foreground" if FOREGROUND in node.finalizers else "Background"


class GarbageCollector:
    def __init__(self, context: Context) -> None:
        self._client: ApiClient = context.client
        self._graph = OwnerGraph()
        self._queue: WorkQueue[str] = WorkQueue()
        self._shared = context.informers
        self._watched: dict[tuple[str, str, str], tuple[Informer, asyncio.Task[None] | None]] = {}
        self._kinds: dict[tuple[str, str], Resource] = {}
        self._absent: OrderedDict[str, None] = OrderedDict()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            await self._follow_discovery(tasks)
            for informer, _ in list(self._watched.values()):
                # One resource that cannot be listed must not keep the rest from being collected.
                try:
                    async with asyncio.timeout(30):
                        await informer.wait_synced()
                except TimeoutError:
                    log.warning("%s could not be listed yet; collecting without it", informer.resource.qualified)
            for number in range(WORKERS):
                tasks.create_task(self._work(), name=f"garbage collector {number}")
            while True:
                await asyncio.sleep(DISCOVERY_PERIOD)
                await self._follow_discovery(tasks)

    # --- watching everything -------------------------------------------------------------------------------

    async def _follow_discovery(self, tasks: asyncio.TaskGroup) -> None:
        try:
            found, missing = await preferred_resources(self._client)
        except ApiError as error:
            log.warning("garbage collection goes on with the resources known: %s", error)
            return
        wanted = {
            (r.group, r.version, r.plural): r
            for r in found
            if {"list", "watch", "delete"} <= r.verbs and r.qualified not in IGNORED
        }
        self._kinds |= {(r.api_version, r.kind): r for r in wanted.values()}
        for key in self._watched.keys() - wanted.keys():
            if f"{key[0]}/{key[1]}" in missing:
                continue  # not gone, only silent
            informer, task = self._watched.pop(key)
            if task is not None:
                task.cancel()
            for obj in informer.list():
                self._deleted(obj)
        for key in wanted.keys() - self._watched.keys():
            shared = self._shared.existing(wanted[key])
            if shared is not None:  # somebody watches it whole already
                self._connect(shared)
                self._watched[key] = (shared, None)
                continue
            informer = Informer(self._client, wanted[key], metadata_only=True)
            self._connect(informer)
            self._watched[key] = (informer, tasks.create_task(informer.run(), name=f"gc {wanted[key].qualified}"))

    def _connect(self, informer: Informer) -> None:
        resource = informer.resource

        def changed(obj: Object) -> None:
            before = self._graph.get(obj["metadata"]["uid"])
            node = self._graph.put(resource, obj)
            if node.owners or node.waits_for_dependents or node.orphans_dependents:
                self._queue.add(node.uid)
            # Owners that no longer block: their foreground deletion may go on.
            for owner in before.owners if before is not None else ():
                if owner not in node.owners:
                    self._nudge(owner.uid)
            if node.waits_for_dependents:
                for dependent in self._graph.dependents(node.uid):
                    self._queue.add(dependent.uid)

        informer.add_handler(changed, lambda _, new: changed(new), self._deleted)

    def _deleted(self, obj: Object) -> None:
        uid = obj["metadata"]["uid"]
        self._note_absent(uid)
        dependents, owners = self._graph.remove(uid)
        for dependent in dependents:
            self._queue.add(dependent)
        for owner in owners:
            self._nudge(owner)

    def _nudge(self, uid: str) -> None:
        node = self._graph.get(uid)
        if node is not None and node.waits_for_dependents:
            self._queue.add(uid)

    def _note_absent(self, uid: str) -> None:
        self._absent[uid] = None
        if len(self._absent) > ABSENT_KEPT:
            self._absent.popitem(last=False)

    # --- deciding ------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            uid = await self._queue.get()
            try:
                requeue = await self._collect(uid)
                self._queue.forget(uid)
                if requeue is not None:
                    self._queue.add_after(uid, requeue.after)
            except (Conflict, NotFound) as stale:
                log.debug("garbage collector: %s", stale)
                self._queue.add_rate_limited(uid)
            except ApiError as error:
                log.warning("garbage collector: %s", error)
                self._queue.add_rate_limited(uid)
            except Exception:
                log.exception("garbage collector: object %s", uid)
                self._queue.add_rate_limited(uid)
            finally:
                self._queue.done(uid)

    async def _collect(self, uid: str) -> Requeue | None:
        node = self._graph.get(uid)
        if node is None:
            return None
        if node.orphans_dependents:
            await self._orphan_dependents(node)
            return None
        if node.waits_for_dependents:
            return await self._finish_foreground(node)
        if node.being_deleted or not node.owners:
            return None
        latest = await self._latest(node)
        if latest is None:
            dependents, _ = self._graph.remove(uid)
            self._note_absent(uid)
            for dependent in dependents:
                self._queue.add(dependent)
            return None
        node = self._graph.put(node.resource, latest)
        verdict = await self._judge(node)
        if verdict.solid:
            if verdict.gone or verdict.waiting:
                await self._drop_owners(node, {o.uid for o in (*verdict.gone, *verdict.waiting)})
            return None
        if verdict.waiting and self._graph.dependents(uid):
            await self._delete(node, "Foreground")  # whoever waits for it waits for its dependents too
        elif verdict.waiting or verdict.gone:
            await self._delete(node, propagation(node))
        return None

    async def _judge(self, node: Node) -> Verdict:
        solid, gone, waiting = [], [], []
        for owner in node.owners:
            state = await self._state_of(owner, node)
            if state is None:
                gone.append(owner)
            elif state:
                waiting.append(owner)
            else:
                solid.append(owner)
        return Verdict(tuple(solid), tuple(gone), tuple(waiting))

    async def _state_of(self, owner: OwnerRef, dependent: Node) -> bool | None:
        """None: gone. True: being deleted and waiting for this dependent. False: alive."""
        if owner.uid in self._absent:
            return None
        known = self._graph.get(owner.uid)
        if known is not None:
            # A namespaced owner in another namespace owns nothing here, whatever the reference says.
            if known.resource.namespaced and known.key.namespace != dependent.key.namespace:
                return None
            return known.waits_for_dependents and owner.blocks
        resource = self._kinds.get((owner.api_version, owner.kind)) or await self._look_up(owner)
        if resource is None:
            raise NotFound(
                f"{dependent.resource.qualified} {dependent.key} is owned by a {owner.api_version} {owner.kind} "
                f"{owner.name}, which the apiserver does not serve: it is kept"
            )
        namespace = dependent.key.namespace if resource.namespaced else ""
        if resource.namespaced and not namespace:
            return None  # a cluster-scoped object cannot be owned by a namespaced one
        try:
            live = await self._client.get(resource, owner.name, namespace=namespace)
        except NotFound:
            self._note_absent(owner.uid)
            return None
        if live["metadata"]["uid"] != owner.uid:
            self._note_absent(owner.uid)
            return None
        being_deleted = bool(live["metadata"].get("deletionTimestamp"))
        return being_deleted and FOREGROUND in (live["metadata"].get("finalizers") or ()) and owner.blocks

    async def _look_up(self, owner: OwnerRef) -> Resource | None:
        """A version that is served but not preferred."""
        group = owner.api_version.rpartition("/")[0]
        for (api_version, kind), resource in self._kinds.items():
            if kind == owner.kind and api_version.rpartition("/")[0] == group:
                return resource
        return None

    async def _latest(self, node: Node) -> Object | None:
        try:
            live = await self._client.get(node.resource, node.key.name, namespace=node.key.namespace)
        except NotFound:
            return None
        return live if live["metadata"]["uid"] == node.uid else None

    # --- acting --------------------------------------------------------------------------------------------

    async def _delete(self, node: Node, policy: str) -> None:
        options = {"preconditions": {"uid": node.uid}, "propagationPolicy": policy}
        try:
            await self._client.delete(node.resource, node.key.name, namespace=node.key.namespace, options=options)
        except NotFound:
            self._note_absent(node.uid)
            return
        log.info("collected %s %s (%s)", node.resource.qualified, node.key, policy)

    async def _drop_owners(self, node: Node, uids: set[str]) -> None:
        """Take references out of an object that has other, living owners."""
        live = await self._latest(node)
        if live is None:
            return
        kept = [o for o in live["metadata"].get("ownerReferences") or () if o["uid"] not in uids]
        patch = {
            "metadata": {
                "uid": node.uid,
                "resourceVersion": live["metadata"]["resourceVersion"],
                "ownerReferences": kept,
            }
        }
        await self._client.patch(node.resource, node.key.name, patch, namespace=node.key.namespace)

    async def _orphan_dependents(self, node: Node) -> None:
        for dependent in self._graph.dependents(node.uid):
            await self._drop_owners(dependent, {node.uid})
        await self._remove_finalizer(node, ORPHAN)

    async def _finish_foreground(self, node: Node) -> Requeue | None:
        """Once no blocking dependent is left, the owner may go."""
        blocking = [
            d for d in self._graph.dependents(node.uid) if any(o.uid == node.uid and o.blocks for o in d.owners)
        ]
        if blocking:
            for dependent in blocking:
                if not dependent.being_deleted:
                    self._queue.add(dependent.uid)
            return None
        for dependent in self._graph.dependents(node.uid):
            self._queue.add(dependent.uid)
        await self._remove_finalizer(node, FOREGROUND)
        return None

    async def _remove_finalizer(self, node: Node, finalizer: str) -> None:
        live = await self._latest(node)
        if live is None:
            return
        kept = [f for f in live["metadata"].get("finalizers") or () if f != finalizer]
        patch = {
            "metadata": {
                "uid": node.uid,
                "resourceVersion": live["metadata"]["resourceVersion"],
                "finalizers": kept,
            }
        }
        await self._client.patch(node.resource, node.key.name, patch, namespace=node.key.namespace)
