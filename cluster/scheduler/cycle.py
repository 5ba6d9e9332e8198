"""
One Pod: filter the Nodes, score those that are left, choose.

Pure apart from the state it reads. Replicas of one template are judged alike by every Node, so a verdict is kept by
the Pod's signature and only the Nodes that changed since are judged again: that makes the thousandth replica cheap.
"""

import math
import random
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.scheduler.cluster_state import ClusterState
from cluster.scheduler.filters import Refusal, refusal
from cluster.scheduler.neighbours import Neighbours, needs_neighbours
from cluster.scheduler.node_info import NodeInfo
from cluster.scheduler.pod_info import PodInfo
from cluster.scheduler.scores import (
    MAX,
    POD_AFFINITY_WEIGHT,
    SPREAD_WEIGHT,
    NodeScore,
    node_score,
    normalized,
    totals,
)

KEPT_SIGNATURES = 256


class Unschedulable(Exception):
    """No Node takes the Pod. `refusals` says why, by Node; its text is upstream's, for condition and event."""

    def __init__(self, node_count: int, refusals: Mapping[str, Refusal]) -> None:
        super().__init__(node_count, refusals)
        self.node_count = node_count
        self.refusals = refusals

    def __str__(self) -> str:
        return fit_message(self.node_count, self.refusals)

    @property
    def plugins(self) -> frozenset[str]:
        return frozenset(refused.plugin for refused in self.refusals.values())


def fit_message(node_count: int, refusals: Mapping[str, Refusal]) -> str:
    """`0/5 nodes are available: 1 node(s) were unschedulable, 4 Insufficient cpu.`"""
    if not node_count:
        return "no nodes available to schedule pods"
    reasons = Counter(reason for refused in refusals.values() for reason in refused.reasons)
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    return f"0/{node_count} nodes are available: {listed}." if listed else f"0/{node_count} nodes are available:"


@dataclass(slots=True)
class _Verdict:
    generation: int = -1
    scores: dict[str, NodeScore] = field(default_factory=dict)
    refusals: dict[str, Refusal] = field(default_factory=dict)


class Cycle:
    def __init__(self, state: ClusterState, choose_among: random.Random | None = None) -> None:
        self._state = state
        self._random = choose_among or random.Random()  # noqa: S311  (breaks ties, guards nothing)
        self._verdicts: OrderedDict[bytes, _Verdict] = OrderedDict()

    def choose(self, pod: PodInfo) -> str:
        """Name of the best Node. Raises Unschedulable."""
        state = self._state
        verdict = self._verdict(pod)
        scores: Mapping[str, NodeScore] = verdict.scores
        refusals: Mapping[str, Refusal] = verdict.refusals
        if state.nominated:
            scores, refusals = self._leave_room(pod, scores, refusals)
        neighbours = None
        if scores and needs_neighbours(pod, state):
            neighbours = Neighbours.of(pod, state)
            scores, refusals = _apart_from(neighbours, state, scores, refusals)
        if not scores:
            raise Unschedulable(len(state.ready), refusals)
        points = totals(scores, {} if pod.spreads else self._zone_siblings(pod, scores))
        if neighbours is not None:
            _add_neighbour_scores(points, neighbours, state)
        best = max(points.values())
        return self._random.choice([name for name, value in points.items() if value == best])

    def _verdict(self, pod: PodInfo) -> _Verdict:
        """What every Node says to Pods like this, brought up to date."""
        state = self._state
        verdict = self._verdicts.pop(pod.signature, None)
        changed = None if verdict is None else state.changed_since(verdict.generation)
        if verdict is None or changed is None:
            verdict, changed = _Verdict(), set(state.ready)
        self._verdicts[pod.signature] = verdict
        if len(self._verdicts) > KEPT_SIGNATURES:
            self._verdicts.popitem(last=False)
        for name in changed:
            verdict.scores.pop(name, None)
            verdict.refusals.pop(name, None)
            node = state.ready.get(name)
            if node is None:
                continue
            refused = refusal(pod, node)
            if refused is None:
                verdict.scores[name] = node_score(pod, node, state.image_nodes, len(state.ready))
            else:
                verdict.refusals[name] = refused
        verdict.generation = state.generation
        return verdict

    def _leave_room(
        self, pod: PodInfo, scores: Mapping[str, NodeScore], refusals: Mapping[str, Refusal]
    ) -> tuple[dict[str, NodeScore], dict[str, Refusal]]:
        """Without the Nodes whose room is being made for Pods at least as important."""
        kept, refused = dict(scores), dict(refusals)
        for name in {name for name, _ in self._state.nominated.values()} & scores.keys():
            expected = self._state.nominated_to(name, pod.priority, pod.uid)
            if not expected:
                continue
            full = self._state.nodes[name].without(set())
            for other in expected:
                full.add(other)
            why = refusal(pod, full)
            if why is not None:
                del kept[name]
                refused[name] = why
        return kept, refused

    def _zone_siblings(self, pod: PodInfo, scores: Mapping[str, NodeScore]) -> dict[str, float]:
        if not pod.owner:
            return {}
        nodes, owners = self._state.ready, self._state.zone_owners
        zones = {zone for zone in (nodes[name].zone for name in scores) if zone}
        if len(zones) < 2:
            return {}
        weight = math.log(len(zones) + 2)
        return {name: owners[pod.owner, nodes[name].zone] * weight for name in scores}


def _apart_from(
    neighbours: Neighbours, state: ClusterState, scores: Mapping[str, NodeScore], refusals: Mapping[str, Refusal]
) -> tuple[dict[str, NodeScore], dict[str, Refusal]]:
    kept, refused = {}, dict(refusals)
    for name, score in scores.items():
        why = neighbours.refusal(state.ready[name])
        if why is None:
            kept[name] = score
        else:
            refused[name] = why
    return kept, refused


def _add_neighbour_scores(points: dict[str, float], neighbours: Neighbours, state: ClusterState) -> None:
    nodes: Mapping[str, NodeInfo] = state.ready
    near = {name: neighbours.affinity_score(nodes[name]) for name in points}
    low, high = min(near.values()), max(near.values())
    for name, value in near.items():
        points[name] += POD_AFFINITY_WEIGHT * normalized(value, low, high)
    if not neighbours.soft:
        return
    crowds = {name: neighbours.spread_score(nodes[name]) for name in points}
    known = [crowd for crowd in crowds.values() if crowd is not None]
    most, least = max(known, default=0.0), min(known, default=0.0)
    for name, crowd in crowds.items():
        if crowd is not None:
            points[name] += SPREAD_WEIGHT * (MAX * (most + least - crowd) / most if most else MAX)
