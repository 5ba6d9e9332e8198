"""
Every Namespace has a ConfigMap `kube-root-ca.crt`, so that its Pods can trust the apiserver.

Source: kube-controller-manager, pkg/controller/certificates/rootcacertpublisher.
"""

from cluster.api import resources
from cluster.client.controller import Controller, is_being_emptied
from cluster.controller_manager.context import Context, enqueue_all
from cluster.controller_manager.service_account import is_terminating
from cluster.machinery.objects import Key, Object, copy_object, key_of
from cluster.machinery.status_errors import AlreadyExists, ApiError, NotFound

NAME = "kube-root-ca.crt"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as "
    "the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of "
    "Kubernetes clusters."
)


class RootCaPublisher:
    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._data = {"ca.crt": context.settings.root_ca}
        self._namespaces = context.informers.of(resources.NAMESPACES)
        self._maps = context.informers.of(resources.CONFIG_MAPS)
        self.controller = Controller("root-ca-cert-publisher", self.reconcile, workers=2)
        enqueue_all(self.controller, self._namespaces)
        self._maps.add_handler(None, lambda _, new: self._changed(new), self._changed)

    def _changed(self, config_map: Object) -> None:
        namespace, name = key_of(config_map)
        if name == NAME:
            self.controller.queue.add(Key("", namespace))

    async def run(self) -> None:
        await self.controller.run()

    async def reconcile(self, key: Key) -> None:
        namespace = self._namespaces.get(key)
        if namespace is None or is_terminating(namespace):
            return
        current = self._maps.get(Key(key.name, NAME))
        try:
            if current is None:
                await self._client.create(
                    resources.CONFIG_MAPS,
                    {
                        "apiVersion": "v1",
                        "kind": "ConfigMap",
                        "metadata": {
                            "name": NAME,
                            "namespace": key.name,
                            "annotations": {"kubernetes.io/description": DESCRIPTION},
                        },
                        "data": self._data,
                    },
                )
            elif current.get("data") != self._data:
                changed = copy_object(current)
                changed["data"] = self._data
                await self._client.update(resources.CONFIG_MAPS, changed)
        except (AlreadyExists, NotFound):
            return
        except ApiError as error:
            if not is_being_emptied(error):
                raise
