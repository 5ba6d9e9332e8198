"""
Which members of etcd come and go in which order, and whether a step may be taken. Pure.

A step is taken when those that vote now can agree to it, and when, after it, more than half of those that vote are
healthy. Who comes is a learner first, which has no vote; who is dead goes before anybody comes, because etcd takes
nobody in while a voter is away; who is alive goes after its successor has come, so that no fault is borne worse in
between than before.
Source: etcd 3.5, server/etcdserver/server.go (mayAddMember, mayRemoveMember, mayPromote); one learner at a time.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from inventory.topology import MAX_ETCD_MEMBERS, even_quorum
from provisioner.errors import InventoryError, ProvisionError


class StepKind(StrEnum):
    """What changes."""

    ADD = "add"
    """As a learner."""
    PROMOTE = "promote"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Member:
    """One member as the others see it."""

    name: str
    healthy: bool = True
    """It answers a read that needs the quorum. Of learners nobody asks."""
    voter: bool = True


@dataclass(frozen=True, slots=True)
class MembershipStep:
    """One change of the list of members."""

    kind: StepKind
    member: str


class QuorumRefusalError(ProvisionError):
    """The step could leave the cluster without a quorum. Nothing was changed by it."""


def plan_membership(now: Sequence[Member], coming: Sequence[str], going: Collection[str]) -> tuple[MembershipStep, ...]:
    """
    Steps in their order. Those that an earlier run has taken are among them; they change nothing.

    Args:
        now: Every member.
        coming: Names of those that shall be members, in the order in which they come.
        going: Names of those that shall be none; whoever is no member is left out.

    Raises:
        InventoryError: the end would be an even number, none, or too many.
        QuorumRefusalError: a step may not be taken.
    """
    _check_end([member.name for member in now if member.voter], coming, going)
    learners = [one.name for one in now if not one.voter and one.name not in coming]
    voters = [one for one in now if one.voter and one.name in going]
    dead = [one.name for one in voters if not one.healthy]
    alive = [one.name for one in voters if one.healthy]
    steps = [MembershipStep(StepKind.REMOVE, name) for name in (*learners, *dead)]
    for name in coming:
        steps += [MembershipStep(StepKind.ADD, name), MembershipStep(StepKind.PROMOTE, name)]
        if alive:
            steps.append(MembershipStep(StepKind.REMOVE, alive.pop(0)))
    steps += [MembershipStep(StepKind.REMOVE, name) for name in alive]
    members = tuple(now)
    for step in steps:
        prove(members, step)
        members = after(members, step)
    return tuple(steps)


def holds(members: Sequence[Member], step: MembershipStep) -> bool:
    """Whether the step is taken already."""
    known = {member.name: member for member in members}
    found = known.get(step.member)
    if step.kind is StepKind.REMOVE:
        return found is None
    return found is not None and (step.kind is StepKind.ADD or found.voter)


def after(members: Sequence[Member], step: MembershipStep) -> tuple[Member, ...]:
    """The members once the step is taken."""
    if holds(members, step):
        return tuple(members)
    if step.kind is StepKind.ADD:
        return (*members, Member(step.member, voter=False))
    if step.kind is StepKind.PROMOTE:
        # Whoever is promoted has caught up: etcd promotes nobody else.
        return tuple(replace(one, voter=True, healthy=True) if one.name == step.member else one for one in members)
    return tuple(one for one in members if one.name != step.member)


def prove(members: Sequence[Member], step: MembershipStep) -> None:
    """Raises QuorumRefusalError when the step may not be taken now."""
    if holds(members, step):
        return
    voters = [one for one in members if one.voter]
    away = [one.name for one in voters if not one.healthy]
    if not _have_quorum(voters):
        raise _refusal(step, f"{len(voters) - len(away)} of {len(voters)} members answer, so nothing can be decided")
    if step.kind is StepKind.ADD and away:
        raise _refusal(step, f"etcd takes nobody in while {', '.join(away)} is a member and does not answer")
    if step.kind is StepKind.ADD and (learners := [one.name for one in members if not one.voter]):
        raise _refusal(step, f"{', '.join(learners)} is still learning, and etcd has one learner at a time")
    then = [one for one in after(members, step) if one.voter]
    if not _have_quorum(then):
        healthy = sum(one.healthy for one in then)
        raise _refusal(step, f"{healthy} of {len(then)} members would answer afterwards, {len(then) // 2 + 1} have to")


def _have_quorum(voters: Sequence[Member]) -> bool:
    return sum(one.healthy for one in voters) > len(voters) / 2


def _refusal(step: MembershipStep, why: str) -> QuorumRefusalError:
    return QuorumRefusalError(
        f"cannot {step.kind} etcd member {step.member}", why=why,
        next_step="Bring those that do not answer back, or remove them with `provision nodes remove --dead` or "
        "`nodes replace --dead`; when most are lost, `provision etcd restore` goes on from a snapshot.",
    )  # fmt: skip


def _check_end(now: Sequence[str], coming: Sequence[str], going: Collection[str]) -> None:
    end = {*now, *coming} - set(going)
    if not end:
        raise InventoryError(
            "no member of etcd would be left", why="they keep all that the cluster knows",
            next_step="`provision destroy` takes the whole cluster away.",
        )  # fmt: skip
    if len(end) % 2 == 0 and (coming or set(now) & set(going)):
        one = "two masters, or none" if coming else "two masters, or replace one with `provision nodes replace`"
        raise InventoryError(
            f"etcd would have {len(end)} members", why=even_quorum(len(end)),
            next_step=f"{'Add' if coming else 'Remove'} {one}.",
        )  # fmt: skip
    if len(end) > MAX_ETCD_MEMBERS:
        raise InventoryError(
            f"etcd would have {len(end)} members", why=f"more than {MAX_ETCD_MEMBERS} make writes slower and survive "
            "no fault that happens", next_step="Add workers instead.",
        )  # fmt: skip
