"""
Keeps every member's health in its Cluster's status; of push-mode members their facts, and the federation's login alive.

Members are asked side by side, so that one which hangs delays nobody; those in pull mode are heard by their Leases and
tell their facts themselves. The status is written when it changes and at no other time.
Not here    what the answers mean (federation.membership.health).
"""

import asyncio
import datetime as dt
import logging
import time
from collections.abc import Callable, Mapping

from cluster.api import resources
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object
from cluster.machinery.status_errors import ApiError, Conflict, NotFound
from cluster.machinery.timestamps import format_time
from federation.api.kinds import SYSTEM_NAMESPACE
from federation.api.resources import CLUSTERS
from federation.controllers.links.brakes import DELETIONS_WAIT
from federation.membership import facts, health
from federation.membership.agents import HEARTBEAT, is_pull, lease_name
from federation.membership.health import PROBE_INTERVAL, Health, Isolation, isolation_of
from federation.membership.heartbeats import Heartbeats, is_late
from federation.membership.join import renew
from federation.membership.member_clients import Member, MemberClients, MemberFault, secret_name
from federation.membership.probe import probe
from federation.membership.sightings import opinions
from federation.membership.standing import status_of
from federation.membership.tokens import renewal_time

log = logging.getLogger(__name__)

USER_AGENT = "hanse-federation-controller-manager"
FACTS_INTERVAL, FACTS_SECONDS = 30.0, 15.0
"""Seconds between looks at what a member has, and how long one may take."""
RETURN = 2.0  # seconds at most between tries to read Clusters, while the apiserver is away
RENEW_INTERVAL = 60.0
"""Seconds between tries to renew a token that is due."""


