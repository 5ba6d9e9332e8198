"""
Everything that one member gets: its queue, its workers, and what is known of its objects.

    link = Link("east", client, sources, reporter)
    tasks.create_task(link.run())

Knows of no other member. Looks at one object at a time: its Placements and its template as they are now, the member's
object as it is now; first what is to go (clear.py), then what is to be there (bring.py).
"""

import asyncio
import logging
import time

from cluster.client.metrics import Gauge
from cluster.client.rest import ApiClient
from cluster.client.workqueue import ShutDown
from cluster.machinery.status_errors import ApiError
from federation.api.refs import Ref
from federation.controllers.links.brakes import DELETIONS_WAIT, HELD, QUARANTINED, Brake, is_confirmed
from federation.controllers.links.bring import Bringer
from federation.controllers.links.clear import Clearer
from federation.controllers.links.copies import Copy
from federation.controllers.links.desk import Desk
from federation.controllers.links.failures import Failure, failure_of
from federation.controllers.links.lanes import Lanes
from federation.controllers.links.member_api import MemberApi
from federation.controllers.links.parts import DELETING, FAILED, Part, part_of
from federation.controllers.links.reach import Reach
from federation.controllers.links.reports import Condition, Reporter
from federation.controllers.links.served import RETRY, Served
from federation.controllers.links.sources import Sources
from federation.controllers.links.survey import suspicion
from federation.controllers.links.waiting import ForKind, ForLeave, ForObject
from federation.controllers.links.writes import Writer
from federation.membership.health import LEAVING, READY, SUSPECT, UNREACHABLE

log = logging.getLogger(__name__)

WORKERS = 16
SHORT = 100
"""So many keys may wait before a resync adds more."""
RESYNC = 600.0  # seconds between looks at everything without a reason
BASE_BACKOFF, MAX_BACKOFF = 0.2, 60.0  # seconds
NOT_SURVEYED = "what the cluster has is being read"
QUEUE = Gauge("hanse_federation_link_queue_length", "Objects that wait for a look in a member.", ("cluster",))
HELD_COPIES = Gauge("hanse_federation_member_objects", "Objects of the federation in a member.", ("cluster",))


