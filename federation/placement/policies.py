"""
Policies as the planner uses them, and which one applies to an object. Pure.

A policy that cannot be understood carries its `fault`; whoever plans with it changes nothing (see plan.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from cluster.machinery.labels import Selector, selector_of
from cluster.machinery.objects import Object
from federation.placement.affinity import EVERYWHERE, Affinity, affinity_of

DUPLICATED, DIVIDED = "Duplicated", "Divided"
WEIGHTED, CAPACITY, AGGREGATED = "Weighted", "Capacity", "Aggregated"
GRACEFULLY, DIRECTLY, NEVER = "Gracefully", "Directly", "Never"
_NAMED, _LABELLED, _ALL = 2, 1, 0


@dataclass(frozen=True, slots=True)
class ObjectSelector:
    """Objects of a kind: one by name, some by labels, or all."""

    api_version: str
    kind: str
    namespace: str = ""
    name: str = ""
    labels: Selector | None = None

    def specificity(self, template: Object) -> int | None:
        """How closely it points at this object (name before labels before kind); None when it does not."""
        # The version is left aside: an object is served in several, and which of them is read here is no user's affair.
        if self.kind != template.get("kind") or _group(self.api_version) != _group(template.get("apiVersion") or ""):
            return None
        metadata = template.get("metadata") or {}
        if self.namespace and self.namespace != metadata.get("namespace"):
            return None
        if self.name:
            return _NAMED if self.name == metadata.get("name") else None
        if self.labels is None:
            return _ALL
        return _LABELLED if self.labels.matches(metadata.get("labels")) else None


@dataclass(frozen=True, slots=True)
class Weight:
    """What clusters are worth in a division, and how few and many replicas each of them may have."""

    clusters: Affinity
    weight: int
    minimum: int = 0
    maximum: int | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """Clusters fall into groups by a field or a label; so many groups at least and at most are used."""

    by: str = "cluster"
    """cluster, region, zone or provider; empty where `label` says it."""
    label: str = ""
    minimum: int = 0
    maximum: int | None = None


@dataclass(frozen=True, slots=True)
class Division:
    """How replicas become those of clusters."""

    mode: str = DIVIDED
    preference: str = WEIGHTED
    weights: tuple[Weight, ...] = ()
    """The highest that means a cluster counts; none at all: everybody has 1."""
    rebalance: bool = False
    """Replicas that run may be moved."""


@dataclass(frozen=True, slots=True)
class Failover:
    """Seconds that the controllers count, and whether replicas return."""

    toleration_seconds: int = 30
    grace_period_seconds: int = 600
    failback: bool = True
    unready_seconds: int | None = None
    """Pods that are not ready for so long in a cluster that is well move to another; None: they stay."""
    purge: str = GRACEFULLY
    """What becomes of the copy of a cluster that is lost, tainted or where Pods do not get ready."""


@dataclass(frozen=True, slots=True)
class PropagationPolicy:
    """Where objects go. With nothing set it is the default: every ready cluster, replicas divided evenly."""

    name: str = ""
    namespace: str = ""
    """Empty: cluster-wide."""
    kind: str = "PropagationPolicy"
    created: str = ""
    """RFC 3339, as the server wrote it; such texts order like their times."""
    selectors: tuple[ObjectSelector, ...] = ()
    priority: int = 0
    preempts: bool = True
    """It takes objects over that another policy has placed."""
    lazy_spec: Object | None = None
    """Its spec where it is lazy: what is placed already moves by it when it changes itself, and not before."""
    affinities: tuple[Affinity, ...] = (EVERYWHERE,)
    """Groups in order; the next is used where no cluster of those before is fit."""
    overflow: bool = False
    """Groups are used together: what those before have no room for goes to the next."""
    tolerations: tuple[Object, ...] = ()
    spread: tuple[Spread, ...] = ()
    together_by: str = ""
    """Key of a label: workloads of the namespace with the same value go to the same clusters."""
    apart_by: str = ""
    """Key of a label: no two workloads of the namespace with the same value go to the same cluster."""
    division: Division = Division()
    propagate_dependencies: bool = True
    overwrite: bool = False
    """What a member has already and nobody federated is overwritten."""
    delete_with_policy: bool = False
    suspended: bool = False
    suspended_in: tuple[str, ...] = ()
    """Clusters where nothing is written."""
    failover: Failover = Failover()
    fault: str = ""
    """Why it cannot be used."""

    @property
    def key(self) -> str:
        """namespace/name, as Placement.spec.policy has it; empty for the default."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


