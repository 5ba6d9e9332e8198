"""From the clusters chosen to what each of them gets: replicas, completions, ordinals. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from cluster.machinery.objects import Object
from federation.placement import ordinals, split_replicas, workloads
from federation.placement.affinity import EVERYWHERE
from federation.placement.members import Demand, Member
from federation.placement.plans import Assignment, Situation
from federation.placement.policies import AGGREGATED, CAPACITY, WEIGHTED, PropagationPolicy, Weight
from federation.placement.select import Selection
from federation.placement.split_replicas import Share, Split

_EVEN = Weight(EVERYWHERE, 1)


@dataclass(frozen=True, slots=True)
class Assigned:
    assignments: tuple[Assignment, ...]
    passed_over: Mapping[str, str] = field(default_factory=dict)
    unplaced: int = 0


def copy_to(template: Object, selection: Selection, *, with_replicas: bool) -> Assigned:
    """The whole object for everybody; `with_replicas` where it has some and the plan is to say so."""
    spec = template.get("spec") or {}
    replicas = workloads.replicas_of(template) if with_replicas else None
    completions = spec.get("completions") if with_replicas else None
    words = "a copy" if replicas is None else f"all {replicas} replicas"
    names = sorted(member.name for member in selection.members)
    return Assigned(tuple(Assignment(name, replicas, completions, why=words) for name in names))


def divide(
    template: Object,
    selection: Selection,
    policy: PropagationPolicy,
    situation: Situation,
    demand: Demand,
    key: str,
    *,
    spills: bool = False,
) -> Assigned:
    """
    A workload's replicas among the selected clusters, as the policy says.

    `spills`: what nobody here can run is unplaced, others will be asked.
    """
    if workloads.group_kind(template) == workloads.JOB and (
        any(one.cluster for one in situation.held) or workloads.is_indivisible(template)
    ):
        return _settled_job(template, selection, situation, key)
    total = workloads.replicas_of(template)
    claims, without = _claims(selection, policy, situation, demand)
    if not policy.division.rebalance:
        claims = _returned(total, claims, selection, policy, situation, key)
    split = _split(total, claims, policy, key)
    if spills and split.overflow:
        split = Split(split.replicas, unplaced=split.unplaced + sum(split.overflow.values()))
    ranges = {}
    counts = {name: count + split.overflow.get(name, 0) for name, count in split.replicas.items()}
    if workloads.group_kind(template) == workloads.STATEFUL_SET:
        ranges = _ranges(template, counts, claims, situation, rebalance=policy.division.rebalance)
        counts = {name: one.count for name, one in ranges.items()}
    completions = _completions(template, counts, key)
    if completions:
        counts = {name: count for name, count in counts.items() if completions[name]}
    held = {one.cluster for one in situation.held}
    weights = {claim.cluster: claim.weight for claim in claims}
    assignments = []
    for name in sorted(counts):
        if not counts[name] and name not in held and total:
            without[name] = f"{total} replicas are with other clusters" if total > 1 else "the one replica is elsewhere"
            continue
        words = _words(counts[name], total, split.overflow.get(name, 0), weights[name], policy)
        start = ranges[name].start if name in ranges else None
        assignments.append(Assignment(name, counts[name], completions.get(name), start, words))
    return Assigned(tuple(assignments), without, split.unplaced)


def weights_of(selection: Selection, policy: PropagationPolicy) -> tuple[dict[str, int], dict[str, str]]:
    """Cluster -> its weight in the order of names, and the clusters that the policy gives none, with the words."""
    weighed = _weighed(selection, policy)
    weights = {member.name: weight.weight for member, weight in weighed if weight is not None}
    without = {member.name: "the policy gives it no weight" for member, weight in weighed if weight is None}
    return {name: weights[name] for name in sorted(weights)}, without


def _weighed(selection: Selection, policy: PropagationPolicy) -> list[tuple[Member, Weight | None]]:
    weights = policy.division.weights
    weighed = [(member, _weight(member, weights)) for member in selection.members]
    if weights and not any(weight and weight.weight + weight.minimum for _, weight in weighed):
        return [(member, _EVEN) for member in selection.members]  # weights for clusters that are not there mean nothing
    return weighed


def _claims(
    selection: Selection, policy: PropagationPolicy, situation: Situation, demand: Demand
) -> tuple[list[Share], dict[str, str]]:
    held = {one.cluster: one.replicas or 0 for one in situation.held}
    division = policy.division
    weighed = _weighed(selection, policy)
    everywhere = 1 if any(one.minimum > 1 for one in policy.spread) else 0
    claims, without = [], {}
    for member, weight in weighed:
        has = held.get(member.name, 0)
        if weight is None:
            without[member.name] = "the policy gives it no weight"
            if has and not division.rebalance:
                claims.append(Share(member.name, 0, held=has, maximum=has, limit=situation.limits.get(member.name)))
                del without[member.name]
            continue
        limit = situation.limits.get(member.name)
        if division.preference != WEIGHTED:
            room = member.capacity.room(demand)
            limit = limit if room is None else has + room if limit is None else min(limit, has + room)
        claim = Share(member.name, weight.weight, max(weight.minimum, everywhere), weight.maximum, limit, has)
        if member.name in selection.frozen:
            claim = replace(claim, minimum=has, maximum=has, limit=None)
        elif member.name in selection.no_more:
            most = has if claim.maximum is None else min(has, claim.maximum)
            claim = replace(claim, minimum=min(claim.minimum, most), maximum=most)
        claims.append(claim)
    return claims, without


def _weight(member: Member, weights: tuple[Weight, ...]) -> Weight | None:
    """The highest weight that means the cluster, the first of equals; none when others are named and it is not."""
    if not weights:
        return _EVEN
    found = [one for one in weights if one.clusters.matches(member)]
    return max(found, key=lambda one: one.weight) if found else None


def _split(total: int, claims: list[Share], policy: PropagationPolicy, key: str) -> Split:
    rebalance = policy.division.rebalance
    match policy.division.preference:
        case preference if preference == CAPACITY:
            return split_replicas.divide_by_capacity(total, claims, key=key, rebalance=rebalance)
        case preference if preference == AGGREGATED:
            return split_replicas.aggregate_in_few(total, claims, key=key, rebalance=rebalance)
        case _:
            return split_replicas.divide_by_weight(total, claims, key=key, rebalance=rebalance)


def _returned(
    total: int, claims: list[Share], selection: Selection, policy: PropagationPolicy, situation: Situation, key: str
) -> list[Share]:
    """
    Claims as if members that are back had kept what they had when they were lost.

    They get no more of it than they would in a division from nothing, and the others give up only what is needed.
    """
    if not policy.failover.failback or not situation.displaced:
        return claims
    able = {claim.cluster for claim in claims} - selection.frozen - selection.no_more
    displaced = {one.cluster: one.replicas for one in situation.displaced if one.cluster in able}
    if not displaced:
        return claims
    ideal = split_replicas.divide_by_weight(total, claims, key=key, rebalance=True).replicas
    back = {name: min(count, ideal.get(name, 0)) for name, count in displaced.items()}
    others = [claim for claim in claims if claim.cluster not in back]
    theirs = split_replicas.divide_by_weight(max(0, total - sum(back.values())), others, key=key).replicas
    now = {**{one.cluster: min(one.held, theirs[one.cluster]) for one in others}, **back}
    return [replace(claim, held=max(now[claim.cluster], 0)) for claim in claims]


def _ranges(
    template: Object, counts: dict[str, int], claims: list[Share], situation: Situation, *, rebalance: bool
) -> dict[str, ordinals.Range]:
    """Ordinals begin where the template's do; upstream's default is 0."""
    first = ((template.get("spec") or {}).get("ordinals") or {}).get("start") or 0
    before = {
        one.cluster: ordinals.Range(one.ordinal_start - first, one.replicas or 0)
        for one in situation.held
        if one.ordinal_start is not None and one.ordinal_start >= first
    }
    back = {
        one.cluster: ordinals.Range(one.ordinal_start - first, one.replicas)
        for one in situation.displaced
        if one.ordinal_start is not None and one.cluster in counts and one.ordinal_start >= first
    }
    if rebalance or back:
        ranges = ordinals.lay_out(counts, before | back)
    else:
        ranges = ordinals.keep_and_fill(sum(counts.values()), counts, before)
        most = {claim.cluster: claim.maximum for claim in claims if claim.maximum is not None}
        if any(one.count > most.get(name, one.count) for name, one in ranges.items()):
            ranges = ordinals.lay_out(counts, before)
    return {name: ordinals.Range(first + one.start, one.count) for name, one in ranges.items()}


def _completions(template: Object, counts: Mapping[str, int], key: str) -> dict[str, int]:
    """A Job's completions follow its parallelism; without a number every cluster works until one Pod succeeds."""
    completions = (template.get("spec") or {}).get("completions")
    if workloads.group_kind(template) != workloads.JOB or not isinstance(completions, int) or not sum(counts.values()):
        return {}
    return split_replicas.in_proportion(completions, counts, key=key)