class WatchMembers:
    """`run` in a task. `isolated` tells whether the federation takes itself to be cut off."""

    def __init__(self, client: ApiClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self.clusters = Informer(client, CLUSTERS, last_backoff=RETURN)
        self.secrets = Informer(client, resources.SECRETS, namespace=SYSTEM_NAMESPACE, last_backoff=RETURN)
        self.leases = Informer(client, resources.LEASES, namespace=SYSTEM_NAMESPACE, label_selector=HEARTBEAT)
        self._heartbeats = Heartbeats()
        self._clients = MemberClients(USER_AGENT)
        self._health: dict[str, Health] = {}
        self._facts: dict[str, Object] = {}
        self._due: dict[str, float] = {}
        """When a member's facts are looked at next."""
        self._renewed: dict[str, float] = {}
        self._isolation = Isolation()
        self._returning: frozenset[str] = frozenset()
        """Who was doubtful when the federation last found that it is not cut off any more."""
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._arrived = asyncio.Event()
        """Something has come that a member is made of: whoever just joins is not to wait for the next round."""
        self.clusters.add_handler(on_add=lambda _: self._arrived.set())
        self.secrets.add_handler(on_add=lambda _: self._arrived.set())
        self.leases.add_handler(on_add=lambda _: self._arrived.set())
        self.more_conditions: Callable[[str], list[Object]] = lambda _name: []
        """What others have found of a member: its name -> conditions without their times."""

    @property
    def isolated(self) -> bool:
        """
        Until all that came back are shown as they are, too: Clusters are told one after the other, and who decides by
        them would see the first of them well and the others still away.
        """
        return self._isolation.isolated or any(self._is_shown_away(name) for name in self._returning)

    def _is_shown_away(self, name: str) -> bool:
        """It is well, and its Cluster does not say so yet."""
        cluster, judged = self.clusters.get(Key("", name)), self._health.get(name)
        shown = (cluster.get("status") or {}).get("phase") if cluster is not None else None
        return judged is not None and judged.phase == health.READY and shown in (health.SUSPECT, health.UNREACHABLE)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.clusters.run(), name="clusters")
                tasks.create_task(self.secrets.run(), name="members' credentials")
                tasks.create_task(self.leases.run(), name="members' heartbeats")
                for informer in (self.clusters, self.secrets, self.leases):
                    await informer.wait_synced()
                while True:
                    until = self._clock() + PROBE_INTERVAL
                    await self._round(tasks)
                    while await self._somebody_arrived(until - self._clock()):
                        await self._welcome(tasks)
        finally:
            await self._clients.close()

    def _present(self) -> dict[str, Object]:
        return {cluster["metadata"]["name"]: cluster for cluster in self.clusters.list()}

    async def _somebody_arrived(self, seconds: float) -> bool:
        """Waits that long at most."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._arrived.wait()
        except TimeoutError:
            return False
        self._arrived.clear()
        return True

    async def _welcome(self, tasks: asyncio.TaskGroup) -> None:
        """Look at members that have never answered; the others have their rounds."""
        strangers = {
            name: cluster
            for name, cluster in self._present().items()
            if self._health.get(name, Health()).answered is None
            and (is_pull(cluster) or self._secret(cluster) is not None)
        }
        await self._ask(strangers, arriving=True)
        for name, cluster in strangers.items():
            await self._tell(name, cluster)
            self._look_if_due(name, cluster, tasks)

    async def _ask(self, clusters: Mapping[str, Object], *, arriving: bool = False) -> None:
        """Those in push mode, side by side; the others are heard, and whoever is `arriving` has missed nothing."""
        await asyncio.gather(*(self._probe(name, one) for name, one in clusters.items() if not is_pull(one)))
        for name in [name for name, one in clusters.items() if is_pull(one)]:
            self._listen(name, arriving=arriving)

    async def _round(self, tasks: asyncio.TaskGroup) -> None:
        present = self._present()
        push = {name for name, cluster in present.items() if not is_pull(cluster)}
        for known in (self._health, self._facts, self._due, self._renewed):
            for name in [name for name in known if name not in present]:
                del known[name]
        self._heartbeats.forget_others(present.keys() - push)
        for name, cluster in present.items():
            phase = (cluster.get("status") or {}).get("phase")
            if name not in self._health and phase in (health.READY, health.SUSPECT):
                # As who looked after it before us has seen it: one missed probe of ours is no reason to doubt who was
                # reached, nor to believe in who was not.
                self._health[name] = Health(phase=phase)
        await self._ask(present)
        before, self._isolation = self._isolation, isolation_of(self._isolation, self._health, self._clock())
        if before.isolated and not self._isolation.isolated:
            self._returning = frozenset(before.doubtful)
        for name, cluster in present.items():
            await self._tell(name, cluster)
            self._look_if_due(name, cluster, tasks)
        await self._clients.tidy(push)

    def _look_if_due(self, name: str, cluster: Object, tasks: asyncio.TaskGroup) -> None:
        if is_pull(cluster):
            return  # its agent tells them
        if self._health[name].phase == health.READY and self._clock() >= self._due.get(name, 0.0):
            self._due[name] = self._clock() + FACTS_INTERVAL
            task = self._looking.get(name)
            if task is None or task.done():
                self._looking[name] = tasks.create_task(self._look(name, cluster), name=f"facts of {name}")

    def _member(self, cluster: Object) -> Member:
        """Raises MemberFault."""
        return self._clients.member(cluster, self._secret(cluster))

    def _secret(self, cluster: Object) -> Object | None:
        return self.secrets.get(Key(SYSTEM_NAMESPACE, secret_name(cluster)))

    async def _probe(self, name: str, cluster: Object) -> None:
        asked = self._clock()
        try:
            why = await probe(self._member(cluster).client)
        except MemberFault as fault:
            why = str(fault)
        if why:
            self._missed(name, why)
        else:
            self._judged(name, health.after_answer(self._health.get(name, Health()), asked), "")

    def _missed(self, name: str, why: str) -> None:
        """Before a member is given up, others are heard."""
        others = opinions(name, self.clusters.list(), self._health)
        said = f"{why}; {others}" if str(others) else why
        before = self._health.get(name, Health())
        self._judged(name, health.after_miss(before, self._clock(), said, vouched=others.vouched), said)

    def _listen(self, name: str, *, arriving: bool) -> None:
        before, now = self._health.get(name, Health()), self._clock()
        lease = self.leases.get(Key(SYSTEM_NAMESPACE, lease_name(name)))
        heard = self._heartbeats.hear(name, lease, now, dt.datetime.now(dt.UTC))
        if heard is not None and not is_late(heard, now):
            self._judged(name, health.after_answer(before, heard), "")
            return
        why = "its agent was never heard" if lease is None else "its agent is not heard any more"
        if arriving or (lease is None and before.phase == health.PENDING):
            return  # invited, and not come yet
        self._missed(name, why)

    def _judged(self, name: str, after: Health, why: str) -> None:
        before = self._health.get(name, Health())
        if after.phase != before.phase:
            log.info("cluster %s is %s%s", name, after.phase, f": {why}" if why else "")
        self._health[name] = after

    async def _look(self, name: str, cluster: Object) -> None:
        """Facts, and a new token when it is time for one."""
        try:
            member = self._member(cluster).client
            async with asyncio.timeout(FACTS_SECONDS):
                await self._keep_login(name, cluster, member)
                found = await facts.collect(member)
        except TimeoutError:
            log.warning("cluster %s does not say what it has: no answer within %g s", name, FACTS_SECONDS)
        except (ApiError, MemberFault) as fault:
            log.warning("cluster %s does not say what it has: %s", name, fault)
        else:
            first = name not in self._facts
            self._facts[name] = found
            now = self.clusters.get(Key("", name))
            if first and now is not None and name in self._health:
                await self._tell(name, now)

    async def _keep_login(self, name: str, cluster: Object, member: ApiClient) -> None:
        secret = self._secret(cluster)
        due = renewal_time(secret) if secret is not None else None
        tried = self._clock() - self._renewed.get(name, float("-inf")) < RENEW_INTERVAL
        if secret is None or due is None or tried or due > dt.datetime.now(dt.UTC):
            return
        self._renewed[name] = self._clock()
        try:
            await renew(self._client, member, secret)
            log.info("the token for cluster %s is renewed", name)
        except NotFound:
            log.info("cluster %s left while its token was renewed", name)

    def _agent_says(self, status: Object) -> list[Object]:
        """Of what an agent found, what is its to find: whether it is well is our judgement."""
        found = status.get("agentConditions") or ()
        return [{**one, "status": "True"} for one in found if one["type"] == DELETIONS_WAIT]

    async def _tell(self, name: str, cluster: Object) -> None:
        before = cluster.get("status") or {}
        judged = self._health.get(name, Health())
        if before.get("phase") == health.LEAVING or (judged.phase == health.PENDING and before.get("phase")):
            return  # nothing is known yet that would be better than what was known before we started
        now = format_time(dt.datetime.now(dt.UTC))
        wanted = status_of(
            before,
            judged,
            self._facts.get(name),
            now,
            isolated=self._isolation.isolated,
            more=self._agent_says(before) if is_pull(cluster) else self.more_conditions(name),
        )
        if wanted == before or {**before, "lastProbeTime": None} == {**wanted, "lastProbeTime": None}:
            return
        try:
            # Over what we saw alone: agents write facts of their own, and who lets a member go writes its phase.
            metadata = {"resourceVersion": cluster["metadata"]["resourceVersion"]}
            change = {"metadata": metadata, "status": {**wanted, "lastProbeTime": now}}
            await self._client.patch(CLUSTERS, name, change, subresource="status", patch_type="merge")
        except (NotFound, Conflict):
            pass  # it left just now, or the next round sees what is newer
        except ApiError as fault:
            log.warning("the status of cluster %s is not up to date: %s", name, fault)
