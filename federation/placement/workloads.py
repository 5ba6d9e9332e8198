"""What the planner reads from a template: is it divided, into how many, and what does one replica take. Pure."""

from collections.abc import Iterable
from typing import Any

from cluster.machinery.objects import Object
from cluster.machinery.quantity import Quantity, QuantityError
from federation.placement.members import NO_DEMAND, Demand

JOB, STATEFUL_SET = ("batch", "Job"), ("apps", "StatefulSet")
AUTOSCALER, QUOTA = ("autoscaling", "HorizontalPodAutoscaler"), ("", "ResourceQuota")
DIVIDED_KINDS = frozenset(
    [("apps", "Deployment"), ("apps", "ReplicaSet"), ("", "ReplicationController"), STATEFUL_SET, JOB]
)


class ReadByRule(dict[str, Any]):
    """A template of another kind, of which a KindRule says where its replicas are: `spec` has the words of these."""


def group_kind(template: Object) -> tuple[str, str]:
    return (template.get("apiVersion") or "").rpartition("/")[0], template.get("kind") or ""


def is_divided(template: Object) -> bool:
    """Whether the kind has replicas that clusters share; everything else is copied."""
    return isinstance(template, ReadByRule) or group_kind(template) in DIVIDED_KINDS


def replicas_of(template: Object) -> int:
    """What is to be divided: replicas, of a Job its parallelism. 1 where nothing is said, as servers default it."""
    spec = template.get("spec") or {}
    value = spec.get("parallelism" if group_kind(template) == JOB else "replicas")
    return value if isinstance(value, int) and value >= 0 else 1


def is_indivisible(template: Object) -> bool:
    """An Indexed Job's indexes would exist once in every cluster, so that it goes to one cluster whole."""
    return group_kind(template) == JOB and (template.get("spec") or {}).get("completionMode") == "Indexed"


def pod_template(template: Object) -> Object | None:
    """The PodTemplateSpec inside a workload, a CronJob's too; a Pod is its own. None where there is none."""
    spec = template.get("spec") or {}
    match template.get("kind"):
        case "Pod":
            return template
        case "CronJob":
            inner: Object | None = ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template")
            return inner
        case _:
            found = spec.get("template")
            return found if isinstance(found, dict) and isinstance(found.get("spec"), dict) else None


def demand_of(template: Object) -> Demand:
    """What one Pod asks for: containers together, or the largest of those that run before them; and the overhead."""
    pod = pod_template(template)
    if pod is None:
        return NO_DEMAND
    spec = pod.get("spec") or {}
    inits = spec.get("initContainers") or ()
    sidecars = [one for one in inits if one.get("restartPolicy") == "Always"]
    amounts = {}
    for name in ("cpu", "memory"):
        together = _sum(name, [*(spec.get("containers") or ()), *sidecars])
        first = max((_request(name, one) for one in inits), default=0)
        amounts[name] = max(together, first) + _amount(name, (spec.get("overhead") or {}).get(name))
    return Demand(amounts["cpu"], amounts["memory"])


def _sum(name: str, containers: Iterable[Object]) -> int:
    return sum(_request(name, one) for one in containers)


def _request(name: str, container: Object) -> int:
    resources = container.get("resources") or {}
    asked = (resources.get("requests") or {}).get(name)
    return _amount(name, asked if asked is not None else (resources.get("limits") or {}).get(name))


def _amount(name: str, value: object) -> int:
    """Millicores or bytes; what cannot be read counts as nothing, its server refuses it anyway."""
    if not isinstance(value, (str, int, float)):
        return 0
    try:
        quantity = Quantity.parse(value)
    except QuantityError:
        return 0
    return quantity.milli if name == "cpu" else quantity.value
