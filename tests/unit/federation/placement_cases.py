"""Random plannings, and what has to be true of every one of them. Seeded: a case is known by its number."""

import random
from collections import Counter
from dataclasses import dataclass

from federation.placement.affinity import EVERYWHERE, Affinity
from federation.placement.members import Capacity, Member
from federation.placement.plan import Assignment, Displaced, Plan, Situation, plan
from federation.placement.policies import (
    AGGREGATED,
    CAPACITY,
    WEIGHTED,
    Division,
    Failover,
    PropagationPolicy,
    Spread,
    Weight,
)

PHASES = ["Ready"] * 8 + ["Suspect", "Unreachable", "Pending", "Leaving"]
TAINTS = [()] * 8 + [
    ({"key": "t", "effect": "NoSchedule"},),
    ({"key": "t", "effect": "NoExecute"},),
    ({"key": "t", "effect": "PreferNoSchedule"},),
]


@dataclass(frozen=True)
class Case:
    template: dict[str, object]
    total: int
    members: tuple[Member, ...]
    policy: PropagationPolicy
    situation: Situation

    def plan(self) -> Plan:
        return plan(self.template, self.members, self.policy, self.situation)


def case(number: int) -> Case:
    rng = random.Random(number)
    names = [f"cluster-{index}" for index in range(rng.choice((1, 2, 3, 3, 5, 8, 13)))]
    members = tuple(_member(rng, name) for name in names)
    total = rng.choice((0, 1, 2, 3, 7, 50, rng.randrange(1000)))
    held = {name: rng.randrange(rng.choice((2, 10, 100))) for name in names if rng.random() < 0.4}
    kind = rng.choice(("Deployment", "Deployment", "StatefulSet"))
    starts, at = {}, 0
    for name, count in held.items():
        starts[name], at = at, at + count
    ordered = kind == "StatefulSet"
    situation = Situation(
        held=tuple(Assignment(name, count, None, starts[name] if ordered else None) for name, count in held.items()),
        limits={name: rng.randrange(60) for name in names if rng.random() < 0.2},
        lost=frozenset(one.name for one in members if one.phase == "Unreachable" and rng.random() < 0.5),
        displaced=tuple(
            Displaced(name, rng.randrange(1, 20)) for name in names if name not in held and rng.random() < 0.1
        ),
    )
    template: dict[str, object] = {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"namespace": "n", "name": f"web-{number}"},
        "spec": {"replicas": total},
    }
    return Case(template, total, members, _policy(rng, names), situation)


def _member(rng: random.Random, name: str) -> Member:
    return Member(
        name,
        taints=rng.choice(TAINTS),
        region=rng.choice(("eu", "us", "asia", "")),
        phase=rng.choice(PHASES),
        unschedulable=rng.random() < 0.1,
        capacity=Capacity(pods=rng.choice((None, rng.randrange(400)))),
    )


def _policy(rng: random.Random, names: list[str]) -> PropagationPolicy:
    weights = []
    if rng.random() < 0.6:
        for name in names:
            if rng.random() < 0.8:
                least = rng.choice((0, 0, rng.randrange(20)))
                most = rng.choice((None, None, least + rng.randrange(30)))
                weights.append(Weight(Affinity(frozenset([name])), rng.choice((0, 1, 1, 2, 5, 100)), least, most))
    spread: tuple[Spread, ...] = ()
    if rng.random() < 0.2:
        spread = (Spread("region", minimum=rng.randrange(3), maximum=rng.choice((None, 2))),)
    elif rng.random() < 0.2:
        spread = (Spread("cluster", minimum=rng.randrange(3), maximum=rng.choice((None, 3))),)
    affinity = EVERYWHERE if rng.random() < 0.7 else Affinity(exclude=frozenset(rng.sample(names, 1)))
    return PropagationPolicy(
        affinities=(affinity,),
        spread=spread,
        division=Division(
            preference=rng.choice((WEIGHTED, WEIGHTED, CAPACITY, AGGREGATED)),
            weights=tuple(weights),
            rebalance=rng.random() < 0.3,
        ),
        failover=Failover(failback=rng.random() < 0.7),
    )


