"""Empty a Namespace that is being deleted, then let it go. How: cluster.client.emptying."""

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.client.controller import Controller, Requeue
from cluster.client.emptying import EmptyNamespaces
from cluster.controller_manager.context import Context, enqueue_all
from cluster.machinery.objects import Key

RETRY = 5.0  # seconds until the next look at what was not yet gone
PODS_RETRY = 1.0  # seconds, while only Pods are still stopping


class NamespaceController:
    def __init__(self, context: Context) -> None:
        self._emptying = EmptyNamespaces(context.client, pods_first)
        self._namespaces = context.informers.of(resources.NAMESPACES)
        self.controller = Controller("namespace", self.reconcile, workers=10)
        enqueue_all(self.controller, self._namespaces)

    async def run(self) -> None:
        await self.controller.run()

    async def reconcile(self, key: Key) -> Requeue | None:
        remains = await self._emptying.end(self._namespaces.get(key))
        if remains.empty:
            return None
        return Requeue(PODS_RETRY if set(remains.counts) <= {"pods"} else RETRY)


def pods_first(resource: Resource) -> int:
    """While one still runs, what it may be using stays."""
    return 0 if resource.qualified == "pods" else 1
