"""
Keeps a DNSRecordSet for every federated Service: what its names answer, from where it is and how it is there.

Reads Services, Placements, Clusters and DNS policies of the federation, and what members say of the Service. The
federation's own name server answers from the DNSRecordSets; a zone elsewhere is brought to the same by a provider:
first a name is written down as ours to care for, then the zone is changed, then names that are gone are forgotten.
Not here    which records (federation.dns.endpoints), which changes (federation.dns.plan).
"""

import datetime as dt
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cluster.client.controller import Controller, Requeue
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object, key_of
from cluster.machinery.timestamps import parse_time
from federation.api.resources import DNS_RECORD_SETS
from federation.controllers.publish_zone import ZonePublisher
from federation.controllers.record_sets import RecordSets
from federation.dns.addresses import ServiceFacts
from federation.dns.endpoints import READY, SUSPECT, FederatedService, MemberFacts, Memory, decide, remembered
from federation.dns.plan import BRAKE_ABOVE
from federation.dns.policies import DnsPolicy, policy_for
from federation.dns.providers.provider import Provider
from federation.dns.recordsets import RecordSet, from_spec
from federation.membership.health import UNREACHABLE
from federation.membership.remedies import is_without_traffic

log = logging.getLogger(__name__)

RETRY_PROVIDER = 5.0  # seconds
LOOK_AGAIN = 300.0  # seconds between looks at names in a zone elsewhere that nothing happened to, as far as we know
HELD = 60.0  # seconds until names that are held back are looked at again; their confirmation is seen at once
SERVICE_FOLLOWS = 30.0  # seconds
BRAKE_HOLDS = 2.0  # seconds
CONFIRM = "federation.hanse.io/confirm-deletions"
SOON = 0.05  # seconds; clocks that tick coarsely shall not make us turn around in circles


class MemberServices(Protocol):
    """The members' Services and EndpointSlices, as informers in them see them."""

    def facts(self, cluster: str, service: Key, source: str) -> ServiceFacts | None:
        """
        None: not known (yet). Of a member that is not reached any more: what was known last.

        `source`: where addresses come from, one of those in federation.dns.addresses.
        """

    def on_change(self, call: Callable[[Key], None]) -> None:
        """`call` hears of every Service whose facts changed in some member."""


@dataclass(frozen=True, slots=True)
class PublishSettings:
    federation: str
    """Its name, part of every name."""
    uid: str
    domain: str
    default_ttl: int = 5
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Informers at the federation's apiserver; whoever makes them runs them."""

    services: Informer
    placements: Informer
    clusters: Informer
    policies: Informer
    cluster_policies: Informer
    record_sets: Informer

    @property
    def synced(self) -> bool:
        every = (self.services, self.placements, self.clusters, self.policies, self.cluster_policies, self.record_sets)
        return all(informer.has_synced for informer in every)


