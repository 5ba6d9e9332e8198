"""
What an object costs against a ResourceQuota, and which quotas it counts for. Pure.

Used by the apiserver's ResourceQuota admission (may it be made?) and by the controller that counts what is there.
Source: kubernetes, pkg/quota/v1/evaluator/core.
"""

from collections.abc import Callable, Iterable, Mapping

from cluster.machinery.objects import Object
from cluster.machinery.quantity import Quantity

Usage = dict[str, Quantity]
ONE = Quantity.parse("1")
ZERO = Quantity.parse("0")

STORAGE_CLASS_SUFFIX = ".storageclass.storage.k8s.io/"
# Counted under their bare plural, besides `count/<plural>`.
BARE_COUNTS = frozenset({"replicationcontrollers", "resourcequotas", "secrets", "configmaps", "services"})
POD_COMPUTE = ("cpu", "memory", "ephemeral-storage")


def usage_of(qualified: str, obj: Object) -> Usage:
    """
    Amounts by quota resource name, e.g. {"pods": 1, "requests.cpu": 500m}.

    Args:
        qualified: `pods`, `deployments.apps`.
        obj: The object as stored.
    """
    usage: Usage = {f"count/{qualified}": ONE}
    if qualified == "pods":
        usage.update(_pod_usage(obj))
    elif qualified == "persistentvolumeclaims":
        usage.update(_claim_usage(obj))
    elif qualified == "services":
        usage.update(_service_usage(obj))
    elif qualified in BARE_COUNTS:
        usage[qualified] = ONE
    return usage


