"""
Which members an object may go to, and why the others may not. Pure.

What is there stays as long as it may: a cordon, a NoSchedule taint, a missed probe or an API that is not found keep
new objects away and remove none.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.machinery.objects import Object
from cluster.machinery.tolerations import first_untolerated
from federation.placement.affinity import Affinity
from federation.placement.members import READY, Member
from federation.placement.policies import PropagationPolicy
from federation.placement.split_replicas import draw
from federation.placement.spread import choose

LOST, TAINTED, LEAVING, NOT_SELECTED = "ClusterLost", "ClusterTainted", "ClusterLeaving", "NotSelected"
UNREADY = "PodsNotReady"
_UNREADY = "its Pods were not ready there for longer than is tolerated"


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be placed."""

    api_version: str
    kind: str
    key: str
    """Names the object; ties between clusters are drawn from it."""
    held: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    rooms: Mapping[str, int] = field(default_factory=dict)
    """Cluster -> replicas that it has room for, where that counts."""
    unready: frozenset[str] = frozenset()
    together: frozenset[str] | None = None
    apart: frozenset[str] = frozenset()
    fresh: bool = False
    """Who has it already is no better than others."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Who may have it."""

    members: tuple[Member, ...] = ()
    """The best first."""
    no_more: frozenset[str] = frozenset()
    """Of those: keep what they have, get nothing new (cordoned, tainted)."""
    frozen: frozenset[str] = frozenset()
    """Of those: cannot be told anything now, and count with what they have."""
    passed_over: Mapping[str, str] = field(default_factory=dict)
    evict: Mapping[str, str] = field(default_factory=dict)
    """Cluster -> reason; of those that hold it and shall not."""
    fault: str = ""


def select(question: Question, members: Sequence[Member], policy: PropagationPolicy, group: Affinity) -> Selection:
    """Clusters of one affinity group that fit, after spread constraints."""
    passed_over: dict[str, str] = {}
    evict: dict[str, str] = {}
    no_more: set[str] = set()
    frozen: set[str] = set()
    fitting = []
    for member in members:
        holds = member.name in question.held
        gone = _gone(question, member, policy, group) if holds else None
        if gone:
            evict[member.name], passed_over[member.name] = gone
            continue
        why = _why_not(question, member, policy, group)
        if why and not holds:
            passed_over[member.name] = why
            continue
        if why:
            (no_more if member.phase == READY else frozen).add(member.name)
        fitting.append(member)
    chosen = choose(_ranked(question, fitting, policy), policy.spread)
    if not chosen.fault:
        evict.update({name: NOT_SELECTED for name in chosen.passed_over if name in question.held})
    return Selection(
        chosen.members,
        frozenset(no_more),
        frozenset(frozen),
        {**passed_over, **chosen.passed_over},
        evict,
        chosen.fault,
    )


def groups_in_turn(policy: PropagationPolicy, members: Iterable[Member], held: Collection[str]) -> tuple[Affinity, ...]:
    """The policy's groups in the order in which they are tried: without failback, the one in use goes first."""
    if policy.failover.failback or len(policy.affinities) == 1:
        return policy.affinities
    holders = [member for member in members if member.name in held and member.reachable]
    used = [group for group in policy.affinities if any(group.matches(member) for member in holders)]
    return (*used, *(group for group in policy.affinities if group not in used))


def _gone(question: Question, member: Member, policy: PropagationPolicy, group: Affinity) -> tuple[str, str] | None:
    """Reason and words for a cluster that holds the object and shall not any longer."""
    taint = first_untolerated(policy.tolerations, member.taints, ["NoExecute"])
    if taint:
        return TAINTED, f"its taint {_named(taint)} is not tolerated"
    if member.name in question.lost:
        # A toleration that ends: the controllers count its seconds and then hand the member in.
        ended = (TAINTED, "its taint is tolerated no longer")
        return ended if member.reachable else (LOST, "lost for longer than is tolerated")
    if member.phase == "Leaving":
        return LEAVING, "it is leaving the federation"
    if member.name in question.unready:
        return UNREADY, _UNREADY
    why = group.why_not(member)
    return (NOT_SELECTED, why) if why else None


def _why_not(question: Question, member: Member, policy: PropagationPolicy, group: Affinity) -> str | None:
    """Why nothing new goes there; the first reason in the order in which a user would look."""
    outside = group.why_not(member)
    if outside:
        return outside
    if not member.serves(question.api_version, question.kind):
        return f"it does not serve {question.kind} of {question.api_version}"
    taint = first_untolerated(policy.tolerations, member.taints, ["NoSchedule", "NoExecute"])
    if taint:
        return f"its taint {_named(taint)} is not tolerated"
    if member.unschedulable:
        return "it is cordoned"
    if member.name in question.lost:
        return "it is lost"
    if member.name in question.unready:
        return _UNREADY
    if question.together is not None and member.name not in question.together:
        return "workloads of its group are in other clusters"
    if member.name in question.apart:
        return "a workload of its group is there"
    return None if member.phase == READY else f"it is not ready but {member.phase}"


def _named(taint: Object) -> str:
    value = taint.get("value")
    return f"{taint['key']}{'=' + value if value else ''}:{taint['effect']}"


def _ranked(question: Question, members: Iterable[Member], policy: PropagationPolicy) -> list[Member]:
    """Who has it already, then fewer taints that were better avoided, then more room, then by lot."""

    def rank(member: Member) -> tuple[bool, bool, int, bytes]:
        avoided = first_untolerated(policy.tolerations, member.taints, ["PreferNoSchedule"]) is not None
        room = question.rooms.get(member.name, 0)
        return question.fresh or member.name not in question.held, avoided, -room, draw(member.name, question.key)

    return sorted(members, key=rank)
