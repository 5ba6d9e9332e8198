"""What goes into a planning and what comes out of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from federation.placement.members import NO_DEMAND, Demand


@dataclass(frozen=True, slots=True)
class Assignment:
    """One cluster's part of an object. The fields are those of Placement.spec.clusters[]."""

    cluster: str
    replicas: int | None = None
    """
    None: not a matter of replicas, or a member's autoscaler sets them. Of a Job, its parallelism; of an autoscaler, the
    most that it may set.
    """
    completions: int | None = None
    ordinal_start: int | None = None
    why: str = ""
    minimum: int | None = None
    """Of an autoscaler, the least replicas."""
    hard: tuple[tuple[str, str], ...] = ()
    """Of a ResourceQuota, the cluster's part of each amount, by the resource's name."""


@dataclass(frozen=True, slots=True)
class Eviction:
    """A cluster that has a copy and shall not keep it; the copy stays until its replacement is there."""

    cluster: str
    replicas: int | None
    reason: str
    """ClusterLost, ClusterTainted, ClusterLeaving, PodsNotReady or NotSelected."""


@dataclass(frozen=True, slots=True)
class Displaced:
    """What a lost member had, so that it can return. Placement.spec.displaced[]."""

    cluster: str
    replicas: int
    ordinal_start: int | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of the object beside its template. All of it may be empty."""

    held: tuple[Assignment, ...] = ()
    """The last plan's assignments: what members are taken to have."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """Cluster -> replicas of this object that it is able to run, as its Pods that cannot be scheduled say."""
    lost: frozenset[str] = frozenset()
    """Members to be evicted now: Unreachable for longer than the toleration. Empty while the federation is isolated."""
    together: frozenset[str] | None = None
    """Members that have other workloads of its group; None: there are no others, or nobody minds."""
    apart: frozenset[str] = frozenset()
    """Members that have workloads which are not to share a cluster with it."""
    unready: frozenset[str] = frozenset()
    """Members that are well, and where its Pods did not get ready for longer than is tolerated."""
    displaced: tuple[Displaced, ...] = ()
    """What the last plan handed out under this name."""
    fresh: bool = False
    """Somebody asks for it to be placed as if it was new: what runs may be moved, and the first group comes first."""
    autoscaled: bool = False
    """A HorizontalPodAutoscaler among the templates targets the object: members set their replicas themselves."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Who gets what, and why not the others."""

    assignments: tuple[Assignment, ...] = ()
    """In the order of cluster names."""
    evictions: tuple[Eviction, ...] = ()
    displaced: tuple[Displaced, ...] = ()
    passed_over: Mapping[str, str] = field(default_factory=dict)
    """Cluster -> why it gets nothing, in words for users."""
    unplaced: int = 0
    """Replicas that no cluster may have or can hold."""
    fault: str = ""
    """Why nothing was changed: a policy or annotation that cannot be understood, spread that cannot be had."""
    policy: str = ""
    demand: Demand = NO_DEMAND
    """What one replica takes, for `Member.less`."""


NOTHING_KNOWN = Situation()
