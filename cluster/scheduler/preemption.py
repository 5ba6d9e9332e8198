"""
Make room for a more important Pod: which Node, and which Pods must go.

Pure. Victims are of lower priority; as many as possible are spared, first those whose disruption budget would be
violated. Source: kube-scheduler, framework/preemption, plugins/defaultpreemption.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.machinery.labels import Selector
from cluster.machinery.objects import Object
from cluster.scheduler.cluster_state import ClusterState
from cluster.scheduler.filters import Refusal, refusal
from cluster.scheduler.neighbours import needs_neighbours
from cluster.scheduler.node_info import NodeInfo
from cluster.scheduler.pod_info import PodInfo

NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"


@dataclass(frozen=True, slots=True)
class Budget:
    """A PodDisruptionBudget: how many of its Pods may still be disrupted."""

    namespace: str
    selector: Selector
    allowed: int


@dataclass(frozen=True, slots=True)
class Preemption:
    """Evict these Pods from this Node."""

    node_name: str
    victims: tuple[PodInfo, ...]
    violations: int = 0
    """How many of the evictions a disruption budget forbids."""


def may_preempt(pod: Object) -> bool:
    return (pod.get("spec") or {}).get("preemptionPolicy") != "Never"


def plan_preemption(
    pod: PodInfo, state: ClusterState, refusals: Mapping[str, Refusal], budgets: Sequence[Budget]
) -> tuple[Preemption | None, str]:
    """
    The least harmful way to make room, and, without one, what upstream adds to the Pod's message.

    Pods with rules about other Pods are not helped: their verdict cannot be worked out Node by Node.
    """
    reasons: Counter[str] = Counter()
    found = []
    for name, refused in refusals.items():
        node = state.ready.get(name)
        if refused.final or node is None:
            reasons[NOT_HELPFUL] += 1
            continue
        candidate = None if needs_neighbours(pod, state) else victims_on(pod, node, budgets)
        if candidate is None:
            reasons[NO_VICTIMS] += 1
        else:
            found.append(candidate)
    if found:
        return min(found, key=_harm), ""
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    return None, f"preemption: 0/{len(refusals)} nodes are available: {listed}."


def victims_on(pod: PodInfo, node: NodeInfo, budgets: Sequence[Budget]) -> Preemption | None:
    """Which Pods would have to leave this Node; None when even without all lesser ones there is no room."""
    lesser = [other for other in node.pods.values() if other.priority < pod.priority]
    if not lesser:
        return None
    victims = {other.uid for other in lesser}
    if refusal(pod, node.without(victims)) is not None:
        return None
    violating = _violating(lesser, budgets)
    # Bring back the important ones first, and before all those a budget protects.
    for other in sorted(lesser, key=lambda p: (p.uid not in violating, -p.priority, _started(p))):
        if refusal(pod, node.without(victims - {other.uid})) is None:
            victims.discard(other.uid)
    chosen = sorted((p for p in lesser if p.uid in victims), key=lambda p: -p.priority)
    return Preemption(node.name, tuple(chosen), len(victims & violating))


def _violating(pods: Sequence[PodInfo], budgets: Sequence[Budget]) -> set[str]:
    left = {id(budget): budget.allowed for budget in budgets}
    found = set()
    for pod in sorted(pods, key=lambda p: (-p.priority, _started(p))):
        for budget in budgets:
            if budget.namespace == pod.key.namespace and budget.selector.matches(pod.labels):
                left[id(budget)] -= 1
                if left[id(budget)] < 0:
                    found.add(pod.uid)
    return found


def _started(pod: PodInfo) -> str:
    return str((pod.pod.get("status") or {}).get("startTime") or "~")


def _harm(preemption: Preemption) -> tuple[int, int, int, int, str]:
    priorities = [victim.priority for victim in preemption.victims]
    return (
        preemption.violations,
        max(priorities, default=0),
        sum(priorities),
        len(priorities),
        preemption.node_name,
    )
