"""
Keeps the Node object true: makes it, renews its Lease, writes its status when it changes and every five minutes.

Source: upstream pkg/kubelet/kubelet_node_status.go and component-helpers/lease.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.kubelet.node_facts import read_pressure
from cluster.kubelet.node_status import (
    MachineFacts,
    allocatable,
    capacity,
    conditions,
    default_labels,
    image_list,
    initial_node,
    node_addresses,
    node_info,
    runtime_faults,
)
from cluster.kubelet.pod_status import format_time
from cluster.kubelet.runtime import ContainerRuntime, RuntimeCondition, RuntimeFault, RuntimeVersion
from cluster.kubelet.settings import KubeletSettings
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import AlreadyExists, ApiError, Conflict, NotFound

log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
EAGER_SECONDS = 0.5
"""How often a node that is not Ready looks again."""


class NodeRegistration:
    def __init__(
        self, settings: KubeletSettings, machine: MachineFacts, client: ApiClient | None, runtime: ContainerRuntime
    ) -> None:
        self._settings, self._machine, self._client, self._runtime = settings, machine, client, runtime
        self.node: Object | None = None
        """The Node as the API last answered it."""
        self.runtime_conditions: Sequence[RuntimeCondition] = ()
        self.runtime_fault = "not asked yet"
        self.registered = asyncio.Event()
        self._version = RuntimeVersion("containerd", "unknown", "")
        self._written: Object = {}
        self._written_at = 0.0
        self._started = datetime.now(UTC)
        self.changed: Callable[[], None] = lambda: None
        """Called when the runtime or its network became ready or stopped being so."""

    @property
    def network_fault(self) -> str:
        faults = runtime_faults(self.runtime_conditions, self.runtime_fault)
        return "; ".join(faults)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_status(), name="node status")
            if self._client is not None:
                group.create_task(self._keep_lease(self._client), name="node lease")

    # --- status --------------------------------------------------------------------------------------------

    async def _keep_status(self) -> None:
        images: list[Object] = []
        turn = 0
        while True:
            before = self.network_fault
            await self._ask_runtime()
            if before != self.network_fault:
                self.changed()
            wait = EAGER_SECONDS if self.network_fault else self._settings.status_interval
            try:
                if self._client is not None:
                    if self.node is None:
                        await self._register(self._client)
                    if turn % 6 == 0 and not self.runtime_fault:
                        images = image_list(await self._runtime.list_images())
                    await self._write_status(self._client, images)
                    self.registered.set()
            except (ApiError, RuntimeFault) as error:
                log.warning("the Node %s is not written yet: %s", self._settings.node_name, error)
                wait = min(wait, 2.0)
                if isinstance(error, NotFound):
                    self.node = None
            turn += 1
            await asyncio.sleep(wait)

    async def _ask_runtime(self) -> None:
        try:
            self.runtime_conditions = await self._runtime.conditions()
            if self._version.version == "unknown":
                self._version = await self._runtime.version()
            self.runtime_fault = ""
        except RuntimeFault as fault:
            self.runtime_fault = fault.message

    async def _register(self, client: ApiClient) -> None:
        node = initial_node(self._settings, self._machine)
        try:
            self.node = await client.get(resources.NODES, self._settings.node_name)
        except NotFound:
            if not self._settings.register_node:
                raise
            # Born with its status: one write, and schedulers see it whole.
            node["status"] = self._status([], {})
            try:
                self.node = await client.create(resources.NODES, node)
                log.info("registered node %s", self._settings.node_name)
                return
            except AlreadyExists:
                self.node = await client.get(resources.NODES, self._settings.node_name)
        await self._adopt(client, self.node)

    async def _adopt(self, client: ApiClient, node: Object) -> None:
        """The Node was there: bring labels that are the kubelet's own up to date; taints stay the operator's."""
        wanted = {**default_labels(self._settings.node_name, self._machine.architecture), **self._settings.node_labels}
        have = node["metadata"].get("labels") or {}
        missing = {k: v for k, v in wanted.items() if have.get(k) != v}
        if missing:
            patch = {"metadata": {"labels": missing}}
            self.node = await client.patch(resources.NODES, self._settings.node_name, patch, patch_type="strategic")

    def _status(self, images: list[Object], old: Object) -> Object:
        now = format_time(datetime.now(UTC))
        pressure = read_pressure(self._settings.root_dir)
        return {
            "addresses": node_addresses(self._settings, self._machine),
            "capacity": capacity(self._machine, self._settings.max_pods),
            "allocatable": allocatable(self._machine, self._settings),
            "conditions": conditions(
                self.runtime_conditions,
                self.runtime_fault,
                pressure,
                self._settings,
                self._machine,
                now,
                old.get("conditions") or (),
            ),
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._settings.port}},
            "images": images,
            "nodeInfo": node_info(self._machine, self._version),
        }

    async def _write_status(self, client: ApiClient, images: list[Object]) -> None:
        """
        Write when something differs from what was written last, or from what the API says.

        The node lifecycle controller sets conditions to Unknown when the node was out of reach; only the kubelet
        may set them back, and it sees that by asking.
        """
        loop = asyncio.get_running_loop()
        self.node = await client.get(resources.NODES, self._settings.node_name)
        status = self._status(images, (self.node or {}).get("status") or {})
        due = loop.time() - self._written_at >= self._settings.report_interval
        same = _without_heartbeats(status) == _without_heartbeats(self._written)
        if same and not due and _conditions_agree(status, self.node.get("status") or {}):
            return
        name = self._settings.node_name
        body = {**status, "addresses": [{"$patch": "replace"}, *status["addresses"]]}
        self.node = await client.patch(
            resources.NODES, name, {"status": body}, patch_type="strategic", subresource="status"
        )
        self._written, self._written_at = status, loop.time()

    # --- lease ---------------------------------------------------------------------------------------------

    async def _keep_lease(self, client: ApiClient) -> None:
        lease: Object | None = None
        await self.registered.wait()
        while True:
            try:
                lease = await self._renew(client, lease)
            except Conflict:
                lease = None
                continue
            except ApiError as error:
                log.warning("the Lease of node %s is not renewed: %s", self._settings.node_name, error)
                lease = None
            await asyncio.sleep(self._settings.lease_interval)

    async def _renew(self, client: ApiClient, lease: Object | None) -> Object:
        name = self._settings.node_name
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": name, "leaseDurationSeconds": self._settings.lease_seconds, "renewTime": now}
        if lease is None:
            try:
                lease = await client.get(resources.LEASES, name, namespace=LEASE_NAMESPACE)
            except NotFound:
                fresh: Object = {
                    "apiVersion": "coordination.k8s.io/v1",
                    "kind": "Lease",
                    "metadata": {"name": name, "namespace": LEASE_NAMESPACE, **self._owner()},
                    "spec": spec,
                }
                return await client.create(resources.LEASES, fresh)
        return await client.update(resources.LEASES, {**lease, "spec": {**(lease.get("spec") or {}), **spec}})

    def _owner(self) -> Object:
        """The Lease goes when its Node goes."""
        uid = ((self.node or {}).get("metadata") or {}).get("uid")
        if not uid:
            return {}
        name = self._settings.node_name
        return {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}]}


def _without_heartbeats(status: Object) -> Object:
    rows = [{k: v for k, v in c.items() if k != "lastHeartbeatTime"} for c in status.get("conditions") or ()]
    return {**status, "conditions": rows}


def _conditions_agree(wanted: Object, observed: Object) -> bool:
    """Whether the API shows every condition of ours as it is; conditions of others do not count."""
    shown = {c.get("type"): (c.get("status"), c.get("reason")) for c in observed.get("conditions") or ()}
    return all(shown.get(c["type"]) == (c["status"], c["reason"]) for c in wanted["conditions"])
