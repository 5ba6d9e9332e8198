"""
The templates a DaemonSet or StatefulSet has had, as ControllerRevisions, so that a rollout can be undone.

`kubectl rollout undo` applies a revision's data to the owner as a strategic merge patch, hence `$patch: replace`.
Source: kube-controller-manager, pkg/controller/history.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.controller_manager.ownership import BY_CONTROLLER, Claimer, owner_reference
from cluster.controller_manager.template_hash import canonical, fnv32a, safe_encode, without_empty
from cluster.machinery.labels import selector_of
from cluster.machinery.objects import Object, copy_object, key_of
from cluster.machinery.status_errors import AlreadyExists, NotFound

REVISIONS = resources.named("controllerrevisions.apps")
HASH_LABEL = "controller-revision-hash"


def revision_data(owner: Object) -> Object:
    """What of the owner a revision keeps."""
    return {"spec": {"template": {**copy_object(owner["spec"]["template"]), "$patch": "replace"}}}


def same_data(one: Object, other: Object) -> bool:
    return bool(without_empty(one) == without_empty(other))


def data_hash(data: Object, collisions: int) -> str:
    return safe_encode(str(fnv32a(canonical(data) + (str(collisions).encode() if collisions else b""))))


def hash_of(revision: Object) -> str:
    return str((revision["metadata"].get("labels") or {}).get(HASH_LABEL) or "")


def surplus(revisions: Sequence[Object], live: Collection[str], limit: int) -> list[Object]:
    """The oldest revisions beyond the limit that no Pod and no status names. `live` are names and hashes in use."""
    unused = [r for r in revisions if r["metadata"]["name"] not in live and hash_of(r) not in live]
    unused.sort(key=lambda r: int(r.get("revision") or 0))
    return unused[: max(len(unused) - limit, 0)]


@dataclass(slots=True)
class History:
    """All revisions of an owner; `update` is that of its present template."""

    update: Object
    every: list[Object]
    collisions: int

    @property
    def old(self) -> list[Object]:
        return [r for r in self.every if r["metadata"]["name"] != self.update["metadata"]["name"]]


class RevisionKeeper:
    def __init__(self, client: ApiClient, owners: Resource, informer: Informer) -> None:
        self._client, self._owners, self._informer = client, owners, informer
        self._claimer = Claimer(client, owners, REVISIONS)

    async def sync(self, owner: Object) -> History:
        """Find the revision of the present template, make it if there is none, and number it highest."""
        candidates = self._informer.by_index(BY_CONTROLLER, owner["metadata"]["uid"]) + self._informer.by_index(
            BY_CONTROLLER, f"orphan/{key_of(owner).namespace}"
        )
        every = await self._claimer.claim(owner, selector_of(owner["spec"].get("selector")), candidates)
        data = revision_data(owner)
        equal = [r for r in every if same_data(r.get("data") or {}, data)]
        highest = max((int(r.get("revision") or 0) for r in every), default=0)
        collisions = int((owner.get("status") or {}).get("collisionCount") or 0)
        if equal:
            current = max(equal, key=lambda r: int(r.get("revision") or 0))
            if int(current.get("revision") or 0) < highest:
                changed = {**copy_object(current), "revision": highest + 1}
                written = await self._client.update(REVISIONS, changed)
                every = [written if r is current else r for r in every]
                current = written
            return History(current, every, collisions)
        current, collisions = await self._create(owner, data, highest + 1, collisions)
        return History(current, [*every, current], collisions)

    async def _create(self, owner: Object, data: Object, number: int, collisions: int) -> tuple[Object, int]:
        namespace, name = key_of(owner)
        while True:
            digest = data_hash(data, collisions)
            revision: Object = {
                "apiVersion": REVISIONS.api_version,
                "kind": REVISIONS.kind,
                "metadata": {
                    "namespace": namespace,
                    "name": f"{name}-{digest}",
                    "labels": {
                        **(owner["spec"]["template"].get("metadata") or {}).get("labels", {}),
                        HASH_LABEL: digest,
                    },
                    "annotations": {
                        key: value
                        for key, value in (owner["metadata"].get("annotations") or {}).items()
                        if key != "kubectl.kubernetes.io/last-applied-configuration"
                    },
                    "ownerReferences": [owner_reference(owner, self._owners)],
                },
                "data": data,
                "revision": number,
            }
            try:
                return await self._client.create(REVISIONS, revision), collisions
            except AlreadyExists:
                taken = await self._client.get(REVISIONS, f"{name}-{digest}", namespace=namespace)
                if same_data(taken.get("data") or {}, data):
                    return taken, collisions
                collisions += 1

    async def clean_up(self, owner: Object, history: History, live: Collection[str]) -> None:
        limit = owner["spec"].get("revisionHistoryLimit")
        for revision in surplus(history.old, live, 10 if limit is None else int(limit)):
            namespace, name = key_of(revision)
            try:
                await self._client.delete(REVISIONS, name, namespace=namespace)
            except NotFound:
                continue
