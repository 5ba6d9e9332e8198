"""
What the scheduling cycle needs to know of a Pod, worked out once instead of at every Node.

Pure. Requests count as upstream counts them: containers and sidecars together, or the most demanding init
container if that is more; overhead on top. Source: k8s.io/component-helpers, resource/helpers.go.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from cluster.machinery.labels import NOTHING, Requirement, Selector, selector_of
from cluster.machinery.objects import Key, Object, key_of
from cluster.machinery.quantity import parse_quantity

DEFAULT_MILLI_CPU = 100
DEFAULT_MEMORY = 200 * 1024 * 1024
"""What a container without requests counts as in scores, so that such Pods spread too."""

Requests = dict[str, int]
"""By resource; cpu in thousandths of a core, everything else in its own unit, rounded up."""


@lru_cache(maxsize=8192)
def amount(resource: str, quantity: str) -> int:
    """Raises QuantityError."""
    value = parse_quantity(quantity)
    scaled = value * 1000 if resource == "cpu" else value
    whole = int(scaled)
    return whole if whole == scaled else whole + 1


def amounts(quantities: Mapping[str, Any] | None) -> Requests:
    return {name: amount(name, str(quantity)) for name, quantity in (quantities or {}).items()}


def _add(total: Requests, more: Mapping[str, int]) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _raise_to(total: Requests, least: Mapping[str, int]) -> None:
    for name, value in least.items():
        if value > total.get(name, 0):
            total[name] = value


def _requests_of(container: Object, defaults: Mapping[str, int]) -> Requests:
    found = amounts((container.get("resources") or {}).get("requests"))
    for name, value in defaults.items():
        found.setdefault(name, value)
    return found


def pod_requests(spec: Object, defaults: Mapping[str, int] | None = None) -> Requests:
    """
    What the Pod needs at its most demanding moment.

    Args:
        defaults: Stands in for requests that a container leaves out; for scores.
    """
    defaults = defaults or {}
    total: Requests = {}
    for container in spec.get("containers") or ():
        _add(total, _requests_of(container, defaults))
    sidecars: Requests = {}
    peak: Requests = {}
    for container in spec.get("initContainers") or ():
        needed = _requests_of(container, defaults)
        if container.get("restartPolicy") == "Always":
            _add(total, needed)
            _add(sidecars, needed)
            needed = dict(sidecars)
        else:
            _add(needed, sidecars)
        _raise_to(peak, needed)
    _raise_to(total, peak)
    total |= amounts((spec.get("resources") or {}).get("requests"))
    _add(total, amounts(spec.get("overhead")))
    return total


@dataclass(frozen=True, slots=True)
class HostPort:
    address: str
    protocol: str
    port: int

    def collides(self, other: "HostPort") -> bool:
        anywhere = "0.0.0.0"  # noqa: S104  (a wildcard to compare with, nothing listens)
        return (self.port, self.protocol) == (other.port, other.protocol) and (
            self.address == other.address or anywhere in (self.address, other.address)
        )


def _host_ports(spec: Object) -> tuple[HostPort, ...]:
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    return tuple(
        HostPort(port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", int(port["hostPort"]))  # noqa: S104
        for container in (*(spec.get("containers") or ()), *sidecars)
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )


@dataclass(frozen=True, slots=True)
class NodeTerm:
    """One term of a node affinity: labels and the Node's name must both fit."""

    labels: Selector
    names: tuple[Requirement, ...] = ()

    def matches(self, node_name: str, labels: Mapping[str, str]) -> bool:
        return self.labels.matches(labels) and all(r.matches({"metadata.name": node_name}) for r in self.names)


_NODE_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": "gt", "Lt": "lt"}


def _requirements(expressions: Iterable[Object]) -> tuple[Requirement, ...]:
    return tuple(
        Requirement(e["key"], _NODE_OPERATORS[e["operator"]], frozenset(e.get("values") or ())) for e in expressions
    )


def node_term(term: Object) -> NodeTerm:
    """A nodeSelectorTerm; an empty one matches nothing, as upstream's."""
    labels, names = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not labels and not names:
        return NodeTerm(NOTHING)
    return NodeTerm(Selector(_requirements(labels)), _requirements(names))


@dataclass(frozen=True, slots=True)
class PodTerm:
    """One term of a Pod affinity or anti-affinity."""

    selector: Selector
    namespaces: frozenset[str]
    namespace_selector: Selector
    topology_key: str
    weight: int = 0

    def matches(self, namespace: str, labels: Mapping[str, str], namespace_labels: Mapping[str, str]) -> bool:
        if namespace not in self.namespaces and not self.namespace_selector.matches(namespace_labels):
            return False
        return self.selector.matches(labels)


def _pod_term(term: Object, pod: Object, weight: int = 0) -> PodTerm:
    namespaces = frozenset(term.get("namespaces") or ())
    given = term.get("namespaceSelector")
    if not namespaces and given is None:
        namespaces = frozenset([key_of(pod).namespace])
    return PodTerm(_with_label_keys(term, pod), namespaces, selector_of(given), str(term["topologyKey"]), weight)


