"""
An agent at work: a login, then heartbeat, facts and propagation side by side, for as long as it runs.
"""

import asyncio
import logging

from cluster.api import resources
from cluster.client.informer import Informer
from cluster.client.kubeconfig import ClientConfig
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError
from federation.agent.answer import answer
from federation.agent.carry import carry
from federation.agent.depart import depart
from federation.agent.heartbeat import beat
from federation.agent.login import USER_AGENT, Invited, Login
from federation.agent.observe import observe
from federation.agent.report import report
from federation.api.resources import CLUSTERS
from federation.membership.health import LEAVING

log = logging.getLogger(__name__)


class LeavingError(Exception):
    """The federation lets this member go."""


PAUSE = 2.0
"""Seconds between tries to find the own cluster."""


async def run(invited: Invited, member_config: ClientConfig) -> None:
    """Until cancelled, or until the member has left."""
    nobody = ClientConfig(servers=(invited.server,))
    async with (
        ApiClient(member_config, user_agent=USER_AGENT) as member,
        # Heartbeats do not wait behind a burst of reports: they have connections of their own, at both ends.
        ApiClient(member_config, user_agent=USER_AGENT, connections=2) as pulse,
        ApiClient(nobody, user_agent=USER_AGENT) as federation,
        ApiClient(nobody, user_agent=f"{USER_AGENT}/heartbeat", connections=2) as heart,
        # A watch a kind, here and there: they would use up the connections of everybody else.
        ApiClient(nobody, user_agent=f"{USER_AGENT}/propagation", connections=0) as reading,
        ApiClient(member_config, user_agent=f"{USER_AGENT}/propagation", connections=0) as own,
    ):
        login = Login(invited, member, (federation, heart, reading))
        await login.get(await _identity(member))
        clusters = Informer(reading, CLUSTERS)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(login.run(), name="login")
                tasks.create_task(beat(heart, pulse, invited.cluster, login.refused), name="heartbeat")
                tasks.create_task(report(federation, member, invited.cluster), name="facts")
                tasks.create_task(clusters.run(), name="clusters")
                tasks.create_task(carry(reading, federation, own, invited.cluster, clusters), name="propagation")
                if invited.tunnel:
                    tasks.create_task(answer(federation, own, invited.cluster), name="tunnel")
                tasks.create_task(observe(federation, invited.cluster, clusters), name="second opinions")
                tasks.create_task(_until_leaving(clusters, invited.cluster), name="leaving")
        except* LeavingError:
            await depart(federation, member, invited.cluster)


async def _until_leaving(clusters: Informer, name: str) -> None:
    """Raises LeavingError when the member is let go."""
    leaving = asyncio.Event()

    def look(cluster: Object) -> None:
        if cluster["metadata"]["name"] == name and (cluster.get("status") or {}).get("phase") == LEAVING:
            leaving.set()

    clusters.add_handler(look, lambda _, new: look(new))
    await leaving.wait()
    raise LeavingError


async def _identity(member: ApiClient) -> str:
    """The uid of kube-system, when the cluster answers."""
    while True:
        try:
            return str((await member.get(resources.NAMESPACES, "kube-system"))["metadata"]["uid"])
        except ApiError as fault:
            log.warning("the own cluster does not answer: %s", fault)
        await asyncio.sleep(PAUSE)
