"""
Every Namespace has a ConfigMap `kube-root-ca.crt`, so that its Pods can trust the apiserver. While CAs are rotated the
file holds both, and every ConfigMap follows it within seconds.

Source: kube-controller-manager, pkg/controller/certificates/rootcacertpublisher.
"""

import asyncio
import logging
from pathlib import Path

from cluster.api import resources
from cluster.client.controller import Controller, is_being_emptied
from cluster.controller_manager.context import Context, enqueue_all
from cluster.controller_manager.service_account import is_terminating
from cluster.machinery.objects import Key, Object, copy_object, key_of
from cluster.machinery.status_errors import AlreadyExists, ApiError, NotFound

log = logging.getLogger(__name__)

NAME = "kube-root-ca.crt"
CHECK_INTERVAL = 5.0
"""Seconds between looks at the file."""
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as "
    "the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of "
    "Kubernetes clusters."
)


class RootCaPublisher:
    """Raises OSError or UnicodeDecodeError when the file of the root CA cannot be read at the start."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        file = context.settings.root_ca_file
        assert file is not None  # noqa: S101 - the catalogue leaves the controller out without one
        self._file: Path = file
        self._data = {"ca.crt": file.read_text()}
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
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.controller.run())
            tasks.create_task(self._follow_file())

    async def _follow_file(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            try:
                data = {"ca.crt": self._file.read_text()}
            except (OSError, UnicodeDecodeError) as fault:
                log.warning("the root CA cannot be read, the former stays published: %s", fault)
                continue
            if data != self._data:
                self._data = data
                for namespace in self._namespaces.list():
                    self.controller.queue.add(key_of(namespace))

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
