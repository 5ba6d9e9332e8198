"""
Let a member go: its Cluster and Secret in the federation, and in the member what joining made.

What runs there keeps running unless `delete_workloads` is asked for. `force` is for a member that is dead: it is given
five seconds and then forgotten.
"""

import asyncio
import logging

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.client.discovery import preferred_resources
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, NotFound
from federation.api.kinds import SYSTEM_NAMESPACE
from federation.api.resources import CLUSTER_PLACEMENTS, CLUSTERS, PLACEMENTS
from federation.membership import bootstrap_tokens
from federation.membership.agents import is_pull, lease_name
from federation.membership.health import LEAVING
from federation.membership.member_clients import MemberClients, MemberFault, secret_name
from federation.membership.member_dns import take_back
from federation.membership.tokens import ACCOUNT, ROLE, is_ours

log = logging.getLogger(__name__)

FORCED_SECONDS = 5.0
AGENT_SECONDS = 10.0
"""How long a member gets: one that is dead, and an agent that has to hear of it first."""
HEARD_SECONDS = 5.0
"""Until the federation's controllers know that a member leaves."""
LOOK = 0.2  # seconds between looks whether the agent is gone, or who leaves is let go of
PAGE = 500
MANAGED = "federation.hanse.io/managed=true"


class LeaveError(Exception):
    """The member is still one. The message says why and what to do."""


async def leave(
    federation: ApiClient, name: str, *, force: bool = False, delete_workloads: bool = False, called: str = ""
) -> list[str]:
    """
    What could not be taken back in the member, in words; empty when all was. Without `force` that is an error.

    Args:
        called: the federation's name; what was put into the member's DNS for it goes, too.

    Raises LeaveError; NotFound when there is no such member.
    """
    cluster = await federation.get(CLUSTERS, name)
    if delete_workloads and is_pull(cluster):
        raise LeaveError(
            f"what runs in cluster {name} cannot be deleted from here: it is in pull mode; let it leave first"
        )
    secret = await _secret(federation, cluster)
    left: list[str] = []
    clients = MemberClients(user_agent="hanse-federation-leave")
    try:
        if is_pull(cluster):
            async with asyncio.timeout(FORCED_SECONDS if force else AGENT_SECONDS):
                await _let_agent_go(federation, name)
        else:
            async with asyncio.timeout(FORCED_SECONDS if force else None):
                member = clients.member(cluster, secret).client
                # It stops being written to before it is emptied: the federation would put back what is taken away.
                await _say(federation, name, LEAVING)
                if delete_workloads:
                    await _until_heard(federation, name)
                    await _delete_workloads(member)
                if called:
                    await take_back(member, called)
                left += await _remove_login(member, name)
    except (ApiError, MemberFault, TimeoutError) as error:
        why = str(error) or f"no answer within {FORCED_SECONDS if force else AGENT_SECONDS:g} s"
        if not force:
            await _say(federation, name, (cluster.get("status") or {}).get("phase"))
            raise LeaveError(
                f"cluster {name} did not leave: {why}. With --force it is forgotten, and what joining made stays in it."
            ) from error
        left.append(f"what joining made in cluster {name} is still there: {why}")
    finally:
        await clients.close()
    await _forget(federation, cluster)
    return left


async def _say(federation: ApiClient, name: str, phase: str | None) -> None:
    await federation.patch(CLUSTERS, name, {"status": {"phase": phase}}, subresource="status")


async def _let_agent_go(federation: ApiClient, name: str) -> None:
    """The agent takes away what joining made, and its heartbeat last. One that never came has nothing to take."""

    async def is_heard() -> bool:
        try:
            await federation.get(resources.LEASES, lease_name(name), namespace=SYSTEM_NAMESPACE)
        except NotFound:
            return False
        return True

    if await is_heard():
        await _say(federation, name, LEAVING)
        while await is_heard():  # noqa: ASYNC110  (what is waited for happens in another cluster)
            await asyncio.sleep(LOOK)


