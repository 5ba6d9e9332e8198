"""Copies that a member is to lose: in order, and not while something says that they had better stay."""

from collections.abc import Callable

from cluster.api.resources import Resource
from federation.api.refs import Ref
from federation.controllers.links.brakes import Brake
from federation.controllers.links.decide import Delete, Ending, Going, Look, Release, decide_ending
from federation.controllers.links.desk import Desk
from federation.controllers.links.endings import Endings
from federation.controllers.links.parts import DELETING, GONE, Part, Tombstone
from federation.controllers.links.waiting import ForEndings, ForKind, ForLeave

UNASKED = frozenset({"Missing", "NotSelected"})
"""Why of tombstones that follow from no deletion that somebody was seen to ask for."""
REMEMBERED = 10_000
"""Copies known to be gone: a write that was still on its way when one was deleted may bring it back."""


class Clearer:
    """Of one link. `quarantine` says why nothing may be deleted at all; empty when that is not so."""

    def __init__(self, desk: Desk, brake: Brake, quarantine: Callable[[], str]) -> None:
        self._desk, self._brake, self._quarantine = desk, brake, quarantine
        self._endings = Endings()
        self._gone: dict[tuple[Ref, str], None] = {}
        """By object and uid of the template."""

    def expect(self, ref: Ref, parts: list[Part]) -> None:
        """What Placements say now: order and brake have to know of deletions before they are looked at."""
        tombstones = [tombstone for part in parts for tombstone in part.tombstones]
        if not tombstones:
            self._settle(ref, sent=False)
            return
        self._endings.open(ref)
        if any(tombstone.why in UNASKED for tombstone in tombstones):
            self._brake.expect(ref)

    async def clear(self, ref: Ref, part: Part) -> bool:
        """Carry out the tombstones of a Placement; whether all are. Raises ApiError."""
        desk = self._desk
        desk.memory.pop(ref, None)
        for tombstone in part.tombstones:
            waits = await self._end(ref, tombstone)
            if waits:
                desk.say_of_tombstone(part, DELETING, tombstone.uid, waits)
                return False
            self._remember(ref, tombstone.uid)
        self._settle(ref, sent=False)
        desk.tried.discard(ref)
        # One at a time: the placer takes a tombstone away for each answer.
        desk.say_of_tombstone(part, GONE, part.tombstones[0].uid)
        return True

    async def clear_stray(self, ref: Ref) -> None:
        """A copy that came back after it was gone: the write was on its way when it was deleted. Raises ApiError."""
        copy = self._desk.served.copy(ref)
        uid = getattr(copy, "template_uid", "")
        if (ref, uid) in self._gone:
            await self._end(ref, Tombstone(uid))

    def gives_up(self, ref: Ref) -> None:
        """It cannot be deleted now; others go on."""
        self._close(ref)

    async def _end(self, ref: Ref, tombstone: Tombstone) -> str:
        """Why the copy is not gone yet; empty when it is."""
        desk, kind = self._desk, (ref.group, ref.kind)
        resource = desk.served.any_version(kind)
        if resource is None:
            self._close(ref)
            if desk.served.is_gone(kind):
                return ""
            desk.waiting.add(ref, ForKind(*kind))
            return "the cluster does not say whether it serves this kind"
        if not desk.reads(ref, resource):
            return "the objects of the cluster are being read"
        known = desk.known(ref)
        ending: Ending = Look()
        for _ in range(2):
            ending = decide_ending(tombstone, known, kind)
            if not isinstance(ending, Look):
                break
            known = await desk.ask(ref, resource)
        return await self._carry_out(ref, resource, ending)

    async def _carry_out(self, ref: Ref, resource: Resource, ending: Ending) -> str:
        desk = self._desk
        match ending:
            case Delete(uid, propagation):
                if waits := self._waits(ref):
                    return waits
                gone = await desk.writer.delete(resource, ref, uid, propagation)
                self._settle(ref, sent=True)
                return "" if gone else "its finalizers run in the cluster"
            case Release():
                await desk.writer.release(resource, ref)
            case Going():
                self._settle(ref, sent=True)
                return "its finalizers run in the cluster"
            case _:
                pass
        return ""

    def _waits(self, ref: Ref) -> str:
        """Why it may not be deleted now."""
        desk = self._desk
        if why := self._quarantine() or self._brake.holds(ref, len(desk.served)):
            desk.waiting.add(ref, ForLeave())
            self._close(ref)
            return why
        if self._endings.must_wait(ref):
            desk.waiting.add(ref, ForEndings(ref.name if ref.kind == "Namespace" else ref.namespace))
            return "what uses it is deleted first"
        return ""

    def _settle(self, ref: Ref, *, sent: bool) -> None:
        self._brake.settle(ref, sent=sent)
        self._close(ref)

    def _close(self, ref: Ref) -> None:
        if self._endings.close(ref):
            self._desk.waiting.happened(ForEndings(ref.namespace))
            self._desk.waiting.happened(ForEndings(""))  # a definition may have waited for the last of its objects

    def _remember(self, ref: Ref, uid: str) -> None:
        self._gone[ref, uid] = None
        if len(self._gone) > REMEMBERED:
            del self._gone[next(iter(self._gone))]
