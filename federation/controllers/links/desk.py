"""What the parts of one link share: what it knows of its member, what it reads of the federation, whom it tells."""

from dataclasses import dataclass
from typing import Protocol

from cluster.api.resources import Resource
from cluster.machinery.objects import Key, Object
from federation.api.refs import Ref
from federation.controllers.links.copies import Copy
from federation.controllers.links.decide import Known, Nowhere, Settled
from federation.controllers.links.lanes import Lanes
from federation.controllers.links.parts import APPLIED, Part
from federation.controllers.links.reports import Found, Reporter
from federation.controllers.links.served import Served
from federation.controllers.links.waiting import ForKind, ForObject, Waiting
from federation.controllers.links.writes import Writer
from federation.placement.members import Member, member_of
from federation.placement.policies import OverridePolicy


class Reads(Protocol):
    """`federation.controllers.links.sources.Sources`, as far as one object is concerned."""

    def template(self, ref: Ref) -> Object | None: ...

    def resource(self, ref: Ref) -> Resource | None: ...

    def placements_of(self, ref: Ref) -> list[Object]: ...

    def overrides_for(self, template: Object) -> tuple[OverridePolicy, ...]: ...

    def cluster(self, name: str) -> Object | None: ...


@dataclass(frozen=True, slots=True)
class Memory:
    """The last time an object was as it should be."""

    settled: Settled
    home: Key
    uid: str
    """Of the template."""
    observed: int | None


class Desk:
    """Owned by one event loop."""

    def __init__(
        self, name: str, sources: Reads, reporter: Reporter, queue: Lanes[Ref], served: Served, writer: Writer
    ) -> None:
        self.name = name
        self.sources, self.queue, self.served, self.writer = sources, queue, served, writer
        self._reporter = reporter
        self.waiting = Waiting(queue.add)
        self.memory: dict[Ref, Memory] = {}
        self.tried: set[Ref] = set()
        """Objects whose first write was answered, however."""
        self.doubtful: set[Ref] = set()
        """What is known of them is out of date."""
        self._member: tuple[Object, Member] | None = None
        """From which Cluster object, and what."""

    # --- what is known -------------------------------------------------------------------------------------

    def known(self, ref: Ref) -> Known:
        return Nowhere.UNSEEN if ref in self.doubtful else self.served.copy(ref)

    def member(self) -> Member | None:
        """The member as placement sees it; None while its Cluster is not there."""
        cluster = self.sources.cluster(self.name)
        if cluster is None:
            return None
        if self._member is None or self._member[0] is not cluster:
            self._member = (cluster, member_of(cluster))
        return self._member[1]

    async def ask(self, ref: Ref, resource: Resource) -> Known:
        """The member itself. Raises ApiError."""
        found = await self.writer.look(resource, ref)
        self.doubtful.discard(ref)
        return found if found is not None else Nowhere.ABSENT

    def reads(self, ref: Ref, resource: Resource) -> bool:
        """Whether the member's objects of this kind are known; else the object waits until they are."""
        if self.served.watch(resource):
            return True
        self.waiting.add(ref, ForKind(ref.group, ref.kind))
        return False

    def answered(self, ref: Ref) -> None:
        """Who waits for this object waits no longer: it is there, or it will not be soon."""
        self.tried.add(ref)
        self.waiting.happened(ForObject(ref))

    def forget(self, ref: Ref) -> None:
        self.memory.pop(ref, None)
        self.tried.discard(ref)

    # --- what is said --------------------------------------------------------------------------------------

    def say_applied(self, memory: Memory, copy: Copy) -> None:
        hash_, status = memory.settled.hash, copy.status_object()
        found = Found(APPLIED, memory.uid, hash_, copy.generation, memory.observed, status=status)
        self._reporter.report(memory.home, self.name, found)

    def say(self, ref: Ref, part: Part, state: str, message: str) -> None:
        """Of an object that is to be there; what is known of the copy goes with it."""
        if part.tombstones:
            return  # until the placer has taken them away, all that counts is whether they are carried out
        copy = self.served.copy(ref)
        if not isinstance(copy, Copy) or not copy.managed:
            self._reporter.report(part.home, self.name, Found(state, part.uid, message=message))
            return
        observed = copy.template_generation or None
        status = copy.status_object()
        found = Found(state, part.uid, copy.hash, copy.generation, observed, message, status)
        self._reporter.report(part.home, self.name, found)

    def say_of_tombstone(self, part: Part, state: str, uid: str, message: str = "") -> None:
        self._reporter.report(part.home, self.name, Found(state, uid, message=message))