class Link:
    """`run` in a task; it ends when cancelled."""

    def __init__(self, name: str, client: ApiClient, sources: Sources, reporter: Reporter) -> None:
        self.name = name
        self._sources, self._reporter = sources, reporter
        self._client, self._api = client, MemberApi(name, client)
        self._served = Served(name, client, self._kinds_changed, self._copy_changed)
        self._reach = Reach(name, client, self._member_returned)
        self._queue: Lanes[Ref] = Lanes(base_backoff=BASE_BACKOFF, max_backoff=MAX_BACKOFF)
        self._desk = Desk(name, sources, reporter, self._queue, self._served, Writer(self._api))
        self._brake = Brake(name, time.monotonic)
        self._bringer = Bringer(self._desk)
        self._clearer = Clearer(self._desk, self._brake, lambda: self._quarantine)
        self._quarantine = NOT_SURVEYED
        """Why nothing may be deleted; empty when it may."""
        self._dirty: set[Ref] = set()
        """Objects that the federation changed, so that more than the member's copy has to be looked at."""
        self._echoed: set[Ref] = set()
        """Objects whose copy changed while they were worked on: most of the time by that."""
        self._stranded: set[Ref] = set()
        """Objects whose turn came while the member did not answer."""
        self._feed, self._kinds = asyncio.Event(), asyncio.Event()
        self._apis: object = None
        self._phase = ""

    async def run(self) -> None:
        """Until cancelled."""
        QUEUE.set_function(lambda: float(len(self._queue)), self.name)
        HELD_COPIES.set_function(lambda: float(len(self._served)), self.name)
        self._sources.listen(self.name, self)
        self.member_changed()
        self._feed.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._served.run(), name=f"{self.name}: kinds")
                tasks.create_task(self._reach.run(), name=f"{self.name}: reach")
                tasks.create_task(self._survey(), name=f"{self.name}: survey")
                tasks.create_task(self._resync(), name=f"{self.name}: resync")
                for number in range(WORKERS):
                    tasks.create_task(self._work(), name=f"{self.name}: worker {number}")
        finally:
            for gauge in (QUEUE, HELD_COPIES):
                gauge.forget(self.name)
            self._sources.forget(self.name)
            self._queue.shut_down()

    @property
    def conditions(self) -> list[Condition]:
        """For the status of its Cluster."""
        if self._quarantine and self._quarantine != NOT_SURVEYED:
            return [Condition(DELETIONS_WAIT, QUARANTINED, self._quarantine)]
        return [Condition(DELETIONS_WAIT, HELD, self._brake.why)] if self._brake.why else []

    # --- what happens --------------------------------------------------------------------------------------

    def changed(self, ref: Ref, *, at_once: bool) -> None:
        self._dirty.add(ref)
        self._clearer.expect(ref, self._parts(ref))
        if at_once:
            self._queue.forget(ref)
            self._queue.add(ref)
        else:
            self._queue.add_slow(ref)

    def member_changed(self) -> None:
        cluster = self._sources.cluster(self.name)
        apis = ((cluster or {}).get("status") or {}).get("apis")
        if apis != self._apis:
            self._apis = apis
            self._served.look_again()
        before, self._phase = self._phase, ((cluster or {}).get("status") or {}).get("phase") or ""
        if before == LEAVING != self._phase:
            self._feed.set()
        if before in (SUSPECT, UNREACHABLE) and self._phase == READY:
            # Our own tries are seconds apart by now, and half a minute where only watches had broken.
            self._client.came_back()
            self._reach.look_now()
        self._brake.confirmed = is_confirmed(cluster)
        if self._brake.confirmed:
            if self._quarantine != NOT_SURVEYED:
                self._end_quarantine()
            self._desk.waiting.happened(ForLeave())

    def everything_changed(self) -> None:
        self._feed.set()

    def _kinds_changed(self) -> None:
        self._kinds.set()
        self._desk.waiting.kinds_changed()

    def _copy_changed(self, ref: Ref, gone: bool) -> None:
        if ref.kind == "CustomResourceDefinition":
            self._served.look_again()
        if not gone and self._queue.is_worked_on(ref):
            self._echoed.add(ref)
            return
        memory = self._desk.memory.get(ref)
        if memory is not None and not gone and ref not in self._dirty:
            copy, settled = self._served.copy(ref), memory.settled
            if isinstance(copy, Copy) and not copy.deleting and (settled.uid, settled.print) == (copy.uid, copy.print):
                copy.body = None
                self._desk.say_applied(memory, copy)
                return
        self._queue.add(ref)

    def _member_returned(self) -> None:
        stranded, self._stranded = self._stranded, set()
        for ref in stranded:
            self._queue.forget(ref)
            self._queue.add(ref)
        self._served.look_again()

    async def _resync(self) -> None:
        while True:
            try:
                async with asyncio.timeout(RESYNC):
                    await self._feed.wait()
            except TimeoutError:
                log.debug("%s: looking at everything again", self.name)
            self._feed.clear()
            for number, ref in enumerate(self._sources.refs_for(self.name)):
                if number % SHORT == 0:
                    await self._queue.until_shorter(SHORT)
                self._dirty.add(ref)
                self._clearer.expect(ref, self._parts(ref))
                self._queue.add_slow(ref)

    # --- is the store older than the member ----------------------------------------------------------------

    async def _survey(self) -> None:
        while not self._all_read():
            await self._kinds.wait()
            self._kinds.clear()
        why = suspicion(self.name, [*self._served.copies(), *await self._unread()], self._sources)
        self._quarantine = why if not self._brake.confirmed else ""
        if self._quarantine:
            log.warning("%s", why)
        self._desk.waiting.happened(ForLeave())

    async def _unread(self) -> list[tuple[Ref, Copy]]:
        """Of kinds that no Placement names. Nothing is deleted before it is known that there is nothing strange."""
        while True:
            await self._reach.reached()
            try:
                return await self._served.unread()
            except ApiError as error:
                log.info("cluster %s does not say what it has, trying again: %s", self.name, error)
                await asyncio.sleep(RETRY)

    def _all_read(self) -> bool:
        """Whether everything is known that the member has of the kinds that concern it."""
        if not self._served.known:
            return False
        wanted = {(ref.group, ref.kind): self._sources.resource(ref) for ref in self._sources.refs_for(self.name)}
        read = True
        for kind, resource in wanted.items():
            found = (self._served.resource(resource) if resource else None) or self._served.any_version(kind)
            if found is not None and not self._served.watch(found):
                read = False
        return read

    def _end_quarantine(self) -> None:
        if self._quarantine:
            log.info("cluster %s: deletions are confirmed", self.name)
            self._quarantine = ""
            self._reporter.confirmation_used(self.name)

    # --- one object ----------------------------------------------------------------------------------------

    def _parts(self, ref: Ref) -> list[Part]:
        found = (part_of(one, self.name) for one in self._sources.placements_of(ref))
        return [part for part in found if not part.empty]

    async def _work(self) -> None:
        while True:
            await self._reach.reached()
            try:
                ref = await self._queue.get()
            except ShutDown:
                return
            dirty = ref in self._dirty
            self._dirty.discard(ref)
            try:
                await self._look_at(ref)
            except ApiError as error:
                if dirty:
                    self._dirty.add(ref)
                self._failed(ref, failure_of(error), error)
            except Exception:
                log.exception("%s: %s failed, trying again", self.name, ref)
                self._queue.add_rate_limited(ref)
            else:
                self._queue.forget(ref)
            finally:
                self._queue.done(ref)
                if ref in self._echoed:
                    self._echoed.discard(ref)
                    self._copy_changed(ref, gone=False)

    async def _look_at(self, ref: Ref) -> None:
        if self._phase == LEAVING:
            return  # whoever lets it go clears it, or leaves everything as it is
        parts = self._parts(ref)
        if not parts:
            self._desk.forget(ref)
            self._bringer.forget(ref)
            self._clearer.expect(ref, [])
            await self._clearer.clear_stray(ref)
            return
        for part in parts:
            if part.tombstones and not await self._clearer.clear(ref, part):
                return
        for part in parts:
            if part.assignment is not None or part.evicting:
                await self._bringer.bring(ref, part)
        if self._brake.used_up():
            self._reporter.confirmation_used(self.name)

    def _failed(self, ref: Ref, failure: Failure, error: ApiError) -> None:
        desk = self._desk
        if failure.without_apply and self._api.applies:
            log.info("cluster %s does not know server-side apply: %s", self.name, error)
            self._api.applies = False
        if failure.look:
            desk.doubtful.add(ref)
        if failure.lacks_namespace:
            desk.waiting.add(ref, ForObject(Ref("", "Namespace", "", ref.namespace)))
        if failure.lacks_kind:
            self._served.look_again()
            desk.waiting.add(ref, ForKind(ref.group, ref.kind))
        if failure.state:
            self._say_failed(ref, failure)
        if failure.state == FAILED:
            log.warning("cluster %s: %s: %s", self.name, ref, error)
            desk.answered(ref)
            self._clearer.gives_up(ref)
        if failure.unreachable:
            self._stranded.add(ref)
            self._reach.lost()
        elif failure.after is not None:
            self._queue.add_after(ref, failure.after)
        else:
            self._queue.add_rate_limited(ref)

    def _say_failed(self, ref: Ref, failure: Failure) -> None:
        for part in self._parts(ref):
            if part.tombstones:
                self._desk.say_of_tombstone(part, DELETING, part.tombstones[0].uid, failure.message)
            elif part.assignment is not None:
                self._desk.say(ref, part, failure.state, failure.message)