def faults(given: Case) -> list[str]:
    """What is wrong with the plan of a case; nothing is as it should be."""
    found, again = given.plan(), given.plan()
    wrong = [] if found == again else ["two plans of the same case differ"]
    held = {one.cluster: one.replicas or 0 for one in given.situation.held}
    got = {one.cluster: one.replicas or 0 for one in found.assignments}
    if found.fault:
        return wrong + ([] if got == held else ["a plan with a fault changes something"])
    members = {member.name: member for member in given.members}
    if got and sum(got.values()) + found.unplaced != given.total:
        wrong.append(f"{sum(got.values())} given and {found.unplaced} unplaced of {given.total}")
    for name, count in got.items():
        if count > held.get(name, 0):
            wrong += _eligible(given, members[name])
    wrong += _bounds(given, members, held, got)
    wrong += _ordinals(given, found) if given.template["kind"] == "StatefulSet" else _moves(given, found, held, got)
    return wrong


def _eligible(given: Case, member: Member) -> list[str]:
    taints = {taint["effect"] for taint in member.taints}
    able = member.phase == "Ready" and not member.unschedulable and not taints & {"NoSchedule", "NoExecute"}
    able = able and given.policy.affinities[0].matches(member) and member.name not in given.situation.lost
    return [] if able else [f"{member.name} gets more although it may not"]


def _bounds(given: Case, members: dict[str, Member], held: dict[str, int], got: dict[str, int]) -> list[str]:
    wrong = []
    weights = {next(iter(one.clusters.names)): one for one in given.policy.division.weights}
    meant = any(one.weight + one.minimum for name, one in weights.items() if name in got)
    for name, count in got.items():
        one, free = weights.get(name), members[name]
        if one and meant and one.maximum is not None and count > one.maximum and free.phase == "Ready":
            wrong.append(f"{name} has {count}, above its maximum {one.maximum}")
        room = free.capacity.pods
        fits = given.policy.division.preference != WEIGHTED and given.template["kind"] == "Deployment"
        if fits and room is not None and count > held.get(name, 0) + room:
            wrong.append(f"{name} has {count}, more than fit")
    # Minimums hold where they can: as soon as anybody has more than its own, nobody may have less.
    limited = given.situation.limits
    for name, one in weights.items():
        plain = name in got and members[name] == Member(name, region=members[name].region) and name not in limited
        spare = any(
            count > max(weights[n].minimum if n in weights else 0, 1) and n in weights and members[n].phase == "Ready"
            for n, count in got.items()
        )
        if plain and meant and spare and got[name] < one.minimum and given.template["kind"] == "Deployment":
            wrong.append(f"{name} has {got[name]}, below its minimum {one.minimum}, and others have more than theirs")
    return wrong


def _moves(given: Case, found: Plan, held: dict[str, int], got: dict[str, int]) -> list[str]:
    """Without rebalance, and nothing that asks for a move: who runs some keeps them as long as the total allows."""
    division = given.policy.division
    asked = division.weights or given.situation.limits or given.situation.displaced or given.policy.spread
    if division.rebalance or asked:
        return []
    survivors = {name: count for name, count in held.items() if name in got}
    if sum(survivors.values()) <= given.total:
        return [f"{name} falls from {count} to {got[name]}" for name, count in survivors.items() if got[name] < count]
    gains = [name for name, count in got.items() if count > held.get(name, 0)]
    return [f"{gains} gain while others have to give"] if gains else []


def _ordinals(given: Case, found: Plan) -> list[str]:
    numbers: Counter[int] = Counter()
    for one in found.assignments:
        start = one.ordinal_start or 0
        numbers.update(range(start, start + (one.replicas or 0)))
    placed = given.total - found.unplaced
    if found.assignments and numbers != Counter(range(placed)):
        return [f"ordinals are not 0 to {placed - 1}, each once"]
    return []