def _with_label_keys(term: Object, pod: Object) -> Selector:
    """The labelSelector, narrowed by matchLabelKeys and mismatchLabelKeys to the Pod's own values."""
    selector = selector_of(term.get("labelSelector"))
    labels = pod["metadata"].get("labels") or {}
    more = [
        Requirement(key, operator, frozenset([labels[key]]))
        for field_name, operator in (("matchLabelKeys", "in"), ("mismatchLabelKeys", "notin"))
        for key in term.get(field_name) or ()
        if key in labels
    ]
    return Selector((*selector.requirements, *more), selector.nothing) if more else selector


def _pod_terms(affinity: Object | None, pod: Object) -> tuple[tuple[PodTerm, ...], tuple[PodTerm, ...]]:
    """Required and preferred terms."""
    affinity = affinity or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return (
        tuple(_pod_term(term, pod) for term in required),
        tuple(_pod_term(term["podAffinityTerm"], pod, int(term["weight"])) for term in preferred),
    )


@dataclass(frozen=True, slots=True)
class Spread:
    """One topology spread constraint."""

    topology_key: str
    max_skew: int
    hard: bool
    selector: Selector
    min_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False


def _spreads(spec: Object, pod: Object) -> tuple[Spread, ...]:
    return tuple(
        Spread(
            topology_key=str(constraint["topologyKey"]),
            max_skew=int(constraint["maxSkew"]),
            hard=constraint.get("whenUnsatisfiable") != "ScheduleAnyway",
            selector=_with_label_keys(constraint, pod),
            min_domains=int(constraint.get("minDomains") or 1),
            honor_affinity=constraint.get("nodeAffinityPolicy") != "Ignore",
            honor_taints=constraint.get("nodeTaintsPolicy") == "Honor",
        )
        for constraint in spec.get("topologySpreadConstraints") or ()
    )


@dataclass(slots=True, eq=False)
class PodInfo:
    """One Pod, ready for the cycle. Build with `of`."""

    pod: Object
    key: Key
    uid: str
    node_name: str
    labels: Mapping[str, str]
    priority: int
    requests: Requests
    counted: Requests
    """cpu and memory with defaults for what is left out: what scores count."""
    ports: tuple[HostPort, ...]
    tolerations: tuple[Object, ...]
    node_selector: Mapping[str, str]
    node_terms: tuple[NodeTerm, ...] | None
    preferred_nodes: tuple[tuple[int, NodeTerm], ...]
    affinity: tuple[PodTerm, ...]
    anti_affinity: tuple[PodTerm, ...]
    preferred_affinity: tuple[PodTerm, ...]
    preferred_anti_affinity: tuple[PodTerm, ...]
    spreads: tuple[Spread, ...]
    owner: str
    """uid of the controller that made it; its other Pods are what it is spread from by default."""
    images: tuple[str, ...]
    _signature: bytes = field(default=b"", repr=False)

    @staticmethod
    def of(pod: Object) -> "PodInfo":
        spec, metadata = pod.get("spec") or {}, pod["metadata"]
        affinity = spec.get("affinity") or {}
        nodes = affinity.get("nodeAffinity") or {}
        required = nodes.get("requiredDuringSchedulingIgnoredDuringExecution")
        near, rather_near = _pod_terms(affinity.get("podAffinity"), pod)
        apart, rather_apart = _pod_terms(affinity.get("podAntiAffinity"), pod)
        counted = pod_requests(spec, {"cpu": DEFAULT_MILLI_CPU, "memory": DEFAULT_MEMORY})
        return PodInfo(
            pod=pod,
            key=key_of(pod),
            uid=metadata.get("uid") or "",
            node_name=spec.get("nodeName") or "",
            labels=metadata.get("labels") or {},
            priority=int(spec.get("priority") or 0),
            requests=pod_requests(spec),
            counted={"cpu": counted.get("cpu", 0), "memory": counted.get("memory", 0)},
            ports=_host_ports(spec),
            tolerations=tuple(spec.get("tolerations") or ()),
            node_selector=spec.get("nodeSelector") or {},
            node_terms=None if required is None else tuple(map(node_term, required.get("nodeSelectorTerms") or ())),
            preferred_nodes=tuple(
                (int(term["weight"]), node_term(term["preference"]))
                for term in nodes.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
            ),
            affinity=near,
            anti_affinity=apart,
            preferred_affinity=rather_near,
            preferred_anti_affinity=rather_apart,
            spreads=_spreads(spec, pod),
            owner=next((o["uid"] for o in metadata.get("ownerReferences") or () if o.get("controller")), ""),
            images=tuple(c.get("image") or "" for c in spec.get("containers") or ()),
        )

    @property
    def looks_at_pods(self) -> bool:
        """Whether its own terms make other Pods matter; then nothing worked out for a twin holds."""
        return bool(
            self.affinity
            or self.anti_affinity
            or self.preferred_affinity
            or self.preferred_anti_affinity
            or self.spreads
        )

    @property
    def signature(self) -> bytes:
        """Equal for Pods that every Node judges alike: the replicas of a template."""
        if not self._signature:
            spec = self.pod.get("spec") or {}
            self._signature = orjson.dumps(
                [
                    self.owner,
                    sorted(self.requests.items()),
                    sorted(self.counted.items()),
                    [(p.address, p.protocol, p.port) for p in self.ports],
                    self.tolerations,
                    self.node_selector,
                    (spec.get("affinity") or {}).get("nodeAffinity"),
                    spec.get("nodeName"),
                    self.images,
                ],
                option=orjson.OPT_SORT_KEYS,
            )
        return self._signature
