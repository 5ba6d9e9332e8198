"""
Count what ResourceQuotas limit, and say in their status what may be used and what is. `counted_kinds` and `used_of`
are pure.

The apiserver's admission books what is created; what goes away, ends or failed to be stored is given back here.
Source: kube-controller-manager, pkg/controller/resourcequota.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from cluster.api import quota, resources
from cluster.api.resources import Resource
from cluster.client.controller import Controller, Requeue
from cluster.client.discovery import preferred_resources
from cluster.controller_manager.context import Context
from cluster.machinery.objects import Key, Object, copy_object, key_of
from cluster.machinery.quantity import Quantity
from cluster.machinery.status_errors import NotFound

QUOTAS = resources.named("resourcequotas")
CLAIMS = resources.named("persistentvolumeclaims")
WATCHED = (resources.PODS, resources.SERVICES, CLAIMS)
"""Their end is noticed at once; of everything else, every RECOUNT seconds while a quota limits it."""
RECOUNT, RECOUNT_WATCHED = 30.0, 300.0  # seconds; the second is upstream's --resource-quota-sync-period
_SETTLE = 0.2  # seconds: what ends together is counted once


def counted_kinds(hard: Iterable[str]) -> set[str]:
    """Qualified names of the kinds that have to be counted for these names of a quota."""
    found = set()
    for name in hard:
        if name.startswith("count/"):
            found.add(name.removeprefix("count/"))
        elif name in quota.BARE_COUNTS:
            found.add(name)
        elif name.startswith("services."):
            found.add(resources.SERVICES.qualified)
        elif name in ("persistentvolumeclaims", "requests.storage") or quota.STORAGE_CLASS_SUFFIX in name:
            found.add(CLAIMS.qualified)
        else:  # pods, and what their containers ask for
            found.add(resources.PODS.qualified)
    return found


def used_of(existing: Object, found: Mapping[str, Sequence[Object]]) -> dict[str, str]:
    """
    The quota's `status.used`.

    Args:
        existing: The quota.
        found: Objects of its namespace by qualified kind: those that could be counted.
    """
    hard = (existing.get("spec") or {}).get("hard") or {}
    used = {name: quota.ZERO for name in hard if counted_kinds([name]) <= found.keys()}
    for qualified, objects in found.items():
        for obj in objects:
            if quota.scopes_match(existing, qualified, obj):
                for name, amount in quota.constrained(used, quota.usage_of(qualified, obj)).items():
                    used[name] = used[name] + amount
    return {name: str(amount) for name, amount in used.items()}


def _frees(before: Object, after: Object) -> bool:
    """Whether a change may have given something back."""
    if quota.is_terminal(after) != quota.is_terminal(before):
        return True
    return bool(before.get("spec") != after.get("spec"))


class ResourceQuotaController:
    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._quotas = context.informers.of(QUOTAS)
        self.controller = Controller("resourcequota", self.reconcile, workers=5)
        self._quotas.add_handler(self.controller.enqueue, self._changed, lambda _: None)
        for resource in WATCHED:
            context.informers.of(resource).add_handler(
                lambda _: None, self._perhaps_freed(resource), self._recount(resource)
            )

    async def run(self) -> None:
        await self.controller.run()

    def _changed(self, before: Object, after: Object) -> None:
        """Bookings of the admission are no reason to count."""
        hard = (after.get("spec") or {}).get("hard") or {}
        if before.get("spec") != after.get("spec") or hard != (after.get("status") or {}).get("hard"):
            self.controller.enqueue(after)

    def _perhaps_freed(self, resource: Resource) -> Callable[[Object, Object], None]:
        recount = self._recount(resource)

        def updated(before: Object, after: Object) -> None:
            # Pods change all the while, and mostly nobody limits them.
            if len(self._quotas) and _frees(before, after):
                recount(after)

        return updated

    def _recount(self, resource: Resource) -> Callable[[Object], None]:
        def recount(obj: Object) -> None:
            for existing in self._quotas.list(obj["metadata"]["namespace"]):
                if resource.qualified in counted_kinds((existing.get("spec") or {}).get("hard") or ()):
                    self.controller.queue.add_after(key_of(existing), _SETTLE)

        return recount

    async def reconcile(self, key: Key) -> Requeue | None:
        # As it was before the counting: what the admission books meanwhile makes the write below a conflict.
        existing = self._quotas.get(key)
        if existing is None or existing["metadata"].get("deletionTimestamp"):
            return None
        hard = (existing.get("spec") or {}).get("hard") or {}
        kinds = counted_kinds(hard)
        used = used_of(existing, await self._count(kinds, key.namespace))
        status = {"hard": dict(hard), "used": used}
        if _amounts(status) != _amounts(existing.get("status") or {}):
            changed = copy_object(existing)
            changed["status"] = status
            try:
                await self._client.update(QUOTAS, changed, subresource="status")
            except NotFound:
                return None
        watched = {resource.qualified for resource in WATCHED}
        return Requeue(RECOUNT_WATCHED if kinds <= watched else RECOUNT)

    async def _count(self, kinds: set[str], namespace: str) -> dict[str, Sequence[Object]]:
        """Asks the apiserver, not the caches: what was booked a moment ago has to be seen."""
        wanted = [resource for resource in await self._resources(kinds) if resource.namespaced]

        async def one(resource: Resource) -> tuple[str, Sequence[Object]]:
            whole = resource.qualified in {watched.qualified for watched in WATCHED}
            try:
                page = await self._client.list(resource, namespace=namespace, metadata_only=not whole)
            except NotFound:  # its definition has just gone
                return resource.qualified, ()
            return resource.qualified, page.get("items") or ()

        return dict(await asyncio.gather(*(one(resource) for resource in wanted)))

    async def _resources(self, kinds: set[str]) -> list[Resource]:
        known = {resource.qualified: resource for resource in resources.ALL}
        if not kinds <= known.keys():
            found, _ = await preferred_resources(self._client)
            known |= {resource.qualified: resource for resource in found}
        return [known[kind] for kind in sorted(kinds & known.keys())]


def _amounts(status: Object) -> dict[str, dict[str, Quantity]]:
    """To compare by value: 500m is 0.5."""
    return {
        part: {name: Quantity.parse(str(text)) for name, text in (status.get(part) or {}).items()}
        for part in ("hard", "used")
    }
