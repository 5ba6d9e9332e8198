"""Placements a second, over 10 and 100 clusters."""

import time

from federation.placement.members import Capacity, Member
from federation.placement.plan import Assignment, Situation, plan
from federation.placement.policies import AGGREGATED, CAPACITY, DEFAULT_POLICY, WEIGHTED, Division, PropagationPolicy
from tests.bench.figures import Figures

SECONDS = 1.0
BURST = 500


def measure(figures: Figures) -> None:
    for clusters in (10, 100):
        members = [
            Member(f"member-{at:03d}", region=f"region-{at % 5}", capacity=Capacity(1000, 64_000, 2**38))
            for at in range(clusters)
        ]
        for preference in (WEIGHTED, CAPACITY, AGGREGATED):
            policy = PropagationPolicy("p", "n", division=Division(preference=preference))
            rate = _rate(members, policy, Situation())
            figures.add(f"placements, {preference}, {clusters} clusters", rate, "1/s")
        held = Situation(held=tuple(Assignment(member.name, 5) for member in members))
        figures.add(f"placements, held already, {clusters} clusters", _rate(members, DEFAULT_POLICY, held), "1/s")
    _burst(figures)


def plans_by_capacity(clusters: int) -> float:
    """A second."""
    members = [Member(f"member-{at:03d}", capacity=Capacity(1000, 64_000, 2**38)) for at in range(clusters)]
    return _rate(members, PropagationPolicy("p", "n", division=Division(preference=CAPACITY)), Situation())


def template(number: int, replicas: int) -> dict[str, object]:
    container = {"name": "c", "image": "web:1", "resources": {"requests": {"cpu": "500m", "memory": "256Mi"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": "n", "name": f"web-{number}"},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": [container]}}},
    }


def _rate(members: list[Member], policy: PropagationPolicy, situation: Situation) -> float:
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        plan(template(done, 5 * len(members)), members, policy, situation)
        done += 1
    return done / (time.perf_counter() - began)


def _burst(figures: Figures) -> None:
    """Five hundred at once by capacity, every plan knowing the promises of those before."""
    room = 40
    members = {f"member-{at}": Member(f"member-{at}", capacity=Capacity(room, 10**9, 2**50)) for at in range(10)}
    policy = PropagationPolicy("p", "n", division=Division(preference=CAPACITY))
    given = dict.fromkeys(members, 0)
    began = time.perf_counter()
    for number in range(BURST):
        found = plan(template(number, 2), members.values(), policy)
        for one in found.assignments:
            given[one.cluster] += one.replicas or 0
            members[one.cluster] = members[one.cluster].less(one.replicas or 0, found.demand)
    figures.add(f"{BURST} placements at once, 10 clusters with promises", time.perf_counter() - began, "s")
    figures.add("replicas promised beyond capacity", sum(max(0, count - room) for count in given.values()), "")
