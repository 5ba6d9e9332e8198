"""What the person does who looks after the federation: says yes to deletions that wait because they are many."""

from cluster.machinery.objects import Object
from federation.api.resources import CLUSTERS
from federation.controllers.links.brakes import CONFIRM, DELETIONS_WAIT, HELD
from tests.federations.world import World


async def confirm_deletions(federation: World) -> int:
    """
    To how many clusters yes was said now. Policies that change every second go far over the brake's measure.

    A federation that takes its store to be older than its members is not helped: here that is a fault of its own.
    Raises ApiError.
    """
    said = 0
    for cluster in (await federation.api.list(CLUSTERS))["items"]:
        metadata = cluster["metadata"]
        if _waits(cluster) and not (metadata.get("annotations") or {}).get(CONFIRM):
            yes = {"metadata": {"annotations": {CONFIRM: "yes"}}}
            await federation.api.patch(CLUSTERS, metadata["name"], yes, patch_type="merge")
            said += 1
    return said


def _waits(cluster: Object) -> bool:
    conditions = (cluster.get("status") or {}).get("conditions") or ()
    return any(one["type"] == DELETIONS_WAIT and one["reason"] == HELD for one in conditions)
