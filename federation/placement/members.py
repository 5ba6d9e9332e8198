"""What the planner knows of a member, read from its Cluster object. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from cluster.machinery.objects import Object
from cluster.machinery.quantity import Quantity, QuantityError

READY, SUSPECT, UNREACHABLE = "Ready", "Suspect", "Unreachable"


@dataclass(frozen=True, slots=True)
class Demand:
    """What one replica asks for: millicores and bytes. Of pods it takes one."""

    cpu: int = 0
    memory: int = 0


NO_DEMAND = Demand()


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a member can still take; None is not known, and then no limit."""

    pods: int | None = None
    cpu: int | None = None
    """Millicores."""
    memory: int | None = None
    """Bytes."""

    def room(self, demand: Demand) -> int | None:
        """How many more replicas of this demand fit; None when nothing limits them."""
        limits = [] if self.pods is None else [self.pods]
        if demand.cpu and self.cpu is not None:
            limits.append(self.cpu // demand.cpu)
        if demand.memory and self.memory is not None:
            limits.append(self.memory // demand.memory)
        return max(0, min(limits)) if limits else None

    def less(self, replicas: int, demand: Demand) -> "Capacity":
        """What is left when so many more replicas run there."""

        def left(free: int | None, each: int) -> int | None:
            return None if free is None else free - replicas * each

        return Capacity(left(self.pods, 1), left(self.cpu, demand.cpu), left(self.memory, demand.memory))


@dataclass(frozen=True, slots=True)
class Member:
    """One cluster, as far as placement is concerned."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Object, ...] = ()
    """key, value, effect."""
    region: str = ""
    zones: tuple[str, ...] = ()
    provider: str = ""
    phase: str = READY
    """Pending, Ready, Suspect, Unreachable or Leaving, as membership decides it."""
    unschedulable: bool = False
    kinds: Mapping[str, frozenset[str]] | None = None
    """What it serves: apiVersion -> kinds (none named: all of it). None: not known yet, anything is tried."""
    capacity: Capacity = Capacity()

    @property
    def ready(self) -> bool:
        return self.phase == READY

    @property
    def reachable(self) -> bool:
        """Ready or only Suspect: what is there is still taken to run."""
        return self.phase in (READY, SUSPECT)

    def serves(self, api_version: str, kind: str) -> bool:
        if self.kinds is None:
            return True
        kinds = self.kinds.get(api_version)
        return kinds is not None and (not kinds or kind in kinds)

    def less(self, replicas: int, demand: Demand) -> "Member":
        """The same member after so many more replicas were promised to it, so that a burst does not promise twice."""
        return replace(self, capacity=self.capacity.less(replicas, demand)) if replicas else self


def member_of(cluster: Object) -> Member:
    """From a Cluster object. What is missing or unreadable in its status counts as not known."""
    spec, status = cluster.get("spec") or {}, cluster.get("status") or {}
    metadata = cluster["metadata"]
    apis = status.get("apis")
    phase = "Leaving" if metadata.get("deletionTimestamp") else status.get("phase") or "Pending"
    return Member(
        name=metadata["name"],
        labels=dict(metadata.get("labels") or {}),
        taints=(*(spec.get("taints") or ()), *_remedial(status)),
        region=spec.get("region") or status.get("region") or "",
        zones=tuple(spec.get("zones") or status.get("zones") or ()),
        provider=spec.get("provider") or "",
        phase=phase,
        unschedulable=bool(spec.get("unschedulable")),
        kinds=None if apis is None else {api["groupVersion"]: frozenset(api.get("kinds") or ()) for api in apis},
        capacity=_capacity(status.get("resources") or {}),
    )


def _remedial(status: Object) -> Iterable[Object]:
    """Taints of the remedies that are in force."""
    return (taint for one in status.get("remedies") or () for taint in one.get("taints") or ())


def _capacity(resources: Object) -> Capacity:
    free: dict[str, int | None] = {"cpu": None, "memory": None}
    allocatable, requested = resources.get("allocatable") or {}, resources.get("requested") or {}
    for name in free:
        try:
            left = Quantity.parse(allocatable[name]) - Quantity.parse(requested.get(name, 0))
        except (KeyError, QuantityError):
            continue
        # Rounded down: half a millicore that is left is none that could be promised.
        free[name] = left.nanos // 10**6 if name == "cpu" else left.nanos // 10**9
    pods = resources.get("pods")
    return Capacity(pods if isinstance(pods, int) else None, free["cpu"], free["memory"])
