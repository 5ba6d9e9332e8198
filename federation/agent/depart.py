"""
The member leaves: what joining made in it goes, and the federation is told by the end of the heartbeat.

What runs in the cluster stays. The Namespace goes last and takes with it the agent, when that runs in it.
"""

import logging

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import ApiError, NotFound
from federation.agent.credentials import SECRET
from federation.api.kinds import SYSTEM_NAMESPACE
from federation.membership.agent_manifest import AGENT, BOOTSTRAP
from federation.membership.agents import lease_name
from federation.membership.tokens import is_ours

log = logging.getLogger(__name__)

_RBAC = "rbac.authorization.k8s.io"
ROLES = tuple(resources.named(f"{kind}.{_RBAC}") for kind in ("clusterrolebindings", "clusterroles"))


async def depart(federation: ApiClient, member: ApiClient, cluster: str) -> None:
    """Raises ApiError when the cluster does not let go of its parts; the federation is not told then."""
    await _clear(member)
    try:
        await federation.delete(resources.LEASES, lease_name(cluster), namespace=SYSTEM_NAMESPACE)
    except NotFound:
        log.debug("the heartbeat is gone already")
    except ApiError as fault:
        log.warning("the federation is not told that the cluster has left: %s", fault)
    log.info("cluster %s has left the federation", cluster)


async def _clear(member: ApiClient) -> None:
    try:
        namespace = await member.get(resources.NAMESPACES, SYSTEM_NAMESPACE)
    except NotFound:
        return
    for name in (SECRET, BOOTSTRAP):
        await _delete(member, resources.SECRETS, name)
    if not is_ours(namespace):
        log.warning("Namespace %s is not ours and stays, with the agent's account and roles", SYSTEM_NAMESPACE)
        return
    # With our own rights gone we could take away nothing more: the garbage collector does it after us.
    metadata = namespace["metadata"]
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": metadata["name"], "uid": metadata["uid"]}
    for resource in ROLES:
        try:
            await member.patch(resource, AGENT, {"metadata": {"ownerReferences": [owner]}})
        except NotFound:
            continue  # it runs outside of the cluster
    await member.delete(resources.NAMESPACES, SYSTEM_NAMESPACE)


async def _delete(member: ApiClient, resource: Resource, name: str) -> None:
    try:
        await member.delete(resource, name, namespace=SYSTEM_NAMESPACE)
    except NotFound:
        log.debug("%s %s is gone already", resource.kind, name)
