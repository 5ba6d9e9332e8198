"""Which objects are looked at for which change. Listens to everything, decides nothing, fills a queue."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from cluster.machinery.objects import Object
from federation.api.refs import Ref, ref_of, ref_of_template
from federation.controllers.placing.fleet import LEAVING, Fleet
from federation.controllers.placing.kinships import DEFINITION, NAMESPACE, Kinships
from federation.controllers.placing.needs import Needs
from federation.controllers.placing.policy_book import Policy, PolicyBook
from federation.controllers.placing.store import PlacementStore
from federation.controllers.templates import Change, Templates
from federation.placement.members import READY, UNREACHABLE, Capacity, Member
from federation.placement.record import record_of


class Wakes:
    """
    Args:
        at_once: look at an object: a user waits for it.
        in_turn: look at an object when there is time.
        asked_for: told of every template that somebody was seen to delete.
        minds: whether what members say in a Placement may change where the object is to be.
        neighbours: who minds where another object is.
        changed: told of every template that somebody was seen to make or change.
    """

    def __init__(
        self,
        templates: Templates,
        store: PlacementStore,
        needs: Needs,
        kinships: Kinships,
        *,
        at_once: Callable[[Ref], None],
        in_turn: Callable[[Ref], None],
        asked_for: Callable[[Ref], None],
        changed: Callable[[Ref], None],
        minds: Callable[[Object], bool],
        neighbours: Callable[[Ref], Iterable[Ref]],
    ) -> None:
        self._changed, self._minds, self._neighbours = changed, minds, neighbours
        self._templates, self._store, self._needs, self._kinships = templates, store, needs, kinships
        self._at_once, self._in_turn, self._asked_for = at_once, in_turn, asked_for
        self._namespaces: set[str] = set()

    def start(self, fleet: Fleet, book: PolicyBook) -> None:
        """Listen; whatever is there already is looked at, too."""
        self._templates.listen(self.template_changed)
        for informer in (self._store.placements, self._store.cluster_placements):
            informer.add_handler(self._placement_added, self.placement_changed, self._placement_added)
        fleet.listen(self.member_changed)
        book.listen(self.policy_changed)
        self._kinships.on_scaling = self._at_once

    def template_changed(self, ref: Ref, change: Change) -> None:
        if change is Change.DELETED:
            self._asked_for(ref)
        elif change is Change.CHANGED:
            self._changed(ref)
        (self._at_once if change in (Change.CHANGED, Change.DELETED) else self._in_turn)(ref)
        if (ref.group, ref.kind) == NAMESPACE:
            self._namespace_changed(ref)

    def kind_changed(self, kind: tuple[str, str]) -> None:
        """Another rule counts for it."""
        for template in self._templates.list_kind(*kind):
            self._in_turn(ref_of(template))

    def _namespace_changed(self, ref: Ref) -> None:
        """What is in it is a template while it is one, and waits for it to end."""
        namespace = self._templates.get(ref)
        ending = namespace is None or bool(namespace["metadata"].get("deletionTimestamp"))
        if ending == (ref.name not in self._namespaces):
            return
        (self._namespaces.discard if ending else self._namespaces.add)(ref.name)
        for one in self._templates.list(ref.name):
            self._in_turn(ref_of(one))
        for placement in self._store.placements.list(ref.name):
            self._in_turn(ref_of_template(placement))

    def policy_changed(self, policy: Policy) -> None:
        for ref in self._kinships.selected_by(policy):
            self._in_turn(ref)
            for one in self._needs.needed_by(ref):
                if (one.group, one.kind) not in (NAMESPACE, DEFINITION):
                    self._in_turn(one)

    def _placement_added(self, placement: Object) -> None:
        ref = ref_of_template(placement)
        self._in_turn(ref)
        self._definition_placed(ref)

    def placement_changed(self, old: Object, new: Object) -> None:
        """What members report matters while something is to go; what is specified is ours, and put back."""
        ref, spec = ref_of_template(new), new["spec"]
        if spec.get("tombstones") or spec.get("evicting") or self._minds(new):
            self._at_once(ref)
        if old["spec"] != spec:
            self._in_turn(ref)
            if old["spec"].get("clusters") != spec.get("clusters"):
                self._definition_placed(ref)
                for one in self._neighbours(ref):
                    self._in_turn(one)

    def _definition_placed(self, ref: Ref) -> None:
        if (ref.group, ref.kind) == DEFINITION:
            for one in self._kinships.defined_by(ref):
                self._in_turn(one)

    # --- members -------------------------------------------------------------------------------------------

    def member_changed(self, old: Member | None, new: Member | None) -> None:
        if old is None or new is None or _lasting(old) != _lasting(new):
            self.everything()
        else:
            for one in _other_kinds(old, new):
                for template in self._templates.list_kind(*one):
                    self._in_turn(ref_of(template))
            if old.phase != new.phase:
                self._phase_changed(new)
            if old.capacity != new.capacity:
                waiting = [ref_of_template(one) for one in self._store.all() if one["spec"].get("unplaced")]
                for ref in sorted(waiting, key=self._kinships.priority_of, reverse=True):
                    self._in_turn(ref)

    def _phase_changed(self, member: Member) -> None:
        """Who only misses probes loses nothing and gets nothing: nobody has to look."""
        if member.phase not in (READY, UNREACHABLE, LEAVING):
            return
        for placement in self._store.all():
            record = record_of(placement)
            has = any(one.cluster == member.name for one in record.clusters)
            if has != (member.phase == READY) or member.name in (one.cluster for one in record.tombstones):
                self._in_turn(ref_of_template(placement))

    def holders_of(self, phase: str, fleet: Fleet) -> None:
        """Look at all that members in this phase have."""
        names = {one.name for one in fleet.members.values() if one.phase == phase}
        for placement in self._store.all() if names else ():
            if names & set(record_of(placement).holders()):
                self._in_turn(ref_of_template(placement))

    def everything(self) -> None:
        for template in self._templates.list():
            self._in_turn(ref_of(template))
        for placement in self._store.all():
            self._in_turn(ref_of_template(placement))


def _lasting(member: Member) -> Member:
    """What only people change."""
    return replace(member, phase=READY, capacity=Capacity(), kinds=None)


def _other_kinds(old: Member, new: Member) -> set[tuple[str, str]]:
    """(group, kind) that one of them serves and the other does not."""
    return {(version.rpartition("/")[0], kind) for version, kind in _served(old) ^ _served(new)}


def _served(member: Member) -> set[tuple[str, str]]:
    return {(version, kind) for version, kinds in (member.kinds or {}).items() for kind in kinds}
