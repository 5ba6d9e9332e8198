"""
Rules that look at other Pods: affinity, anti-affinity, topology spread.

Pure. `Neighbours.of` reads the whole state once for a Pod; then each Node is judged by looking up its topology
values. Source: kube-scheduler, framework/plugins/{interpodaffinity,podtopologyspread}.
"""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from cluster.machinery.tolerations import first_untolerated
from cluster.scheduler.cluster_state import ClusterState
from cluster.scheduler.filters import Refusal, fits_labels
from cluster.scheduler.node_info import NodeInfo
from cluster.scheduler.pod_info import PodInfo, PodTerm, Spread

NOT_NEAR = Refusal("InterPodAffinity", ("node(s) didn't match pod affinity rules",), True)
TOO_NEAR = Refusal("InterPodAffinity", ("node(s) didn't match pod anti-affinity rules",), False)
UNWANTED = Refusal("InterPodAffinity", ("node(s) didn't satisfy existing pods anti-affinity rules",), False)
SKEWED = Refusal("PodTopologySpread", ("node(s) didn't match pod topology spread constraints",), False)
NO_TOPOLOGY = Refusal(
    "PodTopologySpread", ("node(s) didn't match pod topology spread constraints (missing required label)",), True
)

Topology = tuple[str, str]
"""Label and value, e.g. (topology.kubernetes.io/zone, a)."""

HARD_POD_AFFINITY_WEIGHT = 1


@dataclass(slots=True)
class SpreadCounts:
    """Matching Pods by value of one constraint's topology label, over the Nodes that count."""

    spread: Spread
    by_value: dict[str, int]
    self_match: int

    def least(self) -> int:
        if len(self.by_value) < self.spread.min_domains:
            return 0
        return min(self.by_value.values(), default=0)


