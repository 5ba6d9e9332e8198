"""
The members' Services and their endpoints, as informers in each member see them, for the names of the federation.

A member that is lost keeps what it said last. One that comes back is looked at anew, on new connections: what a watch
over the broken network missed would else be believed for a while. Until it has said everything again, its old word
stands, marked as not current.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from cluster.client.informer import Informer
from cluster.client.kubeconfig import ClientConfig
from cluster.machinery.objects import Key, Object
from federation.api.kinds import SYSTEM_NAMESPACE
from federation.controllers.member_view import MemberView
from federation.dns.addresses import AUTO, ServiceFacts
from federation.membership.health import READY, SUSPECT
from federation.membership.member_clients import Member, MemberClients, MemberFault, secret_name

log = logging.getLogger(__name__)

USER_AGENT = "hanse-federation-dns"
LOOK_AGAIN = 5.0  # seconds after a member sent what nobody understands


@dataclass
class _Watched:
    """One member. `view` answers; `task` fills `coming`, which takes its place once it is complete."""

    member: Member
    coming: MemberView
    task: "asyncio.Task[None] | None"
    view: MemberView | None = None
    phase: str = READY


@dataclass
class MemberServices:
    """
    `run` in a task.

    Args:
        clusters: informer of the federation's Clusters; whoever made it runs it.
        secrets: of the Secrets in federation-system.
        federation: our login there, which reaches members in pull mode over their tunnels.
    """

    clusters: Informer
    secrets: Informer
    federation: ClientConfig
    _calls: list[Callable[[Key], None]] = field(default_factory=list)
    _watched: dict[str, _Watched] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        def wake(*_: Object) -> None:
            self._wake.set()

        def changed(old: Object, new: Object) -> None:
            if _what_counts(old) != _what_counts(new):
                self._wake.set()

        self.clusters.add_handler(wake, changed, wake)
        self.secrets.add_handler(wake, wake, wake)

    def facts(self, cluster: str, service: Key, source: str = AUTO) -> ServiceFacts | None:
        """None: not known (yet). Of a member that is not reached any more: what was known last."""
        watched = self._watched.get(cluster)
        if watched is None or watched.view is None:
            return None
        try:
            found = watched.view.facts(service, source)
        except (AttributeError, KeyError, TypeError, ValueError):
            log.exception("cluster %s says of Service %s what cannot be understood", cluster, service)
            return ServiceFacts((), (), 0)
        current = watched.view is watched.coming and watched.task is not None
        return found if found is None or current else replace(found, current=False)

    def on_change(self, call: Callable[[Key], None]) -> None:
        """`call` hears of every Service whose facts changed in some member."""
        self._calls.append(call)

    async def run(self) -> None:
        """Until cancelled."""
        clients = MemberClients(USER_AGENT, self.federation)
        try:
            async with asyncio.TaskGroup() as tasks:
                await self.clusters.wait_synced()
                await self.secrets.wait_synced()
                while True:
                    self._wake.clear()
                    await self._settle(clients, tasks)
                    await self._wake.wait()
        finally:
            await clients.close()

    async def _settle(self, clients: MemberClients, tasks: asyncio.TaskGroup) -> None:
        """Watch those that are well, let go of those that are not."""
        present = {cluster["metadata"]["name"]: cluster for cluster in self.clusters.list()}
        for name in [name for name in self._watched if name not in present]:
            await self._stop(self._watched.pop(name))
        for name, cluster in present.items():
            await self._settle_one(name, cluster, clients, tasks)
        await clients.tidy(present)

    async def _settle_one(self, name: str, cluster: Object, clients: MemberClients, tasks: asyncio.TaskGroup) -> None:
        watched = self._watched.get(name)
        phase = (cluster.get("status") or {}).get("phase") or "Pending"
        if phase not in (READY, SUSPECT) or cluster["metadata"].get("deletionTimestamp"):
            if watched is not None and watched.phase != phase:
                watched.phase = phase
                await self._stop(watched)
            return
        try:
            member = clients.member(cluster, self.secrets.get(Key(SYSTEM_NAMESPACE, secret_name(cluster))))
        except MemberFault as fault:
            log.warning("Services of cluster %s are not watched: %s", name, fault)
            return
        came_back = watched is not None and phase == READY and watched.phase != READY
        if watched is not None and watched.member is member and not came_back:
            watched.phase = phase
            return
        if watched is not None:
            await self._stop(watched)
        before = watched.view if watched is not None else None
        coming = MemberView(
            name, member.client, self._tell, lambda: self._take_over(name, coming),
            nodes=before is not None and before.nodes_wanted,
        )  # fmt: skip
        task = tasks.create_task(self._watch(coming), name=f"Services in {name}")
        self._watched[name] = _Watched(member, coming, task, before, phase)

    async def _watch(self, view: MemberView) -> None:
        """What a member sends may be anything; it shall cost that member alone."""
        try:
            await view.run()
        except Exception:
            log.exception("Services of cluster %s are looked at anew in %g s", view.name, LOOK_AGAIN)
            self._watched[view.name].phase = ""
            asyncio.get_running_loop().call_later(LOOK_AGAIN, self._wake.set)

    def _take_over(self, name: str, view: MemberView) -> None:
        watched = self._watched[name]
        before, watched.view = watched.view, view
        for key in {*(before.keys() if before else ()), *view.keys()}:
            self._tell(key)

    async def _stop(self, watched: _Watched) -> None:
        task, watched.task = watched.task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _tell(self, key: Key) -> None:
        for call in self._calls:
            call(key)


def _what_counts(cluster: Object) -> object:
    return cluster["spec"], (cluster.get("status") or {}).get("phase"), cluster["metadata"].get("deletionTimestamp")
