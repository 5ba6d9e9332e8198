"""
Everything that one member gets: its queue, its workers, and what is known of its objects.

    link = Link("east", client, sources, reporter)
    tasks.create_task(link.run())

Knows of no other member. Looks at one object at a time: its Placements and its template as they are now, the member's
object as it is now; first what is to go, then what is to be there.
Not here    what is decided (decide.py), what is sent (writes.py), who is told (reporter.py).
"""

import asyncio
import logging
import time
from collections.abc import Hashable
from dataclasses import dataclass

from cluster.api.resources import Resource
from cluster.client.metrics import Counter, Gauge
from cluster.client.rest import ApiClient
from cluster.client.workqueue import ShutDown
from cluster.machinery.objects import Key, Object
from cluster.machinery.status_errors import ApiError
from federation.api.refs import Ref, group_of
from federation.controllers.links import fights
from federation.controllers.links.copies import Copy, first_difference, owners_of
from federation.controllers.links.decide import (
    Action,
    Adopt,
    Apply,
    Create,
    Delete,
    Fail,
    Going,
    Known,
    Look,
    Nowhere,
    Release,
    Rendered,
    Settled,
    Verify,
    Wait,
    decide,
    decide_ending,
)
from federation.controllers.links.failures import Failure, failure_of
from federation.controllers.links.lanes import Lanes
from federation.controllers.links.member_api import MemberApi
from federation.controllers.links.parts import (
    APPLIED,
    CONFLICT,
    DELETING,
    FAILED,
    GONE,
    PENDING,
    Part,
    Tombstone,
    part_of,
)
from federation.controllers.links.reach import Reach
from federation.controllers.links.rendering import rendered_for
from federation.controllers.links.reports import Found, Reporter
from federation.controllers.links.served import Served
from federation.controllers.links.sources import Sources
from federation.controllers.links.writes import Taken, Writer
from federation.placement.members import member_of

log = logging.getLogger(__name__)

WORKERS = 16
SHORT = 100
"""So many keys may wait before a resync adds more."""
RESYNC = 600.0  # seconds between looks at everything without a reason
RELOOK = 60.0  # seconds between looks at what is not ours, and therefore not watched
BASE_BACKOFF, MAX_BACKOFF = 0.2, 60.0  # seconds
QUEUE = Gauge("hanse_federation_link_queue_length", "Objects that wait for a look in a member.", ("cluster",))
DRIFTS = Counter("hanse_federation_drift_corrections_total", "Changes in members that were set back.", ("cluster",))
CONFLICTS = Counter("hanse_federation_conflicts_total", "Objects in members that nobody federated.", ("cluster",))


@dataclass(frozen=True, slots=True)
class _Memory:
    """The last time an object was as it should be."""

    settled: Settled
    home: Key
    uid: str
    """Of the template."""
    observed: int | None


