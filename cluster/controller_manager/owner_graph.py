"""
Who owns whom, and what has to go because of it. Pure: told of objects, it answers questions.

Owners that no list has shown are *virtual* until somebody has looked for them live.
Source: kube-controller-manager, pkg/controller/garbagecollector/graph.go.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.api.resources import Resource
from cluster.machinery.objects import Key, Object, key_of

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class OwnerRef:
    api_version: str
    kind: str
    name: str
    uid: str
    blocks: bool = False


@dataclass(slots=True)
class Node:
    """One object, as far as ownership goes."""

    uid: str
    resource: Resource
    key: Key
    owners: tuple[OwnerRef, ...] = ()
    being_deleted: bool = False
    finalizers: frozenset[str] = frozenset()

    @property
    def waits_for_dependents(self) -> bool:
        return self.being_deleted and FOREGROUND in self.finalizers

    @property
    def orphans_dependents(self) -> bool:
        return self.being_deleted and ORPHAN in self.finalizers


def owners_of(obj: Object) -> tuple[OwnerRef, ...]:
    return tuple(
        OwnerRef(o["apiVersion"], o["kind"], o["name"], o["uid"], bool(o.get("blockOwnerDeletion")))
        for o in obj["metadata"].get("ownerReferences") or ()
    )


class OwnerGraph:
    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._dependents: dict[str, set[str]] = {}
        """Objects by the uid of an owner, whether that owner has been seen or not."""

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, uid: str) -> Node | None:
        return self._nodes.get(uid)

    def dependents(self, uid: str) -> list[Node]:
        return [self._nodes[d] for d in self._dependents.get(uid, ()) if d in self._nodes]

    def put(self, resource: Resource, obj: Object) -> Node:
        metadata = obj["metadata"]
        uid = metadata["uid"]
        before = self._nodes.get(uid)
        node = Node(
            uid=uid,
            resource=resource,
            key=key_of(obj),
            owners=owners_of(obj),
            being_deleted=bool(metadata.get("deletionTimestamp")),
            finalizers=frozenset(metadata.get("finalizers") or ()),
        )
        self._nodes[uid] = node
        if before is not None:
            for owner in before.owners:
                self._unlink(owner.uid, uid)
        for owner in node.owners:
            self._dependents.setdefault(owner.uid, set()).add(uid)
        return node

    def remove(self, uid: str) -> tuple[Sequence[str], Sequence[str]]:
        """Forget an object; returns the uids of its dependents and of its owners, whose fate it may decide."""
        node = self._nodes.pop(uid, None)
        if node is None:
            return (), ()
        for owner in node.owners:
            self._unlink(owner.uid, uid)
        return tuple(self._dependents.get(uid, ())), tuple(o.uid for o in node.owners)

    def _unlink(self, owner: str, dependent: str) -> None:
        bucket = self._dependents.get(owner)
        if bucket is not None:
            bucket.discard(dependent)
            if not bucket:
                del self._dependents[owner]
