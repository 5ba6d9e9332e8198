"""
What gives etcd room to write again: from what its members say of themselves to steps. Pure.

An alarm about space makes etcd refuse what adds, in all members at once, until somebody takes it back. Before that
there has to be room: old revisions are compacted, and each member gives what that frees back to its disk, one after
the other, whoever leads last.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from provisioner.errors import ProvisionError
from provisioner.execution.actions import Action, ActionPlan, Difference

NOSPACE, CORRUPT = "NOSPACE", "CORRUPT"
ROOM = 0.9
"""Share of the quota that a database may fill for its alarm to be taken back: just below, it would come again."""
_SPARE = 64 << 20  # bytes that a disk should have beyond a second copy of the database


@dataclass(frozen=True, slots=True)
class MemberRoom:
    """One member. Sizes are bytes."""

    host: str
    answers: bool
    """It takes part in the quorum: it answers a linearizable read."""
    leads: bool = False
    alarms: tuple[str, ...] = ()
    db_bytes: int = 0
    db_in_use: int = 0
    disk_free: int = -1
    """Where its data is; -1 when it is not known."""
    left_over: int = 0
    """What earlier restores left beside the data."""
    quota: int = 4 << 30
    """Size at which it raises the alarm."""

    @property
    def full(self) -> bool:
        return self.answers and self.db_bytes > ROOM * self.quota


def plan_repair(cluster: str, members: Sequence[MemberRoom]) -> ActionPlan:
    """
    Nothing to do is an empty plan.

    Raises:
        ProvisionError: the members have no quorum, or one has data that differs from the others'.
    """
    _check(cluster, members)
    actions = [
        Action(
            f"{one.host}/clear", "remove what an earlier restore left beside the data", one.host, (),
            (Difference("bytes left over", str(one.left_over), "0"),),
        )
        for one in members if one.left_over and short_of_disk(one)
    ]  # fmt: skip
    starving = [one for one in members if NOSPACE in one.alarms]
    if not starving and not any(one.full for one in members):
        return ActionPlan("etcd repair", cluster, tuple(actions))
    cleared = {action.host: action.id for action in actions}
    last = "etcd/compact"
    actions.append(Action(last, "compact old revisions, so that their space is free inside the databases"))
    for one in sorted((one for one in members if one.answers), key=lambda one: one.leads):
        after = (last, *((cleared[one.host],) if one.host in cleared else ()))
        last = f"{one.host}/defragment"
        size = Difference("database", f"{one.db_bytes} bytes", f"about {one.db_in_use} of {one.quota}")
        actions.append(Action(last, "give freed space back to the disk", one.host, after, (size,)))
    if starving:
        names = ", ".join(sorted(one.host for one in starving))
        change = Difference("alarm", f"{NOSPACE} ({names})", "")
        actions.append(Action("etcd/disarm", "take the alarm back, so that it writes again", "", (last,), (change,)))
    return ActionPlan("etcd repair", cluster, tuple(actions))


def short_of_disk(member: MemberRoom) -> bool:
    """Defragmenting writes the database a second time."""
    return 0 <= member.disk_free < member.db_bytes + _SPARE


def check_room(cluster: str, members: Sequence[MemberRoom]) -> None:
    """Once all is compacted: raises ProvisionError where taking the alarm back would only bring it again."""
    told = ", ".join(f"{one.host} {one.db_bytes / 1e6:.1f} of {one.quota / 1e6:.1f} MB" for one in members if one.full)
    if told:
        raise ProvisionError(
            "etcd is still full", why=f"in use after compacting and defragmenting: {told}",
            next_step="Deletes are taken while the alarm stands: delete what is not needed and run this again, or "
            f"raise `etcd: {{quota_bytes: …}}` in the inventory, run `provision cluster {cluster}`, then this.",
        )  # fmt: skip


def _check(cluster: str, members: Sequence[MemberRoom]) -> None:
    answering = [one for one in members if one.answers]
    if 2 * len(answering) <= len(members):
        silent = ", ".join(one.host for one in members if not one.answers)
        full = [f"{one.host} has {one.disk_free / 1e6:.0f} MB of disk left" for one in members if short_of_disk(one)]
        raise ProvisionError(
            "etcd has no quorum", why="; ".join([f"{silent} does not answer", *full]),
            next_step="Make room where a disk is full: its member starts again by itself. When most members are lost "
            f"for good, `provision etcd restore {cluster} --from-data-dir HOST` goes on from one that is left.",
        )  # fmt: skip
    if corrupt := [one.host for one in members if CORRUPT in one.alarms]:
        raise ProvisionError(
            f"{', '.join(corrupt)} has other data than the other members", why="etcd has raised its alarm CORRUPT",
            next_step=f"`provision etcd replace {cluster} {corrupt[0]}` gives it the others' data.", host="",
        )  # fmt: skip
