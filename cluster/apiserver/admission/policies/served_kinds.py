"""The resources of a running apiserver, as policies ask for them."""

from collections.abc import Callable, Sequence

from cluster.api.resources import Resource
from cluster.apiserver.registry.registry import Registry
from cluster.machinery.objects import Object


class ServedKinds:
    """Satisfies `plugins.Kinds`."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        served = (one.resource for one in self._registry.kinds)
        return next((one for one in served if (one.api_version, one.kind) == (api_version, kind)), None)

    def others(self, resource: Resource) -> Sequence[Resource]:
        return self._registry.others(resource)

    async def bring(self, obj: Object, resource: Resource) -> Object:
        return await self._registry.bring(obj, resource)

    def on_change(self, resource: Resource, call: Callable[[], None]) -> None:
        self._registry.kind(resource).cache.subscribe(lambda _change: call(), call)
