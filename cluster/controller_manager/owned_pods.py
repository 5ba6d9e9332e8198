"""
What a watch on Pods tells the controller that owns them: whose turn it is, and which of its own writes have been seen.

Used by the controllers of Jobs and StatefulSets. ReplicaSets adopt orphans and so look at more than the owner.
"""

from cluster.client.expectations import Expectations
from cluster.client.informer import Informer
from cluster.client.workqueue import WorkQueue
from cluster.controller_manager.ownership import controller_of, is_being_deleted
from cluster.machinery.objects import Key, Object, key_of


class OwnedPods:
    """Handlers for one kind of owner; nothing else is done with a Pod of another kind's."""

    def __init__(self, kind: str, expectations: Expectations, queue: WorkQueue[Key]) -> None:
        self._kind, self._expectations, self._queue = kind, expectations, queue

    def follow(self, pods: Informer) -> None:
        pods.add_handler(self._added, lambda _, new: self._changed(new), self._gone)

    def _added(self, pod: Object) -> None:
        reference = controller_of(pod)
        if reference is not None:
            self._expectations.created(reference["uid"])
        self._changed(pod)

    def _changed(self, pod: Object) -> None:
        reference = controller_of(pod)
        if reference is not None and reference["kind"] == self._kind:
            if is_being_deleted(pod):
                self._expectations.deleted(reference["uid"], pod["metadata"]["uid"])
            self._queue.add(Key(key_of(pod).namespace, reference["name"]))

    def _gone(self, pod: Object) -> None:
        reference = controller_of(pod)
        if reference is not None and reference["kind"] == self._kind:
            self._expectations.deleted(reference["uid"], pod["metadata"]["uid"])
            self._queue.add(Key(key_of(pod).namespace, reference["name"]))
