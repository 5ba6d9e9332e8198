"""
Service selector + Pods -> Endpoints, the older form, for whoever still reads it.

`plan_subsets` is pure. Source: kube-controller-manager, pkg/controller/endpoint.
"""

import datetime
from collections.abc import Sequence

from cluster.api import resources
from cluster.client.controller import Controller, is_being_emptied
from cluster.controller_manager.context import Context, enqueue_all
from cluster.controller_manager.endpoint_slice import HEADLESS, TRIGGER_TIME, watch_pods_of_services
from cluster.controller_manager.service_endpoints import (
    Backend,
    backends_of,
    families_of,
    is_headless,
    is_managed,
    selector_of_service,
)
from cluster.controller_manager.template_hash import without_empty
from cluster.machinery.objects import Key, Object, copy_object, key_of
from cluster.machinery.status_errors import AlreadyExists, ApiError, NotFound
from cluster.machinery.timestamps import format_time

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
MAX_ADDRESSES = 1000


def _address(backend: Backend) -> Object:
    address: Object = {"ip": backend.address, "targetRef": backend.target_ref}
    if backend.hostname:
        address["hostname"] = backend.hostname
    if backend.node_name:
        address["nodeName"] = backend.node_name
    return address


def plan_subsets(backends: Sequence[Backend]) -> list[Object]:
    """Subsets in canonical form: addresses with the same ports together, sorted, at most 1000 in all."""
    counted = [b for b in backends if b.ready or not b.terminating]
    ports_of: dict[tuple[str, str], list[Object]] = {}
    who: dict[tuple[str, str], Backend] = {}
    for backend in sorted(counted, key=lambda b: not b.ready)[:MAX_ADDRESSES]:
        key = (backend.address, backend.uid)
        who[key] = backend
        ports_of[key] = [port.as_object() for port in backend.ports]
    groups: dict[str, tuple[list[Object], list[Backend]]] = {}
    for key, ports in ports_of.items():
        ordered = sorted(ports, key=lambda p: (p["name"], p["protocol"], p.get("port") or 0))
        for port in ordered:
            if not port["name"]:
                del port["name"]
        groups.setdefault(repr(ordered), (ordered, []))[1].append(who[key])
    subsets = []
    for _, (ports, members) in sorted(groups.items()):
        members.sort(key=lambda b: (b.address, b.uid))
        subset: Object = {
            "addresses": [_address(b) for b in members if b.ready],
            "notReadyAddresses": [_address(b) for b in members if not b.ready],
            "ports": ports,
        }
        subsets.append({name: value for name, value in subset.items() if value})
    return subsets


class EndpointsController:
    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._services = context.informers.of(resources.SERVICES)
        self._pods = context.informers.of(resources.PODS)
        self._endpoints = context.informers.of(resources.ENDPOINTS)
        self.controller = Controller("endpoint", self.reconcile, workers=5)
        enqueue_all(self.controller, self._services)
        watch_pods_of_services(context, self.controller)
        self._endpoints.add_handler(on_delete=self.controller.enqueue)

    async def run(self) -> None:
        await self.controller.run()

    async def reconcile(self, key: Key) -> None:
        service = self._services.get(key)
        current = self._endpoints.get(key)
        if service is None or service["metadata"].get("deletionTimestamp"):
            if current is not None:
                try:
                    await self._client.delete(resources.ENDPOINTS, key.name, namespace=key.namespace)
                except NotFound:
                    return
            return
        if not is_managed(service):
            return
        selector = selector_of_service(service)
        pods = [p for p in self._pods.list(key.namespace) if selector.matches(p["metadata"].get("labels"))]
        wanted = self._wanted(service, plan_subsets(backends_of(service, pods, families_of(service)[0], {})), current)
        if current is not None and without_empty(wanted) == without_empty(current):
            return
        annotations = wanted["metadata"].setdefault("annotations", {})
        annotations[TRIGGER_TIME] = format_time(datetime.datetime.now(datetime.UTC))
        try:
            if current is None:
                await self._client.create(resources.ENDPOINTS, wanted)
            else:
                await self._client.update(resources.ENDPOINTS, wanted)
        except AlreadyExists:
            return  # made a moment ago; the watch brings it
        except ApiError as error:
            if not is_being_emptied(error):
                raise

    def _wanted(self, service: Object, subsets: list[Object], current: Object | None) -> Object:
        namespace, name = key_of(service)
        labels = {k: v for k, v in (service["metadata"].get("labels") or {}).items() if k != HEADLESS}
        labels[MANAGED_BY] = MANAGER
        if is_headless(service):
            labels[HEADLESS] = ""
        wanted: Object = (
            copy_object(current)
            if current is not None
            else {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"namespace": namespace, "name": name}}
        )
        wanted["metadata"]["labels"] = labels
        wanted["subsets"] = subsets
        if not subsets:
            del wanted["subsets"]
        return wanted