def scopes_match(quota: Object, qualified: str, obj: Object) -> bool:
    """Does the quota's scope take in the object? Scopes speak of pods; a scoped quota ignores everything else."""
    spec = quota.get("spec") or {}
    requirements = [{"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes") or ()]
    requirements += (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    if not requirements:
        return True
    if qualified != "pods":
        return False
    return all(_pod_in_scope(requirement, obj) for requirement in requirements)


def constrained(hard: Mapping[str, object], usage: Usage) -> Usage:
    """The part of the usage that a quota limits."""
    return {name: amount for name, amount in usage.items() if name in hard}


def missing_compute(hard: Iterable[str], pod: Object) -> dict[str, list[str]]:
    """
    Compute resources that a quota limits and some container does not state: resource -> names of containers.

    Such a pod cannot be counted, so it is refused.
    """
    wanted = []
    for name in hard:
        base = name.partition(".")[2] if name.startswith(("requests.", "limits.")) else name
        if base in ("cpu", "memory"):
            wanted.append((name, "limits" if name.startswith("limits.") else "requests", base))
    missing: dict[str, list[str]] = {}
    spec = pod.get("spec") or {}
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        given = container.get("resources") or {}
        for name, kind, base in wanted:
            if base not in (given.get(kind) or {}):
                missing.setdefault(name, []).append(str(container.get("name")))
    return missing


def is_terminal(pod: Object) -> bool:
    """A pod that has ended takes no resources, however long its object is kept."""
    return (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded")


def _pod_usage(pod: Object) -> Usage:
    if is_terminal(pod):
        return {}
    usage: Usage = {"pods": ONE}
    spec = pod.get("spec") or {}
    for kind in ("requests", "limits"):
        for name, amount in pod_amounts(spec, kind).items():
            usage[f"{kind}.{name}"] = amount
            if kind == "requests" and (name in POD_COMPUTE or name.startswith("hugepages-")):
                usage[name] = amount
    return usage


def pod_amounts(spec: Object, kind: str) -> Usage:
    """
    What a pod as a whole needs: `kind` is `requests` or `limits`.

    Containers add up, and with them init containers that go on running (restartPolicy Always); an ordinary init
    container counts where it needs more than what runs later. The overhead of the runtime comes on top.
    """
    of_pod = (spec.get("resources") or {}).get(kind) or {}
    total: Usage = {}
    sidecars: Usage = {}
    peak: Usage = {}
    for container in spec.get("containers") or ():
        _add(total, _amounts(container, kind))
    for container in spec.get("initContainers") or ():
        amounts = _amounts(container, kind)
        if container.get("restartPolicy") == "Always":
            _add(total, amounts)
            _add(sidecars, amounts)
            amounts = {}
        at_this_time = dict(sidecars)
        _add(at_this_time, amounts)
        _raise_to(peak, at_this_time)
    _raise_to(total, peak)
    total.update({name: Quantity.parse(text) for name, text in of_pod.items()})
    overhead = {name: Quantity.parse(text) for name, text in (spec.get("overhead") or {}).items()}
    _add(total, {n: a for n, a in overhead.items() if kind == "requests" or n in total})
    return total


def _amounts(container: Object, kind: str) -> Usage:
    given = (container.get("resources") or {}).get(kind) or {}
    return {name: Quantity.parse(text) for name, text in given.items()}


def _add(total: Usage, amounts: Usage) -> None:
    for name, amount in amounts.items():
        total[name] = total[name] + amount if name in total else amount


def _raise_to(total: Usage, amounts: Usage) -> None:
    for name, amount in amounts.items():
        if name not in total or total[name] < amount:
            total[name] = amount


def _claim_usage(claim: Object) -> Usage:
    spec = claim.get("spec") or {}
    usage: Usage = {"persistentvolumeclaims": ONE}
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    amount = Quantity.parse(storage) if storage is not None else ZERO
    usage["requests.storage"] = amount
    annotations = (claim.get("metadata") or {}).get("annotations") or {}
    name = spec.get("storageClassName") or annotations.get("volume.beta.kubernetes.io/storage-class")
    if name:
        usage[f"{name}{STORAGE_CLASS_SUFFIX}persistentvolumeclaims"] = ONE
        usage[f"{name}{STORAGE_CLASS_SUFFIX}requests.storage"] = amount
    return usage


def _service_usage(service: Object) -> Usage:
    spec = service.get("spec") or {}
    ports = spec.get("ports") or []
    kind = spec.get("type")
    usage: Usage = {"services": ONE, "services.nodeports": ZERO, "services.loadbalancers": ZERO}
    if kind == "NodePort":
        usage["services.nodeports"] = Quantity.parse(str(len(ports)))
    elif kind == "LoadBalancer":
        allocated = len(ports)
        if spec.get("allocateLoadBalancerNodePorts") is False:
            allocated = sum(1 for port in ports if port.get("nodePort"))
        usage["services.nodeports"] = Quantity.parse(str(allocated))
        usage["services.loadbalancers"] = ONE
    return usage


def _pod_in_scope(requirement: Object, pod: Object) -> bool:
    scope, operator = requirement.get("scopeName"), requirement.get("operator")
    spec = pod.get("spec") or {}
    if scope == "PriorityClass":
        name, values = spec.get("priorityClassName") or "", requirement.get("values") or []
        answers: dict[str, bool] = {
            "Exists": bool(name),
            "DoesNotExist": not name,
            "In": bool(name) and name in values,
            "NotIn": name not in values,
        }
        return answers.get(str(operator), False)
    check = _SCOPES.get(str(scope))
    return check is not None and check(spec)


def _is_terminating(spec: Object) -> bool:
    return spec.get("activeDeadlineSeconds") is not None


def _is_best_effort(spec: Object) -> bool:
    containers = (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
    return not any(
        name in POD_COMPUTE[:2]
        for c in containers
        for kind in ("requests", "limits")
        for name in (c.get("resources") or {}).get(kind) or ()
    )


def _crosses_namespaces(spec: Object) -> bool:
    affinity = spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(kind) or {}
        required = terms.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        preferred = terms.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        for term in (*required, *(p.get("podAffinityTerm") or {} for p in preferred)):
            if term.get("namespaces") or term.get("namespaceSelector") is not None:
                return True
    return False


_SCOPES: Mapping[str, Callable[[Object], bool]] = {
    "Terminating": _is_terminating,
    "NotTerminating": lambda spec: not _is_terminating(spec),
    "BestEffort": _is_best_effort,
    "NotBestEffort": lambda spec: not _is_best_effort(spec),
    "CrossNamespacePodAffinity": _crosses_namespaces,
}
