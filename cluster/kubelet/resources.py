"""
Requests and limits: what a pod counts for on its node, its QoS class, and the cgroup settings of a container.

Pure. CPU is in millicores, everything else in the resource's own unit (bytes, pieces).
"""

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal

from cluster.kubelet.pods import ContainerKind, app_containers, init_containers, is_critical
from cluster.kubelet.runtime import LinuxResources
from cluster.machinery.objects import Object
from cluster.machinery.quantity import Quantity

CPU_PERIOD_MICROSECONDS = 100_000
MIN_QUOTA_MICROSECONDS = 1_000
MIN_SHARES, MAX_SHARES = 2, 262_144

# The kernel's oom-killer ranking. Source: upstream pkg/kubelet/qos/policy.go.
GUARANTEED_OOM_SCORE, BEST_EFFORT_OOM_SCORE = -997, 1000

Amounts = dict[str, int]
"""Resource name -> amount: cpu in millicores, others in their unit, rounded up."""


def parse_amount(text: str | int | float) -> Decimal:
    """`1500m`, `2Gi`, `1e3`. Raises QuantityError (a ValueError) for anything else."""
    return Quantity.parse(text).decimal


def amounts(quantities: Mapping[str, str] | None) -> Amounts:
    return {
        name: math.ceil(parse_amount(q) * 1000) if name == "cpu" else math.ceil(parse_amount(q))
        for name, q in (quantities or {}).items()
    }


def requests_of(container: Object) -> Amounts:
    resources = container.get("resources") or {}
    # A limit without a request is the request; the apiserver defaults it, static pods do not pass there.
    return {**amounts(resources.get("limits")), **amounts(resources.get("requests"))}


def limits_of(container: Object) -> Amounts:
    return amounts((container.get("resources") or {}).get("limits"))


def pod_requests(pod: Object) -> Amounts:
    """
    What the pod counts for: the containers' sum, or the greatest moment of the init phase if that is more.

    Sidecars run on beside everything that starts after them. Source: k8s.io/component-helpers/resource.
    """
    total: Amounts = {}
    for container in app_containers(pod):
        _add(total, requests_of(container.spec))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in init_containers(pod):
        wanted = requests_of(container.spec)
        if container.kind is ContainerKind.SIDECAR:
            _add(sidecars, wanted)
            _raise_to(peak, sidecars)
        else:
            _raise_to(peak, _sum(sidecars, wanted))
    _add(total, sidecars)
    _raise_to(total, peak)
    _raise_to(total, amounts((pod["spec"].get("resources") or {}).get("requests")))
    _add(total, amounts(pod["spec"].get("overhead")))
    return total


def qos_class(pod: Object) -> str:
    """Guaranteed, Burstable or BestEffort. What the apiserver wrote wins."""
    given = (pod.get("status") or {}).get("qosClass")
    if given:
        return str(given)
    containers = [c.spec for c in (*init_containers(pod), *app_containers(pod))]
    wanted = [{k: v for k, v in requests_of(c).items() if k in ("cpu", "memory") and v} for c in containers]
    capped = [{k: v for k, v in limits_of(c).items() if k in ("cpu", "memory") and v} for c in containers]
    if not any(wanted) and not any(capped):
        return "BestEffort"
    if all(len(limit) == 2 and want == limit for want, limit in zip(wanted, capped, strict=True)):
        return "Guaranteed"
    return "Burstable"


def cpu_shares(millicores: int) -> int:
    return max(MIN_SHARES, min(MAX_SHARES, millicores * 1024 // 1000))


def cpu_quota(millicores: int) -> int:
    """Microseconds of CPU in each period; 0 for no limit."""
    if not millicores:
        return 0
    return max(MIN_QUOTA_MICROSECONDS, millicores * CPU_PERIOD_MICROSECONDS // 1000)


def oom_score(pod: Object, container: Object, node_memory: int) -> int:
    """
    How early the kernel ends the container when memory runs out: -997 … 1000.

    Args:
        node_memory: bytes of memory the machine has.
    """
    quality = qos_class(pod)
    if is_critical(pod) or quality == "Guaranteed":
        return GUARANTEED_OOM_SCORE
    if quality == "BestEffort":
        return BEST_EFFORT_OOM_SCORE
    share = 1000 - 1000 * requests_of(container).get("memory", 0) // max(node_memory, 1)
    # Between Guaranteed's floor (1000 - 997) and just below BestEffort.
    return max(3, min(999, share))


def container_resources(pod: Object, container: Object, node_memory: int) -> LinuxResources:
    wanted, capped = requests_of(container), limits_of(container)
    quota = cpu_quota(capped.get("cpu", 0))
    return LinuxResources(
        cpu_period=CPU_PERIOD_MICROSECONDS if quota else 0,
        cpu_quota=quota,
        cpu_shares=cpu_shares(wanted.get("cpu", 0)),
        memory_limit=capped.get("memory", 0),
        oom_score_adj=oom_score(pod, container, node_memory),
    )


def pod_limits(pod: Object) -> Amounts:
    """Limits of the pod's cgroup: only resources that every container limits."""
    containers = [c.spec for c in app_containers(pod)]
    capped = [limits_of(c) for c in containers]
    sidecars = [limits_of(c.spec) for c in init_containers(pod) if c.kind is ContainerKind.SIDECAR]
    every = set.intersection(*(set(c) for c in (*capped, *sidecars))) if capped else set()
    total: Amounts = {}
    for each in (*capped, *sidecars):
        _add(total, {k: v for k, v in each.items() if k in every})
    for container in init_containers(pod):
        each = limits_of(container.spec)
        if container.kind is ContainerKind.INIT:
            total = {k: max(v, each[k]) for k, v in total.items() if k in each}
    return total


def _add(total: Amounts, more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _raise_to(total: Amounts, least: Mapping[str, int]) -> None:
    for name, amount in least.items():
        total[name] = max(total.get(name, 0), amount)


def _sum(*parts: Mapping[str, int]) -> Amounts:
    total: Amounts = {}
    for part in parts:
        _add(total, part)
    return total


def total_requests(pods: Iterable[Object]) -> Amounts:
    return _sum(*(pod_requests(pod) for pod in pods))
