"""
Every Namespace has a ServiceAccount `default`. Source: kube-controller-manager, pkg/controller/serviceaccount.
"""

from cluster.api import resources
from cluster.client.controller import Controller, is_being_emptied
from cluster.controller_manager.context import Context, enqueue_all
from cluster.machinery.objects import Key, Object, key_of
from cluster.machinery.status_errors import AlreadyExists, ApiError

DEFAULT = "default"


def is_terminating(namespace: Object) -> bool:
    return bool(namespace["metadata"].get("deletionTimestamp"))


class ServiceAccountController:
    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._namespaces = context.informers.of(resources.NAMESPACES)
        self._accounts = context.informers.of(resources.SERVICE_ACCOUNTS)
        self.controller = Controller("serviceaccount", self.reconcile, workers=2)
        enqueue_all(self.controller, self._namespaces)
        self._accounts.add_handler(on_delete=self._deleted)

    def _deleted(self, account: Object) -> None:
        self.controller.queue.add(Key("", key_of(account).namespace))

    async def run(self) -> None:
        await self.controller.run()

    async def reconcile(self, key: Key) -> None:
        namespace = self._namespaces.get(key)
        if namespace is None or is_terminating(namespace) or self._accounts.get(Key(key.name, DEFAULT)):
            return
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": DEFAULT, "namespace": key.name},
        }
        try:
            await self._client.create(resources.SERVICE_ACCOUNTS, account)
        except AlreadyExists:
            return
        except ApiError as error:
            if not is_being_emptied(error):
                raise