class PublishDns:
    """
    Args:
        isolated: whether the federation takes itself to be cut off from its members.
        provider: of a zone elsewhere; None: only the federation's own server answers.
        resolve: a load balancer's hostname -> its addresses as far as they are known.
    """

    def __init__(
        self,
        settings: PublishSettings,
        client: ApiClient,
        sources: Sources,
        members: MemberServices,
        *,
        isolated: Callable[[], bool] = lambda: False,
        provider: Provider | None = None,
        resolve: Callable[[str], tuple[str, ...]] = lambda _hostname: (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._client = client
        self._sources = sources
        self._members = members
        self._isolated = isolated
        self._resolve = resolve
        self._record_sets = RecordSets(client, in_zone=provider is not None)
        self._zone = ZonePublisher(client, provider, settings.uid) if provider is not None else None
        self._clock = clock
        self._memory: dict[Key, Memory] = {}
        self._seen_deleted: set[Key] = set()
        self._brake = (float("-inf"), False)
        """Until when it holds what was found about Services that are missing, and that."""
        self._controller = Controller("publish-dns", self.reconcile, workers=2)
        self._listen()

    async def run(self) -> None:
        """Work until cancelled; nothing is decided before every source is complete."""
        s = self._sources
        for informer in (s.services, s.placements, s.clusters, s.policies, s.cluster_policies, s.record_sets):
            await informer.wait_synced()
        await self._controller.run()

    def look_again(self) -> None:
        """At every Service."""
        for informer in (self._sources.services, self._sources.record_sets):
            for obj in informer.list():
                self._controller.enqueue(obj)

    def _listen(self) -> None:
        def placed(obj: Object) -> None:
            template = obj["spec"]["template"]
            if template["kind"] == "Service" and template["apiVersion"] == "v1":
                self._controller.queue.add(Key(template.get("namespace") or "", template["name"]))

        def everything(_: Object) -> None:
            self.look_again()

        def cluster_changed(old: Object, new: Object) -> None:
            if _standing(old) != _standing(new):
                everything(new)

        def service_deleted(obj: Object) -> None:
            if not self._sources.services.catching_up:
                self._seen_deleted.add(key_of(obj))
            self._controller.enqueue(obj)

        enqueue = self._controller.enqueue
        self._sources.services.add_handler(enqueue, lambda _, new: enqueue(new), service_deleted)
        self._sources.record_sets.add_handler(enqueue, lambda _, new: enqueue(new), enqueue)
        self._sources.placements.add_handler(placed, lambda _, new: placed(new), placed)
        self._sources.placements.add_index("by-service", _placed_service)
        self._sources.clusters.add_handler(everything, cluster_changed, everything)
        for informer in (self._sources.policies, self._sources.cluster_policies):
            informer.add_handler(everything, lambda _, new: everything(new), everything)
        self._members.on_change(self._controller.queue.add)

    async def reconcile(self, key: Key) -> Requeue | None:
        """Bring one Service's DNSRecordSet, and the zone elsewhere, to what they have to be."""
        service = self._sources.services.get(key)
        stored = self._sources.record_sets.get(key)
        old = from_spec(stored["spec"]) if stored else ()
        if stored and stored["metadata"].get("deletionTimestamp"):
            return await self._let_go(key, stored, service)
        if service is None and stored and self._held_back(key, stored):
            return Requeue(HELD)
        if service is None or service["metadata"].get("deletionTimestamp"):
            self._memory.pop(key, None)
            later = await self._publish(key, old, (), stored)
            if later is None:
                self._seen_deleted.discard(key)
            return later
        self._seen_deleted.discard(key)
        s = self._sources
        policy = policy_for(service, s.policies.list(key.namespace), s.cluster_policies.list())
        memory = self._memory.get(key) or remembered(old)
        members = [self._member(name, key, policy, memory) for name in self._clusters_of(key)]
        name = FederatedService(key.namespace, key.name, self._settings.federation, self._settings.domain)
        decided = decide(
            name, members, policy, memory,
            now=self._clock(), isolated=self._isolated(), default_ttl=self._settings.default_ttl,
        )  # fmt: skip
        self._memory[key] = decided
        later = await self._publish(key, old, decided.records, stored)
        times = [later.after] if later else []
        if decided.again is not None:
            times.append(max(decided.again - self._clock(), SOON))
        return Requeue(min(times)) if times else None

    def _held_back(self, key: Key, stored: Object) -> bool:
        """Whether the Service is one of suspiciously many that are missing though nobody was seen to delete them."""
        if key in self._seen_deleted or (stored["metadata"].get("annotations") or {}).get(CONFIRM) == "true":
            return False
        now = self._clock()
        if now >= self._brake[0]:
            self._brake = (now + BRAKE_HOLDS, self._brake_is_on())
        return self._brake[1]

    def _brake_is_on(self) -> bool:
        every = [key_of(one) for one in self._sources.record_sets.list()]
        missing = [one for one in every if self._sources.services.get(one) is None and one not in self._seen_deleted]
        on = len(missing) > BRAKE_ABOVE and 2 * len(missing) > len(every)
        if on:
            log.warning(
                "names of %d of %d Services stay though these are missing: nobody was seen to delete them; annotate "
                "their DNSRecordSets with %s=true to let the names go", len(missing), len(every), CONFIRM,
            )  # fmt: skip
        return on

    def _clusters_of(self, key: Key) -> list[str]:
        found = dict[str, None]()
        for placement in self._sources.placements.by_index("by-service", str(key)):
            for part in ("clusters", "evicting"):
                found.update((one["name"], None) for one in placement["spec"].get(part) or ())
        return list(found)

    def _member(self, name: str, key: Key, policy: DnsPolicy, memory: Memory) -> MemberFacts:
        cluster = self._sources.clusters.get(Key("", name))
        if cluster is None:  # it left; what it had is taken out
            return MemberFacts(name, phase="Leaving")
        region, zones, phase = _standing(cluster)
        facts = self._members.facts(name, key, policy.addresses)
        answered = name in memory.clusters
        if facts is None and answered and phase in (READY, SUSPECT):
            # We have just started, or a watch has: what is answered holds until the member says otherwise.
            return MemberFacts(name, region, zones, phase, *memory.said_of(name), ready=1)
        if facts is None or not (facts.current or answered or phase not in (READY, SUSPECT)):
            return MemberFacts(name, region, zones, phase)
        resolved = tuple(address for hostname in facts.hostnames for address in self._resolve(hostname))
        return MemberFacts(name, region, zones, phase, facts.addresses, facts.hostnames, facts.ready, resolved)

    async def _publish(
        self, key: Key, old: tuple[RecordSet, ...], new: tuple[RecordSet, ...], stored: Object | None
    ) -> Requeue | None:
        if self._zone is None:
            await self._record_sets.store(key, new, stored)
            return None
        # Names that go away stay written down until the zone is without them: a crash between must not lose them.
        names = {record.name for record in new}
        going = tuple(record for record in old if record.name not in names)
        await self._record_sets.store(key, (*new, *going), stored)
        touched = {record.name for record in (*old, *new)}
        if not await self._zone.publish(key, new, touched, synced=self._sources.synced):
            return Requeue(RETRY_PROVIDER)
        if going:
            now = await self._client.get(DNS_RECORD_SETS, key.name, namespace=key.namespace)
            await self._record_sets.store(key, new, now)
        return Requeue(LOOK_AGAIN) if new else None

    async def _let_go(self, key: Key, stored: Object, service: Object | None) -> Requeue | None:
        """Of a DNSRecordSet that is being deleted."""
        names = {record.name for record in from_spec(stored["spec"])}
        if service is not None and not service["metadata"].get("deletionTimestamp"):
            # Somebody deletes this alone, and it is made again; unless the Service follows: its namespace ends.
            since = parse_time(stored["metadata"]["deletionTimestamp"])
            if (dt.datetime.now(dt.UTC) - since).total_seconds() < SERVICE_FOLLOWS:
                return Requeue(RETRY_PROVIDER)
        elif self._zone and not await self._zone.publish(key, (), names, synced=self._sources.synced):
            return Requeue(RETRY_PROVIDER)
        await self._record_sets.let_go(key, stored)
        return None


def _placed_service(placement: Object) -> list[str]:
    template = placement["spec"]["template"]
    if template["kind"] != "Service" or template["apiVersion"] != "v1":
        return []
    return [str(Key(template.get("namespace") or "", template["name"]))]


def _standing(cluster: Object) -> tuple[str, tuple[str, ...], str]:
    """
    (region, zones, phase) as membership found them; the spec's word goes before the nodes' labels.

    Who gets no traffic for a remedy counts as one that cannot be reached.
    """
    spec, status = cluster.get("spec") or {}, cluster.get("status") or {}
    leaving = bool(cluster["metadata"].get("deletionTimestamp"))
    return (
        spec.get("region") or status.get("region") or "",
        tuple(spec.get("zones") or status.get("zones") or ()),
        "Leaving" if leaving else UNREACHABLE if is_without_traffic(cluster) else status.get("phase") or "Pending",
    )
