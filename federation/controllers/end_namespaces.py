"""
Ends the federation's Namespaces: templates first, then the federation's own objects, Placements never.

Placements are the placer's: it takes them away as members report, or moves what cannot be carried out yet to where it
outlives the namespace. How a namespace is emptied: cluster.client.emptying.
"""

from cluster.api.resources import Resource
from cluster.client.controller import Controller, Requeue
from cluster.client.emptying import EmptyNamespaces
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Key, Object
from federation.api.kinds import GROUP
from federation.api.resources import PLACEMENTS

RETRY = 1.0  # seconds until the next look at what was not yet gone


class EndNamespaces:
    """`run` in a task, beside the informer of Namespaces."""

    def __init__(self, client: ApiClient, namespaces: Informer) -> None:
        self._emptying = EmptyNamespaces(client, stage_of)
        self._namespaces = namespaces
        self._controller = Controller("end-namespaces", self.reconcile, workers=4)
        namespaces.add_handler(self._enqueue, lambda _, new: self._enqueue(new))

    async def run(self) -> None:
        await self._controller.run()

    def _enqueue(self, namespace: Object) -> None:
        if namespace["metadata"].get("deletionTimestamp"):
            self._controller.enqueue(namespace)

    async def reconcile(self, key: Key) -> Requeue | None:
        remains = await self._emptying.end(self._namespaces.get(key))
        return None if remains.empty else Requeue(RETRY)


def stage_of(resource: Resource) -> int | None:
    """Policies stay until the last template has gone: without them it would be placed anew before it goes."""
    if resource.group != GROUP:
        return 0
    return None if resource.plural == PLACEMENTS.plural else 1
