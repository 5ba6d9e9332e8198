"""
Who controls an object: owner references, adopting orphans and letting go of what no longer matches.

`plan_claims` is pure; `Claimer` carries it out. Source: kube-controller-manager, controller_ref_manager.go.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from cluster.api.resources import Resource
from cluster.client.rest import ApiClient
from cluster.machinery.labels import Selector
from cluster.machinery.objects import Object, key_of
from cluster.machinery.status_errors import Invalid, NotFound


def controller_of(obj: Object) -> Object | None:
    """The owner reference of the controller; None for an orphan."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            found: Object = reference
            return found
    return None


def owner_reference(owner: Object, resource: Resource) -> Object:
    """What a controller writes into what it makes."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def controller_index(obj: Object) -> list[str]:
    """Index function: the controller's uid, or `orphan/NAMESPACE`."""
    owner = controller_of(obj)
    return [owner["uid"] if owner is not None else f"orphan/{key_of(obj).namespace}"]


BY_CONTROLLER = "by-controller"


def is_being_deleted(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


@dataclass(frozen=True, slots=True)
class Claims:
    """`kept` are controlled already; `adopt` and `release` need a write each."""

    kept: tuple[Object, ...] = ()
    adopt: tuple[Object, ...] = ()
    release: tuple[Object, ...] = ()


def plan_claims(owner: Object, selector: Selector, objects: Iterable[Object]) -> Claims:
    """Sort objects into those that stay, orphans to take and strays to let go. Others' are left alone."""
    uid = owner["metadata"]["uid"]
    kept, adopt, release = [], [], []
    for obj in objects:
        reference = controller_of(obj)
        matches = selector.matches(obj["metadata"].get("labels"))
        if reference is not None:
            if reference["uid"] != uid:
                continue
            if matches:
                kept.append(obj)
            elif not is_being_deleted(owner):
                release.append(obj)
        elif matches and not is_being_deleted(owner) and not is_being_deleted(obj):
            adopt.append(obj)
    return Claims(tuple(kept), tuple(adopt), tuple(release))


class Claimer:
    """Carries claims out for one kind of owner and one kind of owned."""

    def __init__(self, client: ApiClient, owners: Resource, owned: Resource) -> None:
        self._client, self._owners, self._owned = client, owners, owned

    async def claim(self, owner: Object, selector: Selector, objects: Iterable[Object]) -> list[Object]:
        """What the owner controls after adopting and releasing."""
        claims = plan_claims(owner, selector, objects)
        found = list(claims.kept)
        if claims.adopt and await self._still_wants(owner):
            for obj in claims.adopt:
                adopted = await self._patch(obj, [owner_reference(owner, self._owners)])
                if adopted is not None:
                    found.append(adopted)
        for obj in claims.release:
            await self._patch(obj, [{"$patch": "delete", "uid": owner["metadata"]["uid"]}])
        return found

    async def _still_wants(self, owner: Object) -> bool:
        """The cache may be late: ask before adopting on behalf of somebody who is gone."""
        namespace, name = key_of(owner)
        try:
            current = await self._client.get(self._owners, name, namespace=namespace)
        except NotFound:
            return False
        return current["metadata"]["uid"] == owner["metadata"]["uid"] and not is_being_deleted(current)

    async def _patch(self, obj: Object, references: list[Object]) -> Object | None:
        namespace, name = key_of(obj)
        patch = {"metadata": {"uid": obj["metadata"]["uid"], "ownerReferences": references}}
        try:
            return await self._client.patch(self._owned, name, patch, namespace=namespace, patch_type="strategic")
        except (NotFound, Invalid):  # deleted, or another object of that name by now
            return None
