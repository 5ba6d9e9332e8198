"""
The planner: an object, its policy, the members and what they hold, and out comes who gets what. Pure.

Called for every object whose template, policy or members changed. It decides; the controllers carry out, count
seconds, and hand in `lost` once a member's toleration has run out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from cluster.machinery.objects import Object
from federation.placement import limits, shares, workloads
from federation.placement.affinity import Affinity
from federation.placement.members import NO_DEMAND, Demand, Member
from federation.placement.plans import NOTHING_KNOWN, Assignment, Displaced, Eviction, Plan, Situation
from federation.placement.policies import DEFAULT_POLICY, DIVIDED, WEIGHTED, PropagationPolicy
from federation.placement.select import LOST, NOT_SELECTED, Question, Selection, groups_in_turn, select
from federation.placement.v1_preferences import with_annotations

__all__ = ["NOTHING_KNOWN", "Assignment", "Displaced", "Eviction", "Plan", "Situation", "plan"]


def plan(
    template: Object,
    members: Iterable[Member],
    policy: PropagationPolicy = DEFAULT_POLICY,
    situation: Situation = NOTHING_KNOWN,
) -> Plan:
    """
    Decide who gets the object.

    Where the policy or an annotation cannot be understood, or no choice of clusters meets the spread constraints,
    `fault` says so and the assignments are those held. Members that are not ready get nothing new and keep what they
    hold, until they are `lost`. Where Pods do not get ready, they stay all the same if nobody else could have them.
    """
    if situation.unready:
        elsewhere = _best(template, members := tuple(members), policy, situation)
        if elsewhere.assignments and not elsewhere.unplaced and not elsewhere.fault:
            return elsewhere
    return _best(template, members, policy, replace(situation, unready=frozenset()))


def _best(template: Object, members: Iterable[Member], policy: PropagationPolicy, situation: Situation) -> Plan:
    """Of the policy's groups."""
    policy = with_annotations(policy, template)
    if policy.fault:
        return _unchanged(situation, policy, policy.fault)
    if situation.fresh:
        moving = replace(policy.division, rebalance=True)
        policy = replace(policy, division=moving, failover=replace(policy.failover, failback=True))
    known = sorted(members, key=lambda member: member.name)
    divided = workloads.is_divided(template) and policy.division.mode == DIVIDED and not situation.autoscaled
    demand = workloads.demand_of(template) if divided else NO_DEMAND
    question = _question(template, known, policy, situation, demand if divided else None)
    if divided and policy.overflow and len(policy.affinities) > 1 and workloads.group_kind(template) != workloads.JOB:
        return _over_groups(template, known, policy, situation, question, demand)
    best: Plan | None = None
    for group in groups_in_turn(policy, known, question.held):
        selection = select(question, known, policy, group)
        if not selection.members and best is not None:
            continue
        candidate = _planned(template, selection, policy, situation, divided=divided, demand=demand, key=question.key)
        if selection.members and not candidate.fault and not candidate.unplaced:
            return _with_words(candidate, group)
        if best is None or (best.fault and not candidate.fault) or (not best.assignments and candidate.assignments):
            best = _with_words(candidate, group)
    return best or _unchanged(situation, policy, "the policy has no group of clusters")


def _question(
    template: Object,
    members: Sequence[Member],
    policy: PropagationPolicy,
    situation: Situation,
    demand: Demand | None,
) -> Question:
    metadata = template.get("metadata") or {}
    key = f"{template.get('kind')}/{metadata.get('namespace') or ''}/{metadata.get('name')}"
    lost, unready = situation.lost, situation.unready
    if demand is None and len(policy.affinities) == 1 and not any(one.maximum is not None for one in policy.spread):
        # A copy that would be nowhere else instead: taking it away from a lost member helps nobody, and would on its
        # return cost a Service its address.
        lost = frozenset(member.name for member in members if member.name in lost and member.reachable)
        unready = frozenset()
    rooms = {}
    if demand is not None and policy.division.preference != WEIGHTED:
        rooms = {one.name: room for one in members if (room := one.capacity.room(demand)) is not None}
    return Question(
        template.get("apiVersion") or "",
        template.get("kind") or "",
        key,
        frozenset(one.cluster for one in situation.held),
        lost,
        rooms,
        unready,
        situation.together,
        situation.apart,
        situation.fresh,
    )


def _planned(
    template: Object,
    selection: Selection,
    policy: PropagationPolicy,
    situation: Situation,
    *,
    divided: bool,
    demand: Demand,
    key: str,
    spills: bool = False,
) -> Plan:
    if selection.fault:
        return replace(_unchanged(situation, policy, selection.fault), passed_over=selection.passed_over)
    if limits.are_divided(template, policy):
        assigned = limits.divide(template, selection, policy, situation, key)
    elif divided:
        assigned = shares.divide(template, selection, policy, situation, demand, key, spills=spills)
    else:
        copied = workloads.is_divided(template) and not situation.autoscaled
        assigned = shares.copy_to(template, selection, with_replicas=copied)
    held = {one.cluster: one for one in situation.held}
    evictions = [Eviction(name, held[name].replicas, reason) for name, reason in sorted(selection.evict.items())]
    return Plan(
        assignments=assigned.assignments,
        evictions=tuple(evictions),
        displaced=_displaced(selection, situation, policy) if divided else (),
        passed_over={**selection.passed_over, **assigned.passed_over},
        unplaced=assigned.unplaced,
        policy=policy.key,
        demand=demand,
    )


