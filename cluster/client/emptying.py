"""
Emptying a Namespace that is being deleted, and letting it go: what a cluster's controller and the federation's share.

Everything namespaced that discovery knows is deleted, Pods first; the Namespace's conditions say what is left.
Source: kube-controller-manager, pkg/controller/namespace/deletion.
"""

import asyncio
import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.client.discovery import preferred_resources
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.status_errors import ApiError, MethodNotAllowed, NotFound
from cluster.machinery.timestamps import format_time

FINALIZER = "kubernetes"


@dataclass(slots=True)
class Remains:
    """What is left after one pass, for the conditions."""

    discovery_failed: list[str] = field(default_factory=list)
    delete_failed: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    """Objects left, by qualified resource name."""
    finalizers: dict[str, int] = field(default_factory=dict)
    """Objects left, by the finalizer they wait for."""

    @property
    def empty(self) -> bool:
        return not (self.discovery_failed or self.delete_failed or self.counts)


def deletable(found: Sequence[Resource]) -> list[Resource]:
    """Namespaced resources in the order they go: Pods before what they use."""
    kept = [r for r in found if r.namespaced and {"list", "delete"} <= r.verbs]
    return sorted(kept, key=lambda r: (r.qualified != "pods", r.qualified))


def conditions_for(remains: Remains, before: Sequence[Object], now: datetime.datetime) -> list[Object]:
    """The five deletion conditions; pure."""
    left = ", ".join(f"{name} has {count} resource instances" for name, count in sorted(remains.counts.items()))
    waiting = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(remains.finalizers.items()))
    facts: Mapping[str, tuple[bool, str, str, str, str]] = {
        "NamespaceDeletionDiscoveryFailure": (
            bool(remains.discovery_failed),
            "DiscoveryFailed",
            f"Discovery failed for some groups, {len(remains.discovery_failed)} failing: "
            + ", ".join(remains.discovery_failed),
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        "NamespaceDeletionGroupVersionParsingFailure": (
            False,
            "",
            "",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        "NamespaceDeletionContentFailure": (
            bool(remains.delete_failed),
            "ContentDeletionFailed",
            "Failed to delete all resource types, "
            f"{len(remains.delete_failed)} remaining: {', '.join(remains.delete_failed)}",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        "NamespaceContentRemaining": (
            bool(remains.counts),
            "SomeResourcesRemain",
            f"Some resources are remaining: {left}",
            "ContentRemoved",
            "All content successfully removed",
        ),
        "NamespaceFinalizersRemaining": (
            bool(remains.finalizers),
            "SomeFinalizersRemain",
            f"Some content in the namespace has finalizers remaining: {waiting}",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    }
    known = {c["type"]: c for c in before}
    found = []
    for kind, (bad, bad_reason, bad_message, good_reason, good_message) in facts.items():
        status = "True" if bad else "False"
        old = known.get(kind)
        since = old["lastTransitionTime"] if old is not None and old["status"] == status else format_time(now)
        found.append(
            {
                "type": kind,
                "status": status,
                "lastTransitionTime": since,
                "reason": bad_reason if bad else good_reason,
                "message": bad_message if bad else good_message,
            }
        )
    return found


class EmptyNamespaces:
    """
    Args:
        stage: of a namespaced resource: those of a lower stage are gone before those of a higher one are touched;
            None leaves a resource to somebody else, who has to empty it: it counts as left, and is not deleted.
    """

    def __init__(self, client: ApiClient, stage: Callable[[Resource], int | None]) -> None:
        self._client, self._stage = client, stage

    async def end(self, namespace: Object | None) -> Remains:
        """One step towards its end, the last when nothing remains; nothing remains to do of one that is to live."""
        if namespace is None or not namespace["metadata"].get("deletionTimestamp"):
            return Remains()
        if FINALIZER not in (namespace["spec"].get("finalizers") or ()):
            return Remains()
        remains = await self.empty(namespace["metadata"]["name"])
        namespace = await self._write_conditions(namespace, remains)
        if remains.empty:
            await self.let_go(namespace)
        return remains

    async def empty(self, namespace: str) -> Remains:
        """Delete what is in it, as far as that goes now. Raises ApiError when discovery does not answer at all."""
        remains = Remains()
        found, remains.discovery_failed = await preferred_resources(self._client)
        stages: dict[int, list[Resource]] = {}
        others = []
        for resource in deletable(found):
            stage = self._stage(resource)
            if stage is None:
                others.append(resource)
            else:
                stages.setdefault(stage, []).append(resource)
        for stage in sorted(stages):
            await asyncio.gather(*(self._delete_all(resource, namespace, remains) for resource in stages[stage]))
            if remains.counts:
                return remains
        await asyncio.gather(*(self._count(resource, namespace, remains) for resource in others))
        return remains

    async def let_go(self, namespace: Object) -> None:
        """It is empty: take the finalizer away that has kept it."""
        finalized = copy_object(namespace)
        finalized["spec"]["finalizers"] = [f for f in namespace["spec"]["finalizers"] if f != FINALIZER]
        try:
            await self._client.update(resources.NAMESPACES, finalized, subresource="finalize")
        except NotFound:
            return

    async def _write_conditions(self, namespace: Object, remains: Remains) -> Object:
        """Say in the Namespace what is left. Returns it as it is now."""
        before = (namespace.get("status") or {}).get("conditions") or ()
        conditions = conditions_for(remains, before, datetime.datetime.now(datetime.UTC))
        ours = {c["type"] for c in conditions}
        merged = [c for c in before if c["type"] not in ours] + conditions
        if remains.empty or merged == list(before):
            return namespace
        changed = copy_object(namespace)
        changed.setdefault("status", {})["conditions"] = merged
        return await self._client.update(resources.NAMESPACES, changed, subresource="status")

    async def _delete_all(self, resource: Resource, namespace: str, remains: Remains) -> None:
        try:
            left = await self._left(resource, namespace)
            if left:
                await self._delete(resource, namespace, left)
                left = await self._left(resource, namespace)
        except NotFound:  # the resource itself is gone
            return
        except ApiError as error:
            remains.delete_failed.append(f"{resource.qualified}: {error}")
            return
        _note(remains, resource, left)

    async def _count(self, resource: Resource, namespace: str, remains: Remains) -> None:
        try:
            left = await self._left(resource, namespace)
        except NotFound:
            return
        except ApiError as error:
            remains.delete_failed.append(f"{resource.qualified}: {error}")
            return
        _note(remains, resource, left)

    async def _left(self, resource: Resource, namespace: str) -> list[Object]:
        page = await self._client.list(resource, namespace=namespace, metadata_only=True)
        return list(page.get("items") or ())

    async def _delete(self, resource: Resource, namespace: str, left: Sequence[Object]) -> None:
        if "deletecollection" in resource.verbs:
            try:
                await self._client.delete_collection(resource, namespace=namespace)
                return
            except MethodNotAllowed:  # it says so but cannot: one by one
                pass
        for obj in left:
            try:
                await self._client.delete(resource, obj["metadata"]["name"], namespace=namespace)
            except NotFound:
                continue


def _note(remains: Remains, resource: Resource, left: Sequence[Object]) -> None:
    if left:
        remains.counts[resource.qualified] = len(left)
    for obj in left:
        for finalizer in obj["metadata"].get("finalizers") or ():
            remains.finalizers[finalizer] = remains.finalizers.get(finalizer, 0) + 1