def _settled_job(template: Object, selection: Selection, situation: Situation, key: str) -> Assigned:
    """
    A Job that runs, or that cannot be divided: what a cluster was given to complete cannot be changed there.

    What lost members had goes, as it was, to clusters that have no part yet; where there are none it is unplaced.
    """
    spec = template.get("spec") or {}
    total = workloads.replicas_of(template)
    able = {member.name for member in selection.members}
    kept = [one for one in situation.held if one.cluster in able]
    homeless = [one for one in situation.held if one.cluster not in able and one.cluster in selection.evict]
    if not situation.held:
        homeless = [Assignment("", total, spec.get("completions"))]
    taken = {one.cluster for one in situation.held} | selection.no_more | selection.frozen
    free = [member.name for member in selection.members if member.name not in taken]
    free.sort(key=lambda name: split_replicas.draw(name, key))
    moved = [
        replace(one, cluster=name, why="the whole Job" if not one.cluster else f"the part that {one.cluster} had")
        for name, one in zip(free, homeless, strict=False)
    ]
    without = dict.fromkeys(free[len(moved) :], "a Job stays where it was begun")
    unplaced = sum(one.replicas or 0 for one in homeless[len(moved) :])
    return Assigned(tuple(sorted([*kept, *moved], key=lambda one: one.cluster)), without, unplaced)


def _words(count: int, total: int, overflow: int, weight: int, policy: PropagationPolicy) -> str:
    by = f"by weight {weight}" if policy.division.preference == WEIGHTED else f"by {policy.division.preference.lower()}"
    waiting = f", {overflow} of them beyond what it can run" if overflow else ""
    return f"{count} of {total} replicas {by}{waiting}"
