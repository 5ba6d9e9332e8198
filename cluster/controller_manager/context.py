"""
What every controller is given: the client, one informer a resource shared by all, the events, the settings.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cluster.api.resources import Resource
from cluster.client.controller import Controller
from cluster.client.events import EventRecorder
from cluster.client.informer import Informer
from cluster.client.rest import ApiClient
from cluster.machinery.objects import Object


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerSettings:
    """Flags of the controller manager; names and defaults are upstream's."""

    allocate_node_cidrs: bool = False
    cluster_cidr: str = ""
    node_cidr_mask_size: int = 24
    node_monitor_period: float = 5.0
    """Seconds between looks at the nodes' Leases."""
    node_monitor_grace_period: float = 50.0
    """Seconds without a renewed Lease until a Node counts as unreachable: five missed renewals."""
    node_startup_grace_period: float = 60.0
    """The same for a Node that has never reported."""
    node_eviction_rate: float = 0.1
    """Nodes a second that are tainted NoExecute while most of a zone is well."""
    terminated_pod_gc_threshold: int = 12500
    root_ca_file: Path | None = None
    """PEM of the CAs that Pods trust, read again when it changes; None publishes nothing."""
    service_account_key_file: Path | None = None
    signing_cert_file: Path | None = None
    signing_key_file: Path | None = None
    signing_duration: float = 90 * 86400.0
    """Seconds a signed certificate lasts at most."""


class SharedInformers:
    """One informer a resource, made when first asked for. Asking ends when they run."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._informers: dict[str, Informer] = {}

    def of(self, resource: Resource) -> Informer:
        informer = self._informers.get(resource.qualified)
        if informer is None:
            informer = self._informers[resource.qualified] = Informer(self._client, resource)
        return informer

    def existing(self, resource: Resource) -> Informer | None:
        """The informer of a resource in this very version, if somebody has asked for one."""
        informer = self._informers.get(resource.qualified)
        return informer if informer is not None and informer.resource.version == resource.version else None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for name, informer in self._informers.items():
                tasks.create_task(informer.run(), name=f"informer of {name}")

    async def wait_synced(self) -> None:
        for informer in list(self._informers.values()):
            await informer.wait_synced()


@dataclass(frozen=True, slots=True)
class Context:
    client: ApiClient
    informers: SharedInformers
    settings: ManagerSettings
    _recorders: dict[str, EventRecorder] = field(default_factory=dict)

    def events(self, component: str) -> EventRecorder:
        """The recorder of one controller; its Events carry the component's name."""
        return self._recorders.setdefault(component, EventRecorder(self.client, component))

    def recorders(self) -> Iterable[EventRecorder]:
        return list(self._recorders.values())


def enqueue_all(controller: Controller, informer: Informer) -> None:
    """Every change of an object brings its own key into the queue."""

    def updated(_: Object, new: Object) -> None:
        controller.enqueue(new)

    informer.add_handler(controller.enqueue, updated, controller.enqueue)