class Link:
    """`run` in a task; it ends when cancelled."""

    def __init__(self, name: str, client: ApiClient, sources: Sources, reporter: Reporter) -> None:
        self.name = name
        self._sources, self._reporter = sources, reporter
        self._api = MemberApi(name, client)
        self._writer = Writer(self._api)
        self._served = Served(name, client, self._kinds_changed, self._copy_changed)
        self._reach = Reach(name, client, self._member_returned)
        self._queue: Lanes[Ref] = Lanes(base_backoff=BASE_BACKOFF, max_backoff=MAX_BACKOFF)
        self._dirty: set[Ref] = set()
        """Objects that the federation changed, so that more than the member's copy has to be looked at."""
        self._memory: dict[Ref, _Memory] = {}
        self._fights: dict[Ref, fights.Fight] = {}
        self._doubtful: set[Ref] = set()
        """What is known of them is out of date."""
        self._stranded: set[Ref] = set()
        """Objects whose turn came while the member did not answer."""
        self._waiting: dict[Hashable, set[Ref]] = {}
        """Kinds and objects that have to be there first -> who waits for them."""
        self._tried: set[Ref] = set()
        """Objects whose first write was answered, however."""
        self._feed = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        QUEUE.set_function(lambda: float(len(self._queue)), self.name)
        self._sources.listen(self.name, self)
        self._feed.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._served.run(), name=f"{self.name}: kinds")
                tasks.create_task(self._reach.run(), name=f"{self.name}: reach")
                tasks.create_task(self._resync(), name=f"{self.name}: resync")
                for number in range(WORKERS):
                    tasks.create_task(self._work(), name=f"{self.name}: worker {number}")
        finally:
            self._sources.forget(self.name)
            self._queue.shut_down()

    # --- what happens --------------------------------------------------------------------------------------

    def changed(self, ref: Ref, *, at_once: bool) -> None:
        self._dirty.add(ref)
        if at_once:
            self._queue.forget(ref)
            self._queue.add(ref)
        else:
            self._queue.add_slow(ref)

    def member_changed(self) -> None:
        self._served.look_again()

    def everything_changed(self) -> None:
        self._feed.set()

    def _kinds_changed(self) -> None:
        for kind in [one for one in self._waiting if isinstance(one, tuple) and len(one) == 2]:
            self._wake(kind)

    def _copy_changed(self, ref: Ref, gone: bool) -> None:
        if ref.kind == "CustomResourceDefinition":
            self._served.look_again()
        memory = self._memory.get(ref)
        if memory is not None and not gone and ref not in self._dirty:
            copy = self._served.copy(ref)
            if isinstance(copy, Copy) and not copy.deleting and _is_settled(memory.settled, copy):
                copy.body = None
                self._say_applied(memory, copy)
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
                self._queue.add_slow(ref)

    def _wait_for(self, ref: Ref, needed: Hashable) -> None:
        self._waiting.setdefault(needed, set()).add(ref)

    def _wake(self, needed: Hashable) -> None:
        for ref in self._waiting.pop(needed, ()):
            self._queue.add(ref)

    # --- one object ----------------------------------------------------------------------------------------

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

    async def _look_at(self, ref: Ref) -> None:
        parts = [part for one in self._sources.placements_of(ref) if not (part := part_of(one, self.name)).empty]
        if not parts:
            self._forget(ref)
            return
        for part in parts:
            if part.tombstones and not await self._end(ref, part):
                return
        for part in parts:
            if part.assignment is not None or part.evicting:
                await self._place(ref, part)

    def _forget(self, ref: Ref) -> None:
        self._memory.pop(ref, None)
        self._fights.pop(ref, None)
        self._tried.discard(ref)

    def _failed(self, ref: Ref, failure: Failure, error: ApiError) -> None:
        if failure.without_apply and self._api.applies:
            log.info("cluster %s does not know server-side apply: %s", self.name, error)
            self._api.applies = False
        if failure.look:
            self._doubtful.add(ref)
        if failure.lacks_namespace:
            self._wait_for(ref, Ref("", "Namespace", "", ref.namespace))
        if failure.lacks_kind:
            self._served.look_again()
            self._wait_for(ref, (ref.group, ref.kind))
        if failure.state:
            self._say_failed(ref, failure)
        if failure.state == FAILED:
            log.warning("cluster %s: %s: %s", self.name, ref, error)
            self._answered(ref)
        if failure.unreachable:
            self._stranded.add(ref)
            self._reach.lost()
        elif failure.after is not None:
            self._queue.add_after(ref, failure.after)
        else:
            self._queue.add_rate_limited(ref)

    # --- what is to go -------------------------------------------------------------------------------------

    async def _end(self, ref: Ref, part: Part) -> bool:
        """Carry out tombstones; whether all are."""
        self._memory.pop(ref, None)
        for tombstone in part.tombstones:
            state = await self._end_one(ref, tombstone)
            if state != GONE:
                self._reporter.report(part.home, self.name, Found(DELETING, uid=tombstone.uid, message=state))
                return False
        self._reporter.report(part.home, self.name, Found(GONE, uid=part.tombstones[0].uid))
        self._tried.discard(ref)
        return True

    async def _end_one(self, ref: Ref, tombstone: Tombstone) -> str:
        """GONE, or why it is not yet."""
        kind = (ref.group, ref.kind)
        resource = self._served.any_version(kind)
        if resource is None:
            if self._served.is_gone(kind):
                return GONE
            self._wait_for(ref, kind)
            return "the cluster does not say whether it serves this kind"
        if not self._served.watch(resource):
            self._wait_for(ref, kind)
            return "the objects of the cluster are being read"
        known = self._known(ref)
        for _ in range(2):
            ending = decide_ending(tombstone, known, kind)
            if not isinstance(ending, Look):
                break
            known = await self._ask(ref, resource)
        match ending:
            case Delete():
                if await self._writer.delete(resource, ref, ending.uid, ending.propagation):
                    return GONE
                return "its finalizers run in the cluster"
            case Release():
                await self._writer.release(resource, ref)
                return GONE
            case Going():
                return "its finalizers run in the cluster"
            case _:
                return GONE

    # --- what is to be there -------------------------------------------------------------------------------

    async def _place(self, ref: Ref, part: Part) -> None:
        template = self._sources.template(ref)
        if template is None:
            return  # deleted, or not read yet: the placer decides
        resource = self._resource_for(ref, part, template)
        if resource is None:
            return
        rendered = self._render(template, part)
        memory = self._memory.get(ref)
        known = self._known(ref)
        action: Action = Look()
        for _ in range(2):
            action = decide(part, rendered, known, memory.settled if memory else None)
            if not isinstance(action, Look):
                break
            known = await self._ask(ref, resource)
        await self._carry_out(ref, part, resource, rendered, known, action)

    def _resource_for(self, ref: Ref, part: Part, template: Object) -> Resource | None:
        """The member's, once its objects of the kind are read; else the object waits."""
        kind, version = (ref.group, ref.kind), template["apiVersion"].rpartition("/")[2]
        wanted = self._sources.resource(ref)
        found = self._served.resource(wanted) if wanted is not None and wanted.version == version else None
        if found is None:
            self._wait_for(ref, kind)
            if self._served.known and wanted is not None:
                self._report(ref, part, Found(PENDING, message=self._not_served(template)))
            return None
        if not self._served.watch(found):
            self._wait_for(ref, kind)
            return None
        return found

    def _not_served(self, template: Object) -> str:
        kind, version = template["kind"], template["apiVersion"]
        others = self._served.versions((group_of(version), kind))
        if others:
            return f"the cluster serves {kind} in {', '.join(others)} and not in {version}"
        return f"the cluster does not serve {kind} in {version}"

    def _render(self, template: Object, part: Part) -> Rendered | None:
        cluster = self._sources.cluster(self.name)
        if cluster is None:
            return None
        return rendered_for(template, part, member_of(cluster), self._sources.overrides_for(template))

    def _known(self, ref: Ref) -> Known:
        if ref in self._doubtful:
            return Nowhere.UNSEEN
        return self._served.copy(ref)

    async def _ask(self, ref: Ref, resource: Resource) -> Known:
        found = await self._writer.look(resource, ref)
        self._doubtful.discard(ref)
        return found if found is not None else Nowhere.ABSENT

    async def _carry_out(
        self, ref: Ref, part: Part, resource: Resource, rendered: Rendered | None, known: Known, action: Action
    ) -> None:
        copy = known if isinstance(known, Copy) else None
        match action:
            case Wait():
                if action.why:
                    self._report(ref, part, Found(PENDING, message=action.why))
                return
            case Fail():
                self._report(ref, part, Found(FAILED, message=action.why))
                self._answered(ref)
                return
            case _:
                pass
        if rendered is None or (rendered.fault and copy is None):
            return
        try:
            match action:
                case Create() | Apply():
                    if isinstance(action, Apply) and action.drift and not self._may_correct(ref, part, rendered, copy):
                        return
                    answer = await self._writer.put(action, resource, rendered, part.generation, copy)
                    copy = self._served.wrote(ref, answer)
                case Verify() if copy is not None:
                    if not await self._writer.verify(resource, rendered, copy):
                        DRIFTS.inc(self.name)
                        answer = await self._writer.put(Apply(), resource, rendered, part.generation, copy)
                        copy = self._served.wrote(ref, answer)
                case Adopt():
                    answer = await self._writer.adopt(action, resource, rendered, part.generation)
                    copy = self._served.wrote(ref, answer)
                case _:
                    pass
        except Taken as conflict:
            CONFLICTS.inc(self.name)
            self._report(ref, part, Found(CONFLICT, message=str(conflict)))
            self._answered(ref)
            self._queue.add_after(ref, RELOOK)
            return
        if copy is not None:
            self._settle(ref, part, rendered, copy)

    def _may_correct(self, ref: Ref, part: Part, rendered: Rendered, copy: Copy | None) -> bool:
        """Count a correction; not while somebody changes the same field again and again."""
        live = copy.whole() if copy is not None else None
        where = (first_difference(rendered.obj, live) if live is not None else "") or "a field"
        now = time.monotonic()
        before = self._fights.get(ref)
        if before is not None and before.field == where and now < before.until:
            owners = owners_of(live, where) if live is not None else ""
            self._report(ref, part, Found(CONFLICT, message=fights.words(before, owners)))
            self._queue.add_after(ref, before.until - now)
            return False
        self._fights[ref] = fights.corrected(before, where, now)
        DRIFTS.inc(self.name)
        return True

    def _settle(self, ref: Ref, part: Part, rendered: Rendered, copy: Copy) -> None:
        copy.body = None
        settled = Settled(copy.uid, rendered.hash, copy.print)
        memory = self._memory[ref] = _Memory(settled, part.home, part.uid, part.generation)
        if not part.tombstones:
            self._say_applied(memory, copy)
        self._answered(ref)

    def _answered(self, ref: Ref) -> None:
        """Who waits for this object waits no longer: it is there, or it will not be soon."""
        if ref not in self._tried:
            self._tried.add(ref)
        self._wake(ref)

    # --- what is said --------------------------------------------------------------------------------------

    def _say_applied(self, memory: _Memory, copy: Copy) -> None:
        found = Found(
            APPLIED, memory.uid, memory.settled.hash, copy.generation, memory.observed, status=copy.status_object()
        )
        self._reporter.report(memory.home, self.name, found)

    def _report(self, ref: Ref, part: Part, found: Found) -> None:
        if part.tombstones:
            return  # until the placer has taken them away, all that counts is whether they are carried out
        copy = self._served.copy(ref)
        known = copy if isinstance(copy, Copy) and copy.managed else None
        self._reporter.report(
            part.home,
            self.name,
            Found(
                found.state,
                part.uid,
                known.hash if known else "",
                known.generation if known else 0,
                known.template_generation if known else None,
                found.message,
                known.status_object() if known else None,
            ),
        )

    def _say_failed(self, ref: Ref, failure: Failure) -> None:
        for placement in self._sources.placements_of(ref):
            part = part_of(placement, self.name)
            if part.tombstones:
                uid = part.tombstones[0].uid
                self._reporter.report(part.home, self.name, Found(DELETING, uid=uid, message=failure.message))
            elif part.assignment is not None:
                self._report(ref, part, Found(failure.state, message=failure.message))


def _is_settled(settled: Settled, copy: Copy) -> bool:
    return settled.uid == copy.uid and settled.print == copy.print
