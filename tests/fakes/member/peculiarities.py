"""
In what a member differs from the one in the book. Every field may be changed while it serves.

Times are seconds. The defaults are a well-behaved Kubernetes 1.36.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from cluster.machinery.objects import Object

WRITES = frozenset({"create", "update", "patch", "apply", "delete", "deletecollection"})


@dataclass
class Peculiarities:
    version: str = "v1.36.2"
    server_side_apply: bool = True
    """Without it apply patches are 415 and nobody keeps managedFields, as before 1.16."""
    aggregated_discovery: bool = True
    watch_list: bool = True
    """Without it sendInitialEvents is an unknown parameter, as before 1.32."""
    bookmarks: bool = True
    without_groups: Collection[str] = ()
    """API groups, or group versions as `policy/v1`, that are not served."""

    latency: float = 0.0
    """Before each answer and each event of a watch."""
    write_latency: float = 0.0
    watch_delay: float = 0.0
    """Between a change and its event."""
    hangs: bool = False
    """Takes requests and says nothing, until this is False again."""
    throttled: float = 0.0
    """Share of writes that are answered 429."""
    retry_after: int = 1
    error_burst: int = 0
    """So many requests from now on are answered 500; it counts down by itself."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why objects of a kind are refused with 403, by the kind."""
    losing_answers: float = 0.0
    """Share of writes that are done and whose connection is cut before the answer."""

    sidecar: Object | None = None
    """A container that a webhook puts into every Pod template."""
    clock_skew: float = 0.0
    token: str = ""
    """The only bearer token that is let in, beside those that were requested here; empty lets everybody in."""
    validates: bool = True
    """Objects are checked as upstream checks them; half of a write's time."""
    ready: bool = True
    """Workloads are made ready at once; else their status stays as it is."""
    ready_share: float = 1.0
    """Of a workload's replicas that become ready."""
    load_balancer: str = ""
    """Address that Services of type LoadBalancer get."""
    nodes: int = 0
    """Generated Ready nodes, 8 cores and 32 Gi each, that nobody changes."""
    zones: tuple[str, ...] = ("a", "b", "c")
    region: str = ""

    def serves(self, group: str, version: str) -> bool:
        return group not in self.without_groups and f"{group}/{version}" not in self.without_groups


def old_cluster(version: str = "v1.15.12") -> Peculiarities:
    """One from before server-side apply, EndpointSlices and policy/v1."""
    return Peculiarities(
        version=version,
        server_side_apply=False,
        aggregated_discovery=False,
        watch_list=False,
        bookmarks=False,
        without_groups=(
            "discovery.k8s.io",
            "policy",
            "flowcontrol.apiserver.k8s.io",
            "resource.k8s.io",
            "autoscaling/v2",
        ),
    )