async def _remove_login(member: ApiClient, name: str) -> list[str]:
    """The Namespace takes the rest with it; one that was there before us stays, and what we cannot reach then."""
    try:
        namespace = await member.get(resources.NAMESPACES, SYSTEM_NAMESPACE)
    except NotFound:
        return []
    if is_ours(namespace):
        await member.delete(resources.NAMESPACES, SYSTEM_NAMESPACE)
        return []
    await member.delete(resources.SERVICE_ACCOUNTS, ACCOUNT, namespace=SYSTEM_NAMESPACE)
    return [f"ClusterRole and ClusterRoleBinding {ROLE} stay in cluster {name}: its {SYSTEM_NAMESPACE} is not ours"]


async def _secret(federation: ApiClient, cluster: Object) -> Object | None:
    if not secret_name(cluster):
        return None
    try:
        return await federation.get(resources.SECRETS, secret_name(cluster), namespace=SYSTEM_NAMESPACE)
    except NotFound:
        return None


async def _forget(federation: ApiClient, cluster: Object) -> None:
    try:
        await federation.delete(CLUSTERS, cluster["metadata"]["name"])
    except NotFound:
        log.info("cluster %s is gone already", cluster["metadata"]["name"])
    if secret_name(cluster):
        try:
            await federation.delete(resources.SECRETS, secret_name(cluster), namespace=SYSTEM_NAMESPACE)
        except NotFound:
            log.info("Secret %s is gone already", secret_name(cluster))
    if is_pull(cluster):
        await _forget_agent(federation, cluster["metadata"]["name"])


async def _forget_agent(federation: ApiClient, name: str) -> None:
    """Its heartbeat and invitations. Whatever else of it is about is worth nothing without its Cluster."""
    tokens = await federation.list(
        resources.SECRETS, namespace=bootstrap_tokens.NAMESPACE, label_selector=bootstrap_tokens.LABEL
    )
    mine = [one for one in tokens.get("items") or () if bootstrap_tokens.granted(one)[0] == name]
    gone = [(resources.LEASES, SYSTEM_NAMESPACE, lease_name(name))]
    gone += [(resources.SECRETS, bootstrap_tokens.NAMESPACE, one["metadata"]["name"]) for one in mine]
    for resource, namespace, wanted in gone:
        try:
            await federation.delete(resource, wanted, namespace=namespace)
        except NotFound:
            log.debug("%s %s is gone already", resource.kind, wanted)


async def _until_heard(federation: ApiClient, name: str) -> None:
    """Until no Placement gives it anything any more; where no controller runs, nobody writes either."""
    try:
        async with asyncio.timeout(HEARD_SECONDS):
            while await _is_assigned(federation, name):  # noqa: ASYNC110  (the other side is a server)
                await asyncio.sleep(LOOK)
    except TimeoutError:
        log.warning("Placements still name cluster %s: no controller of the federation seems to run", name)


async def _is_assigned(federation: ApiClient, name: str) -> bool:
    for resource in (PLACEMENTS, CLUSTER_PLACEMENTS):
        continue_ = ""
        while True:
            page = await federation.list(resource, limit=PAGE, continue_=continue_)
            for placement in page.get("items") or ():
                if any(one["name"] == name for one in placement["spec"].get("clusters") or ()):
                    return True
            continue_ = (page.get("metadata") or {}).get("continue") or ""
            if not continue_:
                break
    return False


async def _delete_workloads(member: ApiClient) -> None:
    """
    Everything that the federation wrote; Namespaces and definitions last, because they take others with them.

    Twice: a write that was on its way may have come after the first time.
    """
    for _ in range(2):
        await _delete_written(member)


async def _delete_written(member: ApiClient) -> None:
    found, _missing = await preferred_resources(member)
    deletable = [one for one in found if {"list", "delete"} <= one.verbs]
    last = [
        one for one in deletable if one.qualified in ("namespaces", "customresourcedefinitions.apiextensions.k8s.io")
    ]
    await asyncio.gather(*(_delete_all(member, one) for one in deletable if one not in last))
    for resource in last:
        await _delete_all(member, resource)


async def _delete_all(member: ApiClient, resource: Resource) -> None:
    page = await member.list(resource, label_selector=MANAGED, metadata_only=True)
    for item in page.get("items") or ():
        metadata = item["metadata"]
        try:
            await member.delete(
                resource,
                metadata["name"],
                namespace=metadata.get("namespace", ""),
                options={"propagationPolicy": "Background", "preconditions": {"uid": metadata["uid"]}},
            )
        except NotFound:
            continue
