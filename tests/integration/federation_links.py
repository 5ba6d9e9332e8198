"""Links to fake members, in the test's own process, at a real federation apiserver and without a placer."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

from cluster.api.resources import Resource
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import Conflict, NotFound
from federation.api.refs import Ref, placement_key, placement_resource, ref_of
from federation.api.resources import CLUSTERS, KIND_RULES
from federation.controllers.aggregate_status import AggregateStatus
from federation.controllers.links.link import Link
from federation.controllers.links.reporter import StatusReporter
from federation.controllers.links.sources import Sources, informers
from federation.controllers.placing.kind_rule_book import KindRuleBook
from federation.controllers.templates import Templates
from tests.fakes.fake_member import FakeMember
from tests.integration.federation_members import entries, eventually, placement_for
from tests.integration.federation_processes import Endpoint

_NUMBERS = itertools.count()


def fresh_name(prefix: str) -> str:
    """Tests share a federation: what one leaves behind is nothing to the next."""
    return f"{prefix}-{next(_NUMBERS)}"


class Links:
    """What `linked` yields."""

    def __init__(self, federation: ApiClient, members: dict[str, FakeMember]) -> None:
        self.federation, self.members = federation, members
        self.links: dict[str, Link] = {}
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Everything that a controller manager's propagation is, but the placer."""
        ready = asyncio.Event()
        self._running = asyncio.create_task(self._run(ready))
        await ready.wait()

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running

    async def _run(self, ready: asyncio.Event) -> None:
        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            reading = await stack.enter_async_context(ApiClient(self.federation.config, connections=0))
            templates, read, clusters = Templates(reading), informers(reading), Informer(reading, CLUSTERS)
            sources = Sources(templates, clusters=clusters, **read)
            reporter = StatusReporter(self.federation, sources.placements, sources.cluster_placements)
            rules = Informer(reading, KIND_RULES)
            statuses = AggregateStatus(
                self.federation, templates, sources.placements, sources.cluster_placements, KindRuleBook(rules)
            )
            for run in (
                templates.run,
                reporter.run,
                statuses.run,
                *(one.run for one in (clusters, rules, *read.values())),
            ):
                tasks.create_task(run())
            await sources.wait_synced()
            for name, member in self.members.items():
                client = await stack.enter_async_context(ApiClient(member.config, connections=0))
                self.links[name] = Link(name, client, sources, reporter)
                tasks.create_task(self.links[name].run())
            ready.set()

    # --- what tests do -------------------------------------------------------------------------------------

    async def place(self, template: Object, *clusters: str | Object, **spec: Any) -> None:
        """Write the Placement of a template that is there: clusters by name, or as entries of spec.clusters."""
        named = [{"name": one} if isinstance(one, str) else one for one in clusters]
        wanted = placement_for(template, named, **spec)
        resource, key = placement_resource(ref_of(template)), placement_key(ref_of(template))
        while True:
            try:
                there = await self.federation.get(resource, key.name, namespace=key.namespace)
                await self.federation.update(resource, {**there, "spec": wanted["spec"]})
            except NotFound:
                await self.federation.create(resource, wanted)
            except Conflict:
                continue
            return

    async def bury(self, template: Object, *clusters: str, **tombstone: str) -> None:
        """Every cluster gets a tombstone; nothing else is left in the Placement."""
        uid = template["metadata"]["uid"]
        await self.place(
            template, tombstones=[{"cluster": one, "uid": uid, "why": "Deleted", **tombstone} for one in clusters]
        )

    async def told(self, template: Object, cluster: str, state: str, *, message: str = "") -> Object:
        """The entry of Placement.status.clusters[], once it says so."""

        async def look() -> Object | None:
            entry = (await entries(self.federation, template))[cluster]
            assert entry["state"] == state, entry
            assert message in entry.get("message", ""), entry
            return entry

        found: Object = await eventually(f"{cluster} says {state} of {ref_of(template)}", look)
        return found

    async def there(self, cluster: str, resource: Resource, template: Object, **expected: Any) -> Object:
        """The member's copy, once it is there and `expected` dotted paths (with __ for dots) have their values."""
        ref: Ref = ref_of(template)

        async def look() -> Object | None:
            found = self.members[cluster].get(resource, ref.name, ref.namespace)
            assert found is not None, f"{ref} is not in {cluster}"
            for path, value in expected.items():
                assert _at(found, path) == value, found
            return found

        copy: Object = await eventually(f"{ref} is in {cluster}", look)
        return copy

    async def gone(self, cluster: str, resource: Resource, template: Object) -> None:
        ref = ref_of(template)

        async def look() -> bool:
            return self.members[cluster].get(resource, ref.name, ref.namespace) is None

        await eventually(f"{ref} is gone from {cluster}", look)


def _at(obj: Any, path: str) -> Any:
    for step in path.split("__"):
        obj = obj[int(step)] if isinstance(obj, list) else (obj or {}).get(step)
    return obj


@contextlib.asynccontextmanager
async def linked(endpoint: Endpoint, *members: FakeMember, start: bool = True) -> AsyncIterator[Links]:
    """A link to each of these, started, for the length of the block."""
    async with contextlib.AsyncExitStack() as stack:
        federation = await stack.enter_async_context(ApiClient.from_kubeconfig(endpoint.kubeconfig))
        for member in members:
            await stack.enter_async_context(member)
            spec = {"serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": member.url}]}
            cluster = {"apiVersion": CLUSTERS.api_version, "kind": "Cluster", "spec": spec}
            await federation.create(CLUSTERS, {**cluster, "metadata": {"name": member.name}})
        links = Links(federation, {member.name: member for member in members})
        try:
            if start:
                await links.start()
            yield links
        finally:
            await links.stop()