@dataclass(slots=True)
class Neighbours:
    """What the other Pods mean for one Pod."""

    pod: PodInfo
    near: list[Counter[str]] = field(default_factory=list)
    """For each required affinity term: Pods that match all terms, by topology value."""
    apart: list[Counter[str]] = field(default_factory=list)
    unwanted: set[Topology] = field(default_factory=set)
    first_of_its_kind: bool = False
    """No Pod matches the affinity yet, but the Pod matches itself: somebody must be the first."""
    hard: list[SpreadCounts] = field(default_factory=list)
    soft: list[SpreadCounts] = field(default_factory=list)
    weights: dict[Topology, int] = field(default_factory=lambda: defaultdict(int))

    @staticmethod
    def of(pod: PodInfo, state: ClusterState) -> "Neighbours":
        found = Neighbours(pod)
        found._count_affinity(state)
        found._weigh(state)
        for spread in pod.spreads:
            counts = found._count_spread(state, spread)
            (found.hard if spread.hard else found.soft).append(counts)
        return found

    def refusal(self, node: NodeInfo) -> Refusal | None:
        labels = node.labels
        for counts in self.hard:
            value = labels.get(counts.spread.topology_key)
            if value is None:
                return NO_TOPOLOGY
        for counts in self.hard:
            value = labels[counts.spread.topology_key]
            if counts.by_value.get(value, 0) + counts.self_match - counts.least() > counts.spread.max_skew:
                return SKEWED
        if self.near and not self._is_near(node):
            return NOT_NEAR
        for term, by_value in zip(self.pod.anti_affinity, self.apart, strict=True):
            value = labels.get(term.topology_key)
            if value is not None and by_value[value] > 0:
                return TOO_NEAR
        if self.unwanted and not self.unwanted.isdisjoint(labels.items()):
            return UNWANTED
        return None

    def _is_near(self, node: NodeInfo) -> bool:
        values = [node.labels.get(term.topology_key) for term in self.pod.affinity]
        if any(value is None for value in values):
            return False
        if self.first_of_its_kind:
            return True
        return all(counts[value] > 0 for counts, value in zip(self.near, values, strict=True) if value is not None)

    def affinity_score(self, node: NodeInfo) -> int:
        """Sum of the weights that the Node's topology has gathered; higher is better."""
        return sum(self.weights.get(topology, 0) for topology in node.labels.items()) if self.weights else 0

    def spread_score(self, node: NodeInfo) -> float | None:
        """Matching Pods around the Node, weighted; lower is better. None when a topology label is missing."""
        total = 0.0
        for counts in self.soft:
            value = node.labels.get(counts.spread.topology_key)
            if value is None:
                return None
            weight = math.log(len(counts.by_value) + 2)
            total += counts.by_value.get(value, 0) * weight + counts.spread.max_skew - 1
        return total

    # --- counting ------------------------------------------------------------------------------------------

    def _count_affinity(self, state: ClusterState) -> None:
        pod = self.pod
        self.near = [Counter() for _ in pod.affinity]
        self.apart = [Counter() for _ in pod.anti_affinity]
        if pod.affinity or pod.anti_affinity:
            for info, other in state.bound_pods():
                if pod.affinity and all(_matches(term, other, state) for term in pod.affinity):
                    _count(self.near, pod.affinity, info)
                for term, counter in zip(pod.anti_affinity, self.apart, strict=True):
                    if _matches(term, other, state):
                        _count([counter], (term,), info)
            nobody = all(not counter for counter in self.near)
            self.first_of_its_kind = nobody and all(_matches(term, pod, state) for term in pod.affinity)
        for name in state.nodes_with_terms:
            info = state.nodes[name]
            for other in info.with_terms.values():
                for term in other.anti_affinity:
                    value = info.labels.get(term.topology_key)
                    if value is not None and _matches(term, pod, state):
                        self.unwanted.add((term.topology_key, value))

    def _weigh(self, state: ClusterState) -> None:
        pod = self.pod
        own = [(t, 1) for t in pod.preferred_affinity] + [(t, -1) for t in pod.preferred_anti_affinity]
        if own:
            for info, other in state.bound_pods():
                for term, sign in own:
                    if _matches(term, other, state):
                        self._add_weight(term, info, sign * term.weight)
        for name in state.nodes_with_terms:
            info = state.nodes[name]
            for other in info.with_terms.values():
                theirs = [(t, HARD_POD_AFFINITY_WEIGHT) for t in other.affinity]
                theirs += [(t, t.weight) for t in other.preferred_affinity]
                theirs += [(t, -t.weight) for t in other.preferred_anti_affinity]
                for term, weight in theirs:
                    if _matches(term, pod, state):
                        self._add_weight(term, info, weight)

    def _add_weight(self, term: PodTerm, info: NodeInfo, weight: int) -> None:
        value = info.labels.get(term.topology_key)
        if value is not None:
            self.weights[term.topology_key, value] += weight

    def _count_spread(self, state: ClusterState, spread: Spread) -> SpreadCounts:
        by_value: dict[str, int] = {}
        keys = [s.topology_key for s in self.pod.spreads if s.hard == spread.hard]
        for info in state.ready.values():
            if any(key not in info.labels for key in keys) or not self._counts(spread, info):
                continue
            value = info.labels[spread.topology_key]
            matching = sum(
                other.key.namespace == self.pod.key.namespace
                and "deletionTimestamp" not in other.pod["metadata"]
                and spread.selector.matches(other.labels)
                for other in info.pods.values()
            )
            by_value[value] = by_value.get(value, 0) + matching
        return SpreadCounts(spread, by_value, int(spread.selector.matches(self.pod.labels)))

    def _counts(self, spread: Spread, info: NodeInfo) -> bool:
        """Whether the Node belongs to the domains at all, by the constraint's inclusion policies."""
        if spread.honor_affinity and not fits_labels(self.pod, info.name, info.labels):
            return False
        effects = ("NoSchedule", "NoExecute")
        return not spread.honor_taints or first_untolerated(self.pod.tolerations, info.taints, effects) is None


def _matches(term: PodTerm, other: PodInfo, state: ClusterState) -> bool:
    namespace = other.key.namespace
    return term.matches(namespace, other.labels, state.namespace_labels.get(namespace, {}))


def _count(counters: list[Counter[str]], terms: tuple[PodTerm, ...], info: NodeInfo) -> None:
    for term, counter in zip(terms, counters, strict=True):
        value = info.labels.get(term.topology_key)
        if value is not None:
            counter[value] += 1


def needs_neighbours(pod: PodInfo, state: ClusterState) -> bool:
    """Whether other Pods matter to this one, or it to them."""
    return pod.looks_at_pods or bool(state.nodes_with_terms)