DEFAULT_POLICY = PropagationPolicy()


@dataclass(frozen=True, slots=True)
class OverrideRule:
    clusters: Affinity
    overriders: Object = field(default_factory=dict)
    """As the OverridePolicy spells them: image, command, args, labels, annotations, field, plaintext."""


@dataclass(frozen=True, slots=True)
class OverridePolicy:
    """What differs between clusters."""

    name: str = ""
    namespace: str = ""
    kind: str = "OverridePolicy"
    created: str = ""
    selectors: tuple[ObjectSelector, ...] = ()
    """None: every object of the namespace, or of the federation."""
    rules: tuple[OverrideRule, ...] = ()
    fault: str = ""


def propagation_policy_of(policy: Object) -> PropagationPolicy:
    """From a PropagationPolicy or ClusterPropagationPolicy. Never raises; see `fault`."""
    spec, metadata = policy.get("spec") or {}, policy["metadata"]
    placement = spec.get("placement") or {}
    failover = spec.get("failover") or {}
    fault = ""
    selectors: tuple[ObjectSelector, ...] = ()
    affinities: tuple[Affinity, ...] = (EVERYWHERE,)
    division = Division()
    try:
        selectors = _selectors(spec, metadata.get("namespace") or "")
        groups = placement.get("clusterAffinities") or [placement.get("clusterAffinity")]
        affinities = tuple(affinity_of(group) for group in groups)
        division = _division(placement.get("replicaScheduling") or {})
    except (ValueError, KeyError, TypeError) as wrong:
        fault = f"{_title(policy)} cannot be used: {wrong}"
    return PropagationPolicy(
        name=metadata["name"],
        namespace=metadata.get("namespace") or "",
        kind=policy.get("kind") or "PropagationPolicy",
        created=metadata.get("creationTimestamp") or "",
        selectors=selectors,
        priority=spec.get("priority") or 0,
        preempts=spec.get("preemption") != "Never",
        lazy_spec=spec if spec.get("activation") == "Lazy" else None,
        affinities=affinities,
        overflow=bool(placement.get("overflow")),
        tolerations=tuple(placement.get("clusterTolerations") or ()),
        together_by=_group_label(placement, "affinity"),
        apart_by=_group_label(placement, "antiAffinity"),
        spread=tuple(_spread(one) for one in placement.get("spreadConstraints") or ()),
        division=division,
        propagate_dependencies=spec.get("propagateDependencies", True),
        overwrite=spec.get("conflictResolution") == "Overwrite",
        delete_with_policy=spec.get("deletionPolicy") == "Delete",
        suspended=bool(spec.get("suspend")),
        suspended_in=tuple(sorted(set(spec.get("suspendIn") or ()))),
        failover=Failover(
            failover.get("tolerationSeconds", 30),
            failover.get("gracePeriodSeconds", 600),
            failover.get("failback", True),
            failover.get("unreadySeconds"),
            failover.get("purge") or GRACEFULLY,
        ),
        fault=fault,
    )


def override_policy_of(policy: Object) -> OverridePolicy:
    """From an OverridePolicy or ClusterOverridePolicy. Never raises; see `fault`."""
    spec, metadata = policy.get("spec") or {}, policy["metadata"]
    fault = ""
    selectors: tuple[ObjectSelector, ...] = ()
    rules: tuple[OverrideRule, ...] = ()
    try:
        selectors = _selectors(spec, metadata.get("namespace") or "")
        rules = tuple(
            OverrideRule(affinity_of(rule.get("targetCluster")), rule.get("overriders") or {})
            for rule in spec.get("overrideRules") or ()
        )
    except (ValueError, KeyError, TypeError) as wrong:
        fault = f"{_title(policy)} cannot be used: {wrong}"
    return OverridePolicy(
        name=metadata["name"],
        namespace=metadata.get("namespace") or "",
        kind=policy.get("kind") or "OverridePolicy",
        created=metadata.get("creationTimestamp") or "",
        selectors=selectors,
        rules=rules,
        fault=fault,
    )


