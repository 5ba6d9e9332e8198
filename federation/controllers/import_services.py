"""
Services that one member exports, imported by all: ServiceExport -> ServiceImport, an address and EndpointSlices.

A member that is lost does not answer any more; one that is not known yet, or while the federation takes itself to be
cut off, keeps what it gave. Members in pull mode take part over
their tunnels.
Not here    what is imported (federation.multicluster.merge, .imported), how it is written (.writing).
"""

import asyncio
import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import dataclass

from cluster.client.controller import Controller, Requeue
from cluster.client.informer import Informer
from cluster.client.kubeconfig import ClientConfig
from cluster.machinery.objects import Key, Object
from cluster.machinery.status_errors import ApiError
from cluster.machinery.timestamps import format_time
from federation.api.kinds import SYSTEM_NAMESPACE
from federation.membership.health import READY, SUSPECT
from federation.membership.member_clients import Member, MemberClients, MemberFault, secret_name
from federation.multicluster.imported import imported
from federation.multicluster.kinds import EXPORTS, NETWORK
from federation.multicluster.member import MulticlusterMember
from federation.multicluster.merge import Condition, Export, merge
from federation.multicluster.writing import bring, clear

log = logging.getLogger(__name__)

USER_AGENT = "hanse-federation-imports"
WRITE_SECONDS = 5.0
"""A member that takes longer is tried again later; others do not wait for it."""
RETRY = 5.0  # seconds
NO_NAMESPACE = 30.0  # seconds between looks whether a member has the namespace now
FIRST_LOOK = 10.0  # seconds at most that the start waits for members to tell what they export


@dataclass(frozen=True, slots=True)
class _Watched:
    member: Member
    network: str
    view: MulticlusterMember
    task: "asyncio.Task[None]"


