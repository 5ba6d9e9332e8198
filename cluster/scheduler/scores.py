"""
Which of the Nodes that can take a Pod is best.

Pure. `node_score` is what one Node says by itself and stays valid until that Node changes; `total` compares.
Weights are upstream's: taints 3, node affinity 2, pod affinity 2, spread 2, the rest 1.
Source: kube-scheduler, framework/plugins/*, apis/config/v1/default_plugins.go.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from cluster.machinery.tolerations import first_untolerated
from cluster.scheduler.node_info import NodeInfo
from cluster.scheduler.pod_info import PodInfo

MAX = 100
TAINT_WEIGHT, NODE_AFFINITY_WEIGHT, POD_AFFINITY_WEIGHT, SPREAD_WEIGHT = 3, 2, 2, 2

_MIN_IMAGE = 23 * 1024 * 1024
_MAX_IMAGE_PER_CONTAINER = 1000 * 1024 * 1024


class NodeScore(NamedTuple):
    absolute: float
    """Resources and images, in points that need no comparison."""
    disliked_taints: int
    """PreferNoSchedule taints that are not tolerated."""
    preferred: int
    """Weights of the preferred node affinity that fit."""
    siblings: int
    """Pods of the same controller that are there."""


def least_allocated(pod: PodInfo, node: NodeInfo) -> float:
    """How free the Node would be, averaged over cpu and memory."""
    score, counted = 0.0, 0
    for name, used in (("cpu", node.counted_cpu), ("memory", node.counted_memory)):
        total = node.allocatable.get(name, 0)
        if total:
            counted += 1
            wanted = used + pod.counted[name]
            score += (total - wanted) * MAX // total if wanted <= total else 0
    return score / counted if counted else 0.0


def balanced_allocation(pod: PodInfo, node: NodeInfo) -> float:
    """How alike the shares of cpu and memory would be."""
    fractions = []
    for name, used in (("cpu", node.counted_cpu), ("memory", node.counted_memory)):
        total = node.allocatable.get(name, 0)
        if total:
            fractions.append(min((used + pod.counted[name]) / total, 1.0))
    deviation = abs(fractions[0] - fractions[1]) / 2 if len(fractions) == 2 else 0.0
    return math.floor((1 - deviation) * MAX)


def image_locality(pod: PodInfo, node: NodeInfo, image_nodes: Mapping[str, int], node_count: int) -> float:
    """How much of the Pod's images is there already; images on few Nodes count less, so as not to gather there."""
    total = sum(
        node.images[image] * image_nodes.get(image, 0) / node_count
        for image in (_with_tag(name) for name in pod.images)
        if image in node.images
    )
    ceiling = _MAX_IMAGE_PER_CONTAINER * max(len(pod.images), 1)
    return MAX * (min(max(total, _MIN_IMAGE), ceiling) - _MIN_IMAGE) // (ceiling - _MIN_IMAGE)


def _with_tag(image: str) -> str:
    return image if ":" in image.rsplit("/", 1)[-1] or "@" in image else f"{image}:latest"


def node_score(pod: PodInfo, node: NodeInfo, image_nodes: Mapping[str, int], node_count: int) -> NodeScore:
    absolute = least_allocated(pod, node) + balanced_allocation(pod, node)
    if node.images:
        absolute += image_locality(pod, node, image_nodes, node_count)
    disliked = sum(
        1 for taint in node.taints if first_untolerated(pod.tolerations, (taint,), ("PreferNoSchedule",)) is not None
    )
    preferred = sum(weight for weight, term in pod.preferred_nodes if term.matches(node.name, node.labels))
    return NodeScore(absolute, disliked, preferred, node.owners[pod.owner] if pod.owner else 0)


def normalized(value: float, low: float, high: float) -> float:
    """Points from 0 to 100 between the lowest and the highest."""
    return (value - low) * MAX / (high - low) if high > low else 0.0


def totals(scores: Mapping[str, NodeScore], zone_siblings: Mapping[str, float]) -> dict[str, float]:
    """
    The points of each Node.

    Args:
        scores: By Node, of all that can take the Pod.
        zone_siblings: By Node, Pods of the same controller in its zone; empty when that does not matter.
    """
    most_disliked = max((s.disliked_taints for s in scores.values()), default=0)
    most_preferred = max((s.preferred for s in scores.values()), default=0)
    crowds = {name: s.siblings * math.log(len(scores) + 2) + zone_siblings.get(name, 0.0) for name, s in scores.items()}
    most = max(crowds.values(), default=0.0)
    if not (most_disliked or most_preferred or most):
        return {name: s.absolute for name, s in scores.items()}
    least = min(crowds.values(), default=0.0)
    found = {}
    for name, score in scores.items():
        points = score.absolute
        if most_disliked:
            points += TAINT_WEIGHT * (MAX - score.disliked_taints * MAX / most_disliked)
        if most_preferred:
            points += NODE_AFFINITY_WEIGHT * score.preferred * MAX / most_preferred
        if most:
            points += SPREAD_WEIGHT * MAX * (most + least - crowds[name]) / most
        found[name] = points
    return found