def _over_groups(
    template: Object,
    members: Sequence[Member],
    policy: PropagationPolicy,
    situation: Situation,
    question: Question,
    demand: Demand,
) -> Plan:
    """
    Groups used together, each with what those before have no room for. A cluster belongs to the first that means it.

    Fewer replicas are taken from the last groups first. What overflowed goes back when there is room for it, unless
    the policy has no failback.
    """
    homes = {one.name: _home(one, policy) for one in members}
    found: list[Plan] = []
    faults = []
    total = left = workloads.replicas_of(template)
    last = len(policy.affinities) - 1
    for index, group in enumerate(policy.affinities):
        held = tuple(one for one in situation.held if homes.get(one.cluster) == index)
        # The last group answers for clusters of no group, too: they are told, and give up what they have.
        theirs = {index, None} if index == last else {index}
        there = [one for one in members if homes[one.name] in theirs]
        strays = tuple(one for one in situation.held if index == last and homes.get(one.cluster) is None)
        asked = replace(question, held=frozenset(one.cluster for one in (*held, *strays)))
        selection = select(asked, there, policy, group)
        wanted = left
        if not policy.failover.failback:
            later = sum(one.replicas or 0 for one in situation.held if (homes.get(one.cluster) or 0) > index)
            wanted = min(left, max(sum(one.replicas or 0 for one in held), left - later))
        if index and not wanted and not selection.fault:
            selection = _idle(selection, asked)
        part = _with_replicas(template, wanted, total - left)
        around = replace(
            situation,
            held=(*held, *strays),
            displaced=tuple(d for d in situation.displaced if homes.get(d.cluster) == index),
        )
        spills = index < last
        one = _planned(part, selection, policy, around, divided=True, demand=demand, key=question.key, spills=spills)
        if one.fault:
            faults.append(one.fault)
        left -= sum(share.replicas or 0 for share in one.assignments)
        found.append(_with_words(one, group))
    if faults and not any(one.assignments for one in found if not one.fault):
        return _unchanged(situation, policy, faults[0])
    return Plan(
        assignments=tuple(sorted((share for one in found for share in one.assignments), key=lambda one: one.cluster)),
        evictions=tuple(sorted((gone for one in found for gone in one.evictions), key=lambda one: one.cluster)),
        displaced=tuple(sorted((lost for one in found for lost in one.displaced), key=lambda one: one.cluster)),
        passed_over={name: why for one in found for name, why in one.passed_over.items()},
        unplaced=max(0, left),
        policy=policy.key,
        demand=demand,
    )


def _home(member: Member, policy: PropagationPolicy) -> int | None:
    return next((index for index, group in enumerate(policy.affinities) if group.matches(member)), None)


def _idle(selection: Selection, question: Question) -> Selection:
    """Nothing overflows to these clusters; who has something gives it up."""
    names = [one.name for one in selection.members]
    evict = {name: NOT_SELECTED for name in names if name in question.held}
    words = dict.fromkeys(names, "the groups before have room for all")
    return Selection((), passed_over={**selection.passed_over, **words}, evict={**selection.evict, **evict})


def _with_replicas(template: Object, replicas: int, before: int) -> Object:
    """The template as if it had only these; of a StatefulSet, those that come after the ones `before`."""
    spec = {**(template.get("spec") or {}), "replicas": replicas}
    if workloads.group_kind(template) == workloads.STATEFUL_SET and before:
        ordinals = spec.get("ordinals") or {}
        spec["ordinals"] = {**ordinals, "start": (ordinals.get("start") or 0) + before}
    return {**template, "spec": spec}


def _displaced(selection: Selection, situation: Situation, policy: PropagationPolicy) -> tuple[Displaced, ...]:
    """What lost members had, the newest word on each; forgotten once they can take it back."""
    if not policy.failover.failback:
        return ()
    back = {member.name for member in selection.members} - selection.frozen
    known = {one.cluster: one for one in situation.displaced if one.cluster not in back}
    for one in situation.held:
        if selection.evict.get(one.cluster) == LOST and one.replicas:
            known[one.cluster] = Displaced(one.cluster, one.replicas, one.ordinal_start)
    return tuple(known[name] for name in sorted(known))


def _unchanged(situation: Situation, policy: PropagationPolicy, fault: str) -> Plan:
    return Plan(situation.held, displaced=situation.displaced, fault=fault, policy=policy.key)


def _with_words(found: Plan, group: Affinity) -> Plan:
    if not group.group:
        return found
    assignments = tuple(replace(one, why=f"group {group.group}: {one.why}") for one in found.assignments)
    return replace(found, assignments=assignments)


def uses_capacity(policy: PropagationPolicy) -> bool:
    """Whether promises count against members' capacity: a burst then has to hand `Member.less` from plan to plan."""
    return policy.division.mode == DIVIDED and policy.division.preference != WEIGHTED