class ImportServices:
    """
    `run` in a task.

    Args:
        clusters, secrets: informers of the federation; whoever made them runs them.
        federation: our login there, which reaches members in pull mode over their tunnels.
        isolated: whether the federation takes itself to be cut off from its members.
    """

    def __init__(
        self,
        clusters: Informer,
        secrets: Informer,
        federation: ClientConfig,
        *,
        isolated: Callable[[], bool] = lambda: False,
    ) -> None:
        self._clusters = clusters
        self._secrets = secrets
        self._federation = federation
        self._isolated = isolated
        self._watched: dict[str, _Watched] = {}
        self._phases: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._controller = Controller("imports", self.reconcile, workers=4)
        for informer in (clusters, secrets):
            informer.add_handler(self._woken, lambda _, new: self._woken(new), self._woken)

    def _woken(self, _: Object) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        clients = MemberClients(USER_AGENT, self._federation)
        try:
            await self._clusters.wait_synced()
            await self._secrets.wait_synced()
            async with asyncio.TaskGroup() as tasks:
                await self._settle(clients, tasks)
                waits = [asyncio.create_task(each.view.synced.wait()) for each in self._watched.values()]
                if waits:
                    await asyncio.wait(waits, timeout=FIRST_LOOK)
                tasks.create_task(self._controller.run(), name="imports")
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    await self._settle(clients, tasks)
        finally:
            await clients.close()

    async def _settle(self, clients: MemberClients, tasks: asyncio.TaskGroup) -> None:
        present = {cluster["metadata"]["name"]: cluster for cluster in self._clusters.list()}
        phases = {name: _phase(cluster) for name, cluster in present.items()}
        for name in [name for name in self._watched if name not in present]:
            await self._stop(name)
        for name, cluster in present.items():
            if phases[name] in (READY, SUSPECT):
                await self._settle_one(name, cluster, clients, tasks)
        await clients.tidy(present)
        if phases != self._phases:
            self._phases = phases
            for watched in self._watched.values():
                for key in watched.view.services():
                    self._controller.queue.add(key)

    async def _settle_one(self, name: str, cluster: Object, clients: MemberClients, tasks: asyncio.TaskGroup) -> None:
        network = (cluster["metadata"].get("labels") or {}).get(NETWORK) or ""
        try:
            member = clients.member(cluster, self._secrets.get(Key(SYSTEM_NAMESPACE, secret_name(cluster))))
        except MemberFault as fault:
            log.debug("cluster %s exports and imports nothing: %s", name, fault)
            return
        held = self._watched.get(name)
        if held is not None and held.member is member and held.network == network and not held.task.done():
            return
        if held is not None:
            await self._stop(name)
        view = MulticlusterMember(name, network, member.client, self._controller.queue.add)
        task = tasks.create_task(self._watch(view), name=f"exports of {name}")
        self._watched[name] = _Watched(member, network, view, task)

    async def _watch(self, view: MulticlusterMember) -> None:
        """What a member sends may be anything; it shall cost that member alone."""
        try:
            await view.run()
        except Exception:
            log.exception("exports of cluster %s are looked at anew in %g s", view.name, RETRY)
            asyncio.get_running_loop().call_later(RETRY, self._wake.set)

    async def _stop(self, name: str) -> None:
        watched = self._watched.pop(name)
        watched.task.cancel()
        await asyncio.wait([watched.task])
        for key in watched.view.services():
            self._controller.queue.add(key)

    async def reconcile(self, key: Key) -> Requeue | None:
        if not key.name:
            return None
        exports, unknown = self._exports(key)
        merged = merge(exports)
        reachable = [each.view for each in self._watched.values() if self._is_well(each.view.name)]
        told = [self._tell(view, key, merged.conditions[view.name]) for view in reachable
                if view.name in merged.conditions]  # fmt: skip
        work = [self._bring(view, key, exports, unknown) for view in reachable if view.synced.is_set()]
        done = await asyncio.gather(*told, *work)
        waits = [each for each in done if each is not None]
        return Requeue(min(waits)) if waits else None

    def _exports(self, key: Key) -> tuple[list[Export], set[str]]:
        """What every member says that is well, and who is not known: nothing may be concluded from their silence."""
        exports, unknown = list[Export](), set[str]()
        for name, phase in self._phases.items():
            watched = self._watched.get(name)
            if watched is None:
                unknown |= {name} if phase in (READY, SUSPECT) or self._isolated() else set()
            elif not self._is_well(name) and not self._isolated():
                continue
            elif not watched.view.is_complete:
                unknown.add(name)
            elif export := watched.view.export(key):
                exports.append(export)
        return exports, unknown

    def _is_well(self, name: str) -> bool:
        return self._phases.get(name) in (READY, SUSPECT)

    async def _bring(
        self, view: MulticlusterMember, key: Key, exports: list[Export], unknown: set[str]
    ) -> float | None:
        """Seconds after which the member has to be looked at again, if at all."""
        merged = merge(exports)
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                if merged.spec is None:
                    given = {each["cluster"] for each in _given(view.imports.get(key))}
                    if not given & unknown:
                        await clear(view, key)
                    return None
                wanted = imported(key, merged, view.name, view.network)
                return None if await bring(view, key, wanted, keep=unknown) else NO_NAMESPACE
        except (ApiError, TimeoutError) as fault:
            log.warning(
                "Service %s is not imported by cluster %s: %s", key, view.name, str(fault) or "it takes too long"
            )
            return RETRY

    async def _tell(self, view: MulticlusterMember, key: Key, conditions: list[Condition]) -> float | None:
        export = view.export(key)
        before = (
            {each["type"]: each for each in ((export.export.get("status") or {}).get("conditions") or ())}
            if export
            else {}
        )
        wanted = [_condition(each, before.get(each.type), export) for each in conditions]
        if export is None or wanted == list(before.values()):
            return None
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                body = {"status": {"conditions": wanted}}
                await view.client.patch(EXPORTS, key.name, body, namespace=key.namespace, subresource="status")
        except (ApiError, TimeoutError) as fault:
            log.info("the export of Service %s in cluster %s could not be told: %s", key, view.name, fault)
            return RETRY
        return None


def _given(service_import: Object | None) -> list[Object]:
    found: list[Object] = ((service_import or {}).get("status") or {}).get("clusters") or []
    return found


def _phase(cluster: Object) -> str:
    if cluster["metadata"].get("deletionTimestamp"):
        return "Leaving"
    return (cluster.get("status") or {}).get("phase") or "Pending"


def _condition(wanted: Condition, before: Object | None, export: Export | None) -> Object:
    """With the time since which it is so."""
    since = (
        before["lastTransitionTime"]
        if before and before.get("status") == wanted.status
        else format_time(dt.datetime.now(dt.UTC))
    )
    generation = export.export["metadata"].get("generation", 0) if export else 0
    return {**wanted._asdict(), "lastTransitionTime": since, "observedGeneration": generation}
