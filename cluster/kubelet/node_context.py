"""
What every pod worker shares: the runtime, the API, the node's settings. Made once by kubelet.py.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cluster.client.rest import ApiClient
from cluster.kubelet.api_objects import ApiObjects
from cluster.kubelet.cgroups import CgroupTree
from cluster.kubelet.container_specs import NodeView
from cluster.kubelet.handlers import Handlers
from cluster.kubelet.images import ImagePuller
from cluster.kubelet.pod_network import parse_resolv_conf
from cluster.kubelet.runtime import ContainerRuntime, DnsConfig
from cluster.kubelet.settings import KubeletSettings
from cluster.kubelet.status_writer import StatusWriter
from cluster.kubelet.volumes import Volumes
from cluster.machinery.objects import Object


class Recorder(Protocol):
    """cluster.client.events.EventRecorder, or nothing."""

    def record(
        self, obj: Object, event_type: str, reason: str, message: str, *, action: str = "", field_path: str = ""
    ) -> None: ...


class NoRecorder:
    """Events of a node without an apiserver go to the log, by their callers."""

    def record(
        self, obj: Object, event_type: str, reason: str, message: str, *, action: str = "", field_path: str = ""
    ) -> None:
        return


@dataclass
class NodeContext:
    settings: KubeletSettings
    runtime: ContainerRuntime
    client: ApiClient | None
    objects: ApiObjects | None
    images: ImagePuller
    volumes: Volumes
    handlers: Handlers
    statuses: StatusWriter
    cgroups: CgroupTree
    recorder: Recorder
    memory_bytes: int
    host_ips: tuple[str, ...]
    allocatable: Mapping[str, int]
    """Millicores and bytes."""
    services: Callable[[], list[Object] | None] = lambda: []
    """All Services, None while they are not known yet."""
    network_fault: Callable[[], str] = lambda: ""
    """Why pods with a network of their own cannot start; empty when they can."""
    clock: Callable[[], float] = time.time
    _dns: tuple[float, DnsConfig] = field(default=(0.0, DnsConfig()))

    @property
    def view(self) -> NodeView:
        settings = self.settings
        return NodeView(settings.log_dir, settings.cluster_domain, self.memory_bytes, f"{settings.root_dir}/seccomp")

    def node_dns(self) -> DnsConfig:
        """The node's resolv.conf, read again when it changed."""
        path = Path(self.settings.resolv_conf)
        try:
            changed = path.stat().st_mtime
        except OSError:
            return DnsConfig()
        if changed != self._dns[0]:
            self._dns = (changed, parse_resolv_conf(path.read_text()))
        return self._dns[1]
