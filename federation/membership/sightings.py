"""
Second opinions: whether agents of other members reach one that the federation does not. Pure.

An agent writes what it sees into its own Cluster's status when that changes. It counts for as long as the federation
hears the agent. One that reaches the member is enough: as long as the member answers anybody, what runs there runs.
"""

from collections.abc import Iterable, Mapping

from cluster.machinery.objects import Object
from federation.membership.health import READY, SUSPECT, UNREACHABLE, Health

DOUBTED = frozenset({SUSPECT, UNREACHABLE})


def vouchers(name: str, clusters: Iterable[Object], known: Mapping[str, Health]) -> list[str]:
    """Members that are Ready themselves and whose agents reach the member of this name."""
    return [
        observer
        for cluster in clusters
        if (observer := cluster["metadata"]["name"]) != name
        and (health := known.get(observer)) is not None
        and health.phase == READY
        and health.misses == 0
        and any(one["cluster"] == name and one["answers"] for one in _sightings(cluster))
    ]


def wanted(clusters: Iterable[Object], own: str) -> list[Object]:
    """Whom an agent has to look at: others in doubt, whose address and CA are known."""
    return [
        cluster
        for cluster in clusters
        if cluster["metadata"]["name"] != own
        and (cluster.get("status") or {}).get("phase") in DOUBTED
        and cluster["spec"].get("serverAddressByClientCIDRs")
        and cluster["spec"].get("caBundle")
    ]


def updated(before: Iterable[Object], seen: Mapping[str, bool], now: str) -> list[Object]:
    """The list for the status; times of what is as before stay, so that the same is not written again."""
    known = {one["cluster"]: one for one in before}
    found: list[Object] = []
    for name in sorted(seen):
        old = known.get(name)
        same = old is not None and old["answers"] == seen[name]
        found.append(old if same and old is not None else {"cluster": name, "answers": seen[name], "time": now})
    return found


def _sightings(cluster: Object) -> Iterable[Object]:
    return (cluster.get("status") or {}).get("sightings") or ()
