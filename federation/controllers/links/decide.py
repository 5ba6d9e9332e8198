"""
What to do about one object in one member. Pure: what is wished, what is there and what is remembered go in.

A member's object is deleted or let go before anything is applied under its name; nothing is written where the hash of
what is rendered is the one in the member and nobody touched what is ours.
"""

from dataclasses import dataclass
from enum import Enum

from cluster.machinery.objects import Object
from federation.controllers.links.copies import Copy, first_difference
from federation.controllers.links.parts import Part, Tombstone

NAMESPACE = ("", "Namespace")


class Nowhere(Enum):
    """Instead of a Copy."""

    UNSEEN = "unseen"
    """None that carries our label; another one may be there."""
    ABSENT = "absent"
    """The member was asked: nothing has this name."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What the member is to have, sealed; or why there is nothing to write."""

    obj: Object
    hash: str
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Settled:
    """What the last write, or the last comparison, left in the member."""

    uid: str
    hash: str
    print: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is done until something else happens."""

    why: str = ""
    """For the status; empty: nothing has to be said."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """The member has what it should."""


@dataclass(frozen=True, slots=True)
class Look:
    """Ask the member for the object, then decide again."""


@dataclass(frozen=True, slots=True)
class Create:
    """Nothing is there."""


@dataclass(frozen=True, slots=True)
class Apply:
    """Ours, and to be different."""

    drift: bool = False
    """What is rendered is as before: somebody changed it in the member."""


@dataclass(frozen=True, slots=True)
class Verify:
    """Ours, and perhaps as it should be: only a dry run can tell."""

    where: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """Somebody else's. A dry run decides whether it is taken over or a conflict; `overwrite`: taken in any case."""

    overwrite: bool


@dataclass(frozen=True, slots=True)
class Fail:
    """Nothing can be written until the template or its overrides change."""

    why: str


@dataclass(frozen=True, slots=True)
class Delete:
    uid: str
    """Of the member's object, as a precondition."""
    propagation: str


@dataclass(frozen=True, slots=True)
class Release:
    """The object stays, without a trace of us."""


@dataclass(frozen=True, slots=True)
class Going:
    """It is being deleted: its finalizers run."""


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing is there that the tombstone means."""


Known = Copy | Nowhere
Action = Wait | Nothing | Look | Create | Apply | Verify | Adopt | Fail
Ending = Look | Delete | Release | Going | Gone


def decide_ending(tombstone: Tombstone, known: Known, kind: tuple[str, str]) -> Ending:
    """How a tombstone is carried out. `kind` is (group, kind)."""
    if known is Nowhere.UNSEEN:
        return Look()  # what was just written may not be seen yet, and gone means gone
    if isinstance(known, Nowhere) or not known.managed or known.template_uid != tombstone.uid:
        return Gone()
    if tombstone.propagation == "Orphan" or (kind == NAMESPACE and known.adopted):
        return Release()
    if known.deleting:
        return Going()
    return Delete(known.uid, tombstone.propagation)


def decide(part: Part, rendered: Rendered | None, known: Known, settled: Settled | None) -> Action:
    """
    What becomes of the object, once every tombstone is carried out.

    `rendered` is None while the template is not the one that was planned for.
    """
    if any(tombstone.uid == part.uid for tombstone in part.tombstones):
        return Wait()  # it would be deleted again: the placer takes the tombstone away first
    if part.assignment is None:
        return Nothing()
    if part.suspended:
        return Wait("suspended by its policy")
    if rendered is None:
        return Wait()
    if rendered.fault:
        return Fail(rendered.fault)
    if known is Nowhere.UNSEEN:
        return Look()
    if isinstance(known, Nowhere):
        return Create()
    if known.deleting:
        return Wait("an object of this name is being deleted in the cluster")
    if not known.managed:
        return Adopt(part.overwrite)
    return _compare(rendered, known, settled)


def _compare(rendered: Rendered, copy: Copy, settled: Settled | None) -> Action:
    if settled is not None and settled.uid == copy.uid and settled.hash == rendered.hash:
        return Nothing() if settled.print == copy.print else Apply(drift=True)
    if copy.hash != rendered.hash:
        return Apply()
    live = copy.whole()
    if live is None:
        return Look()
    where = first_difference(rendered.obj, live)
    return Verify(where) if where else Nothing()
