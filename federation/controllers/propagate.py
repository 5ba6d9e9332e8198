"""
Brings what was placed into the members, and what they say of it back: one link a member, and one reporter for all.

A link lives as long as its Cluster does, also while the member is lost or leaves. Members in pull mode have their
link in their agent. Not here    where objects go (place.py), what one link does (links/link.py).
"""

import asyncio
import dataclasses
import logging
from dataclasses import dataclass

from cluster.client.informer import Informer
from cluster.client.kubeconfig import ClientConfig
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object
from federation.api.kinds import SYSTEM_NAMESPACE
from federation.controllers.links.link import Link
from federation.controllers.links.reports import Reporter
from federation.controllers.links.sources import Sources
from federation.membership.member_clients import MemberFault, member_config, secret_name

log = logging.getLogger(__name__)

USER_AGENT = "hanse-federation-propagation"
RESTART = 5.0  # seconds until a link that failed is started again


@dataclass(slots=True)
class _Running:
    """A link's task, and how it reaches its member. The token may change while it runs."""

    config: ClientConfig
    task: asyncio.Task[None]
    link: Link | None = None


class Propagate:
    """`run` in a task; it ends when cancelled. Who made the informers runs them."""

    def __init__(self, sources: Sources, secrets: Informer, reporter: Reporter) -> None:
        self._sources, self._secrets, self._reporter = sources, secrets, reporter
        self._running: dict[str, _Running] = {}
        self._changed = asyncio.Event()
        self._faults: dict[str, str] = {}
        self._configs: dict[str, tuple[object, ClientConfig]] = {}
        """How members are reached, and the versions of the objects that say so."""

    async def run(self) -> None:
        """Until cancelled."""
        for informer in (self._sources.clusters, self._secrets):
            informer.add_handler(self._note, lambda _, new: self._note(new), self._note)
        await self._sources.wait_synced()
        await self._secrets.wait_synced()
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._changed.clear()
                self._agree(tasks)
                await self._changed.wait()

    def conditions(self, cluster: str) -> list[Object]:
        """What a link has found that concerns its whole member, as conditions without their times."""
        running = self._running.get(cluster)
        if running is None or running.link is None:
            return []
        return [
            {"type": one.type, "status": "True", "reason": one.reason, "message": one.message}
            for one in running.link.conditions
        ]

    def _note(self, _obj: Object) -> None:
        self._changed.set()

    def _agree(self, tasks: asyncio.TaskGroup) -> None:
        """A link for every member that can be reached, and no other one."""
        wanted: dict[str, ClientConfig] = {}
        for cluster in self._sources.clusters.list():
            name = cluster["metadata"]["name"]
            if cluster["spec"].get("syncMode") == "Pull":
                continue
            try:
                wanted[name] = self._config(name, cluster)
            except MemberFault as fault:
                if self._faults.get(name) != str(fault):
                    log.warning("nothing can be propagated to cluster %s: %s", name, fault)
                self._faults[name] = str(fault)
            else:
                self._faults.pop(name, None)
        for name in [name for name in self._running if name not in wanted]:
            self._configs.pop(name, None)
            self._running.pop(name).task.cancel()
        for name, config in wanted.items():
            running = self._running.get(name)
            if running is not None and _without_token(running.config) == _without_token(config):
                running.config = config
                continue
            before = running.task if running is not None else None
            if before is not None:
                before.cancel()
            task = tasks.create_task(self._keep(name, config, before), name=f"link {name}")
            self._running[name] = _Running(config, task)

    def _config(self, name: str, cluster: Object) -> ClientConfig:
        """Raises MemberFault. Clusters' statuses change all the time, and a kubeconfig takes a while to read."""
        metadata, secret = cluster["metadata"], self._secrets.get(Key(SYSTEM_NAMESPACE, secret_name(cluster)))
        version = secret["metadata"].get("resourceVersion") if secret is not None else None
        seen = (metadata.get("uid"), metadata.get("generation"), version)
        known = self._configs.get(name)
        if known is None or known[0] != seen:
            known = self._configs[name] = (seen, member_config(cluster, secret))
        return known[1]

    async def _keep(self, name: str, config: ClientConfig, before: asyncio.Task[None] | None) -> None:
        """A link that runs; a fault of it is no fault of the others."""
        if before is not None:
            await asyncio.wait([before])

        def token() -> str:
            running = self._running.get(name)
            return running.config.token if running is not None else config.token

        while True:
            client = ApiClient(config, user_agent=USER_AGENT, connections=0, token_source=token)
            link = Link(name, client, self._sources, self._reporter)
            if (running := self._running.get(name)) is not None:
                running.link = link
            try:
                await link.run()
            except Exception:
                log.exception("the link to cluster %s failed and is started again", name)
            finally:
                await client.close()
            await asyncio.sleep(RESTART)


def _without_token(config: ClientConfig) -> ClientConfig:
    return dataclasses.replace(config, token="")
