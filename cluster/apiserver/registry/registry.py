"""
Every served resource, found by its group, version and plural; and the apiserver's own reads and writes.
"""

from collections.abc import Sequence

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.apiserver.profile import CLUSTER, Profile
from cluster.apiserver.registry.conversion import converter_of
from cluster.apiserver.registry.generic import WriteContext, Writer
from cluster.apiserver.registry.kinds import Kind
from cluster.apiserver.registry.strategies import strategy_for
from cluster.apiserver.registry.strategy import Strategy
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import NotFound
from cluster.store.keys import place
from cluster.store.object_store import ObjectStore
from cluster.store.watch_cache import WatchCache

# Which version a kind that is served under several is stored in.
_STORED_AS = {
    "events.events.k8s.io": "v1",
    "horizontalpodautoscalers.autoscaling": "autoscaling/v2",
}
_TTL_OF = {"events", "events.events.k8s.io"}


class Registry:
    """Also the ObjectReader and ObjectWriter of `requests`."""

    def __init__(
        self,
        store: ObjectStore,
        cache: WatchCache,
        writer: Writer,
        *,
        event_ttl: int = 3600,
        profile: Profile = CLUSTER,
    ) -> None:
        self._profile = profile
        self._store = store
        self._cache = cache
        self._writer = writer
        self._kinds: dict[tuple[str, str, str], Kind] = {}
        self._others: dict[Resource, tuple[Resource, ...]] = {}
        """Answers of `others`, until a kind comes or goes."""
        self._event_ttl = event_ttl

    def add(self, resource: Resource, *, custom: bool = False) -> Kind:
        """Serve a resource that is stored; reviews and the like are not."""
        where = place(resource, custom=custom)
        kind = Kind(
            resource=resource,
            place=where,
            cache=self._cache.register(where),
            strategy=self._strategy(resource, custom=custom),
            storage_version=_STORED_AS.get(resource.qualified, resource.api_version),
            convert=converter_of(resource),
            custom=custom,
            ttl=self._event_ttl if resource.qualified in _TTL_OF else 0,
        )
        self._kinds[resource.group, resource.version, resource.plural] = kind
        return kind

    def _strategy(self, resource: Resource, *, custom: bool) -> Strategy:
        other = self._profile.strategies.get(resource.qualified)
        return other(resource) if other is not None else strategy_for(resource, custom=custom)

    def add_built_in(self) -> None:
        for resource in resources.ALL:
            if "list" in resource.verbs and resource.plural != "componentstatuses":
                self.add(resource)

    def put(self, kind: Kind) -> None:
        """Serve a kind that was made elsewhere: a custom resource."""
        self._others.clear()
        self._kinds[kind.resource.group, kind.resource.version, kind.resource.plural] = kind

    def drop(self, resource: Resource) -> Kind | None:
        """Serve it no longer."""
        self._others.clear()
        return self._kinds.pop((resource.group, resource.version, resource.plural), None)

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        return self._kinds.get((group, version, plural))

    async def find_current(self, group: str, version: str, plural: str) -> Kind | None:
        """The same, once all that was written before this call has been seen."""
        await self._cache.catch_up()
        return self.find(group, version, plural)

    # Versions of `webhooks.versions`.

    def others(self, resource: Resource) -> Sequence[Resource]:
        found = self._others.get(resource)
        if found is None:
            kind = self.find(resource.group, resource.version, resource.plural)
            place = kind.place if kind is not None else ""
            found = self._others[resource] = tuple(
                one.resource for one in self._kinds.values() if one.place == place and one is not kind
            )
        return found

    async def bring(self, obj: Object, resource: Resource) -> Object:
        return await self.kind(resource).bring(obj)

    def kind(self, resource: Resource) -> Kind:
        return self._kinds[resource.group, resource.version, resource.plural]

    @property
    def kinds(self) -> Sequence[Kind]:
        return tuple(self._kinds.values())

    # ObjectReader.

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        kind = self.kind(resource)
        entry = kind.cache.get(namespace, name)
        if entry is None:
            return None
        return entry.shared if entry.api_version == resource.api_version else kind.decode(entry)

    def list(self, resource: Resource, namespace: str = "") -> Sequence[Object]:
        kind = self.kind(resource)
        return [
            entry.shared if entry.api_version == resource.api_version else kind.decode(entry)
            for entry in kind.cache.entries(namespace)
        ]

    def version(self, resource: Resource) -> int:
        return self.kind(resource).cache.version

    async def get_current(self, resource: Resource, namespace: str, name: str) -> Object | None:
        await self._cache.catch_up()
        return self.get(resource, namespace, name)

    # ObjectWriter.

    async def create(self, resource: Resource, obj: Object) -> Object:
        kind = self.kind(resource)
        namespace = obj["metadata"].get("namespace", "")
        entry = await self._writer.create(kind, namespace, obj, own_context())
        return kind.decode(entry)

    async def update(self, resource: Resource, obj: Object, subresource: str = "") -> Object:
        kind = self.kind(resource)
        metadata = obj["metadata"]

        async def make(old: Object) -> Object:
            return obj

        namespace, name = metadata.get("namespace", ""), metadata["name"]
        entry, _ = await self._writer.update(kind, namespace, name, make, own_context(), subresource=subresource)
        return kind.decode(entry)

    async def delete(self, resource: Resource, namespace: str, name: str) -> bool:
        """Delete at once. Returns whether there was anything."""
        try:
            await self._writer.delete(self.kind(resource), namespace, name, {"gracePeriodSeconds": 0}, own_context())
        except NotFound:
            return False
        return True


def own_context() -> WriteContext:
    return WriteContext(field_manager="kube-apiserver", admit=False)
