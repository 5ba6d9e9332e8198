"""
Empty a Node through the API: no new Pods, then each Pod evicted, as far as disruption budgets allow.

Evictions go through the eviction subresource, so budgets hold; what they refuse is asked for again until the patience
is over. Pods of DaemonSets and mirror Pods stay: they end with the node.
"""

import asyncio
import time
from collections.abc import Sequence

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object, key_of
from cluster.machinery.status_errors import NotFound, TooManyRequests
from provisioner.errors import ProvisionError

_ASK_AGAIN = 0.5  # seconds
_MIRROR = "kubernetes.io/config.mirror"


async def is_cordoned(client: ApiClient, node: str) -> bool:
    """Whether nothing new is placed there; a Node that does not exist takes nothing either."""
    try:
        return bool((await client.get(resources.NODES, node))["spec"].get("unschedulable"))
    except NotFound:
        return True


async def cordon(client: ApiClient, node: str, *, unschedulable: bool = True) -> None:
    await client.patch(resources.NODES, node, {"spec": {"unschedulable": unschedulable or None}})


async def pods_to_evict(client: ApiClient, node: str) -> list[Object]:
    """Pods on the Node that have to go before it may."""
    pods = (await client.list(resources.PODS, field_selector=f"spec.nodeName={node}"))["items"]
    return [pod for pod in pods if not stays(pod)]


def stays(pod: Object) -> bool:
    """Pure. Whether a Pod is left alone: of a DaemonSet, a mirror, or over already."""
    metadata = pod["metadata"]
    if _MIRROR in (metadata.get("annotations") or {}):
        return True
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return True
    owners = metadata.get("ownerReferences") or ()
    return any(owner.get("kind") == "DaemonSet" and owner.get("controller") for owner in owners)


async def drain(client: ApiClient, node: str, patience: float) -> None:
    """
    Returns when no Pod is left that has to go.

    Raises:
        ProvisionError: some are there after `patience` seconds; it names them and what holds them.
    """
    end = time.monotonic() + patience
    refused: dict[str, str] = {}
    while left := await pods_to_evict(client, node):
        refused = {}
        for pod in left:
            if not pod["metadata"].get("deletionTimestamp") and (why := await _evict(client, pod)):
                refused[str(key_of(pod))] = why
        if time.monotonic() > end:
            raise _not_empty(node, left, refused, patience)
        await asyncio.sleep(_ASK_AGAIN)


async def _evict(client: ApiClient, pod: Object) -> str:
    """Why not; empty when it goes."""
    namespace, name = key_of(pod)
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"namespace": namespace, "name": name}}
    try:
        await client.create(resources.PODS, body, name=name, subresource="eviction")
    except NotFound:
        return ""
    except TooManyRequests as refusal:
        return str(refusal)
    return ""


def _not_empty(node: str, left: Sequence[Object], refused: dict[str, str], patience: float) -> ProvisionError:
    names = [str(key_of(pod)) for pod in left]
    told = "; ".join(f"{name}: {refused.get(name, 'it is still ending')}" for name in names[:5])
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ProvisionError(
        f"node {node} still has {len(names)} Pods after {patience:g} s", why=told + more,
        next_step="Give them room elsewhere or change their disruption budgets, then run again; "
        "--drain-timeout gives them longer.",
    )  # fmt: skip