def policy_for(template: Object, policies: Iterable[PropagationPolicy], incumbent: str = "") -> PropagationPolicy:
    """
    The one policy that applies to an object; DEFAULT_POLICY when none selects it.

    `incumbent` is the key of the one that placed it: while that selects it, those that do not preempt are left out.

    Higher priority first; at the same, the namespace's own before cluster-wide ones (who runs a namespace need not
    fear what is written elsewhere); then a selector by name before one by labels before one of the whole kind; then
    the older policy; then by name.
    """
    fitting = [(policy, found) for policy in policies if (found := _specificity(policy, template)) is not None]
    if any(policy.key == incumbent for policy, _ in fitting):
        fitting = [one for one in fitting if one[0].preempts or one[0].key == incumbent]
    if not fitting:
        return DEFAULT_POLICY
    return min(fitting, key=lambda one: (-one[0].priority, not one[0].namespace, -one[1], *_age(one[0])))[0]


def overrides_for(template: Object, policies: Iterable[OverridePolicy]) -> tuple[OverridePolicy, ...]:
    """
    All that select an object, in the order in which they are applied: what comes later has the last word.

    Cluster-wide ones first, then the namespace's; within each, the less specific before the more specific, the older
    before the younger, then by name.
    """
    fitting = [(policy, found) for policy in policies if (found := _specificity(policy, template)) is not None]
    fitting.sort(key=lambda one: (bool(one[0].namespace), one[1], *_age(one[0])))
    return tuple(policy for policy, _ in fitting)


def _specificity(policy: PropagationPolicy | OverridePolicy, template: Object) -> int | None:
    if policy.namespace and policy.namespace != (template.get("metadata") or {}).get("namespace"):
        return None
    if not policy.selectors and isinstance(policy, OverridePolicy):
        return -1
    found = [one for selector in policy.selectors if (one := selector.specificity(template)) is not None]
    return max(found, default=None)


def _age(policy: PropagationPolicy | OverridePolicy) -> tuple[str, str]:
    return policy.created, policy.name


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def _title(policy: Object) -> str:
    metadata = policy["metadata"]
    namespace = metadata.get("namespace")
    return f"{policy.get('kind') or 'policy'} {namespace + '/' if namespace else ''}{metadata['name']}"


def _selectors(spec: Object, namespace: str) -> tuple[ObjectSelector, ...]:
    found = []
    for one in spec.get("resourceSelectors") or ():
        labels = one.get("labelSelector")
        found.append(
            ObjectSelector(
                one["apiVersion"],
                one["kind"],
                # In a namespaced policy the field has no say: such a policy reaches its own namespace alone.
                "" if namespace else one.get("namespace") or "",
                one.get("name") or "",
                selector_of(labels) if labels else None,
            )
        )
    return tuple(found)


def _group_label(placement: Object, side: str) -> str:
    return ((placement.get("workloadAffinity") or {}).get(side) or {}).get("groupByLabelKey") or ""


def _spread(given: Object) -> Spread:
    label = given.get("spreadByLabel") or ""
    by = "" if label else given.get("spreadByField") or "cluster"
    return Spread(by, label, given.get("minGroups") or 0, given.get("maxGroups") or None)


def _division(given: Object) -> Division:
    weights = []
    for one in given.get("weights") or ():
        least, most = one.get("minReplicas") or 0, one.get("maxReplicas")
        if most is not None and most < least:
            raise ValueError(f"a weight's maxReplicas {most} is below its minReplicas {least}")
        weights.append(Weight(affinity_of(one.get("clusters")), one["weight"], least, most))
    return Division(
        given.get("mode") or DIVIDED,
        given.get("preference") or WEIGHTED,
        tuple(weights),
        bool(given.get("rebalance")),
    )
