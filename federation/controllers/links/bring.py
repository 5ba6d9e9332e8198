"""One object that a member is to have: rendered, compared, written."""

import time
from collections.abc import Iterator

from cluster.api.resources import Resource
from cluster.client.metrics import Counter
from cluster.machinery.objects import Object
from federation.api.refs import Ref, group_of
from federation.controllers.links import fights
from federation.controllers.links.copies import Copy, first_difference, owners_of
from federation.controllers.links.decide import (
    Action,
    Adopt,
    Apply,
    Create,
    Fail,
    Known,
    Look,
    Rendered,
    Settled,
    Verify,
    Wait,
    decide,
)
from federation.controllers.links.desk import Desk, Memory
from federation.controllers.links.parts import CONFLICT, FAILED, PENDING, Part, part_of
from federation.controllers.links.rendering import rendered_for
from federation.controllers.links.waiting import ForKind, ForObject
from federation.controllers.links.writes import Taken
from federation.placement.dependencies import dependencies_of

RELOOK = 60.0  # seconds between looks at what is not ours, and therefore not watched
DRIFTS = Counter("hanse_federation_drift_corrections_total", "Changes in members that were set back.", ("cluster",))
CONFLICTS = Counter("hanse_federation_conflicts_total", "Objects in members that nobody federated.", ("cluster",))


class Bringer:
    """Of one link."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._fights: dict[Ref, fights.Fight] = {}

    def forget(self, ref: Ref) -> None:
        self._fights.pop(ref, None)

    async def bring(self, ref: Ref, part: Part) -> None:
        """Raises ApiError."""
        desk = self._desk
        template = desk.sources.template(ref)
        if template is None:
            return  # deleted, or not read yet: the placer decides
        resource = self._resource_for(ref, part, template)
        if resource is None:
            return
        member = desk.member()
        if member is None:
            return
        rendered = rendered_for(template, part, member, desk.sources.overrides_for(template))
        memory = desk.memory.get(ref)
        known = desk.known(ref)
        action: Action = Look()
        for _ in range(2):
            action = decide(part, rendered, known, memory.settled if memory else None)
            if not isinstance(action, Look):
                break
            known = await desk.ask(ref, resource)
        if isinstance(action, Create) and (needed := self._first_needed(ref, template)) is not None:
            desk.waiting.add(ref, ForObject(needed))
            desk.say(ref, part, PENDING, f"{needed} has to be there first")
            return
        match action:
            case Wait(why):
                if why:
                    desk.say(ref, part, PENDING, why)
                    desk.answered(ref)
            case Fail(why):
                desk.say(ref, part, FAILED, why)
                desk.answered(ref)
            case _ if rendered is not None and not rendered.fault:
                await self._carry_out(ref, part, resource, rendered, known, action)
            case _:
                pass  # a copy that stays as it is

    def _resource_for(self, ref: Ref, part: Part, template: Object) -> Resource | None:
        """The member's, once its objects of the kind are read; else the object waits."""
        desk = self._desk
        wanted = desk.sources.resource(ref)
        if wanted is None or wanted.api_version != template["apiVersion"]:
            return None  # read in another version just now: it is told again
        found = desk.served.resource(wanted)
        if found is not None:
            if desk.reads(ref, found):
                return found
            if desk.served.is_slow((ref.group, ref.kind)):
                desk.say(ref, part, PENDING, f"the cluster's objects of kind {ref.kind} cannot be listed")
            return None
        desk.waiting.add(ref, ForKind(ref.group, ref.kind))
        if desk.served.known:
            desk.say(ref, part, PENDING, self._not_served(template))
        elif desk.served.silent:
            desk.say(ref, part, PENDING, "the cluster does not say which kinds it serves")
        return None

    def _not_served(self, template: Object) -> str:
        kind, version = template["kind"], template["apiVersion"]
        group = group_of(version)
        others = [f"{group}/{one}" if group else one for one in self._desk.served.versions((group, kind))]
        if others:
            return f"the cluster serves {kind} in {', '.join(others)} and not in {version}"
        return f"the cluster does not serve {kind} in {version}"

    def _first_needed(self, ref: Ref, template: Object) -> Ref | None:
        """What is on its way into the member, too, and has to be there before: namespace, then what Pods use."""
        desk = self._desk
        for needed in _needs(ref, template):
            if needed in desk.tried or isinstance(desk.served.copy(needed), Copy):
                continue
            if desk.sources.template(needed) is None:
                continue
            if any(part_of(one, desk.name).assignment for one in desk.sources.placements_of(needed)):
                return needed
        return None

    async def _carry_out(
        self, ref: Ref, part: Part, resource: Resource, rendered: Rendered, known: Known, action: Action
    ) -> None:
        desk = self._desk
        copy = known if isinstance(known, Copy) else None
        try:
            match action:
                case Apply(drift=True) if not self._may_correct(ref, part, rendered, copy):
                    return
                case Create() | Apply():
                    answer = await desk.writer.put(action, resource, rendered, part.generation, copy)
                    copy = desk.served.wrote(ref, answer)
                case Verify() if copy is not None:
                    if not await desk.writer.verify(resource, rendered, copy):
                        DRIFTS.inc(desk.name)
                        answer = await desk.writer.put(Apply(), resource, rendered, part.generation, copy)
                        copy = desk.served.wrote(ref, answer)
                case Adopt():
                    answer = await desk.writer.adopt(action, resource, rendered, part.generation)
                    copy = desk.served.wrote(ref, answer)
                case _:
                    pass
        except Taken as conflict:
            CONFLICTS.inc(desk.name)
            desk.say(ref, part, CONFLICT, str(conflict))
            desk.answered(ref)
            desk.queue.add_after(ref, RELOOK)
            return
        if copy is not None and copy.managed and part.assignment is not None:
            self._settle(ref, part, rendered, copy)

    def _may_correct(self, ref: Ref, part: Part, rendered: Rendered, copy: Copy | None) -> bool:
        """Count a correction; not while somebody changes the same field again and again."""
        desk = self._desk
        live = copy.whole() if copy is not None else None
        where = (first_difference(rendered.obj, live) if live is not None else "") or "a field"
        now = time.monotonic()
        before = self._fights.get(ref)
        if before is not None and before.field == where and now < before.until:
            desk.say(ref, part, CONFLICT, fights.words(before, owners_of(live, where) if live is not None else ""))
            desk.queue.add_after(ref, before.until - now)
            return False
        self._fights[ref] = fights.corrected(before, where, now)
        DRIFTS.inc(desk.name)
        return True

    def _settle(self, ref: Ref, part: Part, rendered: Rendered, copy: Copy) -> None:
        copy.body = None
        settled = Settled(copy.uid, rendered.hash, copy.print)
        memory = self._desk.memory[ref] = Memory(settled, part.home, part.uid, part.generation)
        if not part.tombstones:
            self._desk.say_applied(memory, copy)
        self._desk.answered(ref)


def _needs(ref: Ref, template: Object) -> Iterator[Ref]:
    if ref.namespace:
        yield Ref("", "Namespace", "", ref.namespace)
    for one in dependencies_of(template):
        yield Ref(group_of(one.api_version), one.kind, one.namespace, one.name)
