"""
Service selector + Pods -> EndpointSlices of at most a hundred addresses.

`plan_slices` is pure: it changes as few slices as it can, since every change goes to every node.
Source: kube-controller-manager, pkg/controller/endpointslice; k8s.io/endpointslice/reconciler.go.
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.api import resources
from cluster.client.controller import Controller, is_being_emptied
from cluster.client.expectations import Expectations
from cluster.controller_manager.context import Context, enqueue_all
from cluster.controller_manager.service_endpoints import (
    Backend,
    PortOf,
    backends_of,
    by_ports,
    families_of,
    is_headless,
    is_managed,
    selector_of_service,
)
from cluster.machinery.objects import Key, Object, copy_object, key_of
from cluster.machinery.status_errors import ApiError, NotFound
from cluster.machinery.timestamps import format_time

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
MAX_ENDPOINTS = 100


@dataclass(frozen=True, slots=True)
class SlicePlan:
    create: tuple[Object, ...] = ()
    update: tuple[Object, ...] = ()
    delete: tuple[Object, ...] = ()


def endpoint_of(backend: Backend) -> Object:
    endpoint: Object = {
        "addresses": [backend.address],
        "conditions": {
            "ready": backend.ready,
            "serving": backend.serving,
            "terminating": backend.terminating,
        },
        "targetRef": backend.target_ref,
    }
    if backend.hostname:
        endpoint["hostname"] = backend.hostname
    if backend.node_name:
        endpoint["nodeName"] = backend.node_name
    if backend.zone:
        endpoint["zone"] = backend.zone
    return endpoint


def labels_of(service: Object) -> dict[str, str]:
    """The Service's labels, ours, and `headless` where it is."""
    labels = {
        key: value
        for key, value in (service["metadata"].get("labels") or {}).items()
        if key not in (SERVICE_NAME, MANAGED_BY, HEADLESS)
    }
    labels |= {SERVICE_NAME: service["metadata"]["name"], MANAGED_BY: MANAGER}
    if is_headless(service):
        labels[HEADLESS] = ""
    return labels


def _identity(endpoint: Object) -> tuple[str, str]:
    return endpoint["addresses"][0], (endpoint.get("targetRef") or {}).get("uid") or ""


def _ports_key(ports: Sequence[Object]) -> tuple[PortOf, ...]:
    return tuple(
        PortOf(p.get("name") or "", p.get("protocol") or "TCP", p.get("port"), p.get("appProtocol") or "")
        for p in ports
    )


def plan_slices(service: Object, backends: Sequence[Backend], existing: Sequence[Object], family: str) -> SlicePlan:
    """Slices of one address family to create, update and delete."""
    groups = by_ports(backends)
    if not groups:
        groups = {(): []}  # one empty slice says: known, and nothing behind it
    left = {_slice_key(s): s for s in existing}
    create: list[Object] = []
    update: list[Object] = []
    for ports, members in groups.items():
        same = [s for s in existing if _slice_key(s) in left and _ports_key(s.get("ports") or ()) == ports]
        for obj in same:
            del left[_slice_key(obj)]
        made, changed, emptied = _place(service, ports, members, same, family)
        create += made
        update += changed
        left |= {_slice_key(s): s for s in emptied}
    reusable = list(left.values())
    for position, made_slice in enumerate(create):  # a changed port rewrites a slice instead of replacing it
        if not reusable:
            return SlicePlan(tuple(create[position:]), tuple(update), ())
        update.append(_rewritten(reusable.pop(), made_slice))
    return SlicePlan((), tuple(update), tuple(reusable))


def _slice_key(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def _place(
    service: Object, ports: tuple[PortOf, ...], members: Sequence[Backend], same: Sequence[Object], family: str
) -> tuple[list[Object], list[Object], list[Object]]:
    """Keep everybody where it is, fill the gaps, open new slices for the rest."""
    wanted = {_identity(endpoint): endpoint for endpoint in map(endpoint_of, members)}
    contents: list[tuple[Object, list[Object]]] = []
    for obj in same:
        stay = [wanted.pop(_identity(e)) for e in obj.get("endpoints") or () if _identity(e) in wanted]
        contents.append((obj, stay))
    rest = list(wanted.values())
    for _, stay in sorted(contents, key=lambda entry: len(entry[1]), reverse=True):
        room = MAX_ENDPOINTS - len(stay)
        stay += rest[:room]
        rest = rest[room:]
    labels = labels_of(service)
    update, emptied = [], []
    for obj, stay in contents:
        if not stay and (members or len(contents) > 1):
            emptied.append(obj)
        elif stay != (obj.get("endpoints") or []) or labels != (obj["metadata"].get("labels") or {}):
            update.append(_with(obj, labels, stay))
    chunks = [rest[start : start + MAX_ENDPOINTS] for start in range(0, len(rest), MAX_ENDPOINTS)]
    if not chunks and not contents:
        chunks = [[]]
    return [_new_slice(service, labels, ports, chunk, family) for chunk in chunks], update, emptied


def _with(obj: Object, labels: Mapping[str, str], endpoints: list[Object]) -> Object:
    changed = copy_object(obj)
    changed["metadata"]["labels"] = dict(labels)
    changed["endpoints"] = endpoints
    return changed


def _rewritten(old: Object, made: Object) -> Object:
    changed = _with(old, made["metadata"]["labels"], made["endpoints"])
    changed["ports"] = made["ports"]
    return changed


def _new_slice(
    service: Object, labels: Mapping[str, str], ports: tuple[PortOf, ...], endpoints: list[Object], family: str
) -> Object:
    namespace, name = key_of(service)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": namespace,
            "generateName": f"{name}-",
            "labels": dict(labels),
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "Service",
                    "name": name,
                    "uid": service["metadata"]["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": [port.as_object() for port in ports],
    }


class EndpointSliceController:
    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._services = context.informers.of(resources.SERVICES)
        self._pods = context.informers.of(resources.PODS)
        self._nodes = context.informers.of(resources.NODES)
        self._slices = context.informers.of(resources.ENDPOINT_SLICES)
        self._slices.add_index("by-service", _service_of_slice)
        self._written = Expectations()
        self.controller = Controller("endpoint-slice", self.reconcile, workers=5)
        enqueue_all(self.controller, self._services)
        watch_pods_of_services(context, self.controller)
        self._slices.add_handler(self._slice_created, lambda old, new: self._enqueue_service(new), self._slice_deleted)

    async def run(self) -> None:
        await self.controller.run()

    def _slice_created(self, obj: Object) -> None:
        for service in _service_of_slice(obj):
            self._written.created(service)
        self._enqueue_service(obj)

    def _slice_deleted(self, obj: Object) -> None:
        for service in _service_of_slice(obj):
            self._written.deleted(service, obj["metadata"]["uid"])
        self._enqueue_service(obj)

    def _enqueue_service(self, obj: Object) -> None:
        labels = obj["metadata"].get("labels") or {}
        if labels.get(MANAGED_BY) == MANAGER and labels.get(SERVICE_NAME):
            self.controller.queue.add(Key(key_of(obj).namespace, labels[SERVICE_NAME]))

    async def reconcile(self, key: Key) -> None:
        existing = [
            s
            for s in self._slices.by_index("by-service", str(key))
            if (s["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER
        ]
        service = self._services.get(key)
        if service is None or service["metadata"].get("deletionTimestamp") or not is_managed(service):
            if service is not None and not service["metadata"].get("deletionTimestamp"):
                return
            for obj in existing:
                await self._delete(obj)
            return
        if not self._written.met(str(key)):
            return  # the cache has not shown our last slices; its next event brings us back
        families = families_of(service)
        selector = selector_of_service(service)
        pods = [p for p in self._pods.list(key.namespace) if selector.matches(p["metadata"].get("labels"))]
        zones = zones_of(self._nodes.list())
        for family in families:
            mine = [s for s in existing if s.get("addressType") == family]
            backends = backends_of(service, pods, family, zones)
            await self._carry_out(key, plan_slices(service, backends, mine, family))
        for obj in existing:
            if obj.get("addressType") not in families:
                await self._delete(obj)

    async def _carry_out(self, key: Key, plan: SlicePlan) -> None:
        stamp = format_time(datetime.datetime.now(datetime.UTC))
        for obj in (*plan.create, *plan.update):
            obj["metadata"].setdefault("annotations", {})[TRIGGER_TIME] = stamp
        for obj in plan.create:
            self._written.expect(str(key), creates=1)
            try:
                await self._client.create(resources.ENDPOINT_SLICES, obj)
            except ApiError as error:
                self._written.created(str(key))
                if is_being_emptied(error):
                    return
                raise
        for obj in plan.update:
            await self._client.update(resources.ENDPOINT_SLICES, obj)
        for obj in plan.delete:
            await self._delete(obj)

    async def _delete(self, obj: Object) -> None:
        namespace, name = key_of(obj)
        try:
            await self._client.delete(resources.ENDPOINT_SLICES, name, namespace=namespace)
        except NotFound:
            return


def zones_of(nodes: Sequence[Object]) -> dict[str, str]:
    return {
        n["metadata"]["name"]: zone
        for n in nodes
        if (zone := (n["metadata"].get("labels") or {}).get("topology.kubernetes.io/zone"))
    }


def _service_of_slice(obj: Object) -> list[str]:
    name = (obj["metadata"].get("labels") or {}).get(SERVICE_NAME)
    return [str(Key(key_of(obj).namespace, name))] if name else []


def watch_pods_of_services(context: Context, controller: Controller) -> None:
    """A Pod that changes in a way a Service could see brings in the Services that select it, before and after."""
    services = context.informers.of(resources.SERVICES)

    def concerned(pod: Object) -> None:
        labels = pod["metadata"].get("labels")
        for service in services.list(key_of(pod).namespace):
            if is_managed(service) and selector_of_service(service).matches(labels):
                controller.enqueue(service)

    def updated(old: Object, new: Object) -> None:
        if _what_counts(old) == _what_counts(new):
            return
        if old["metadata"].get("labels") != new["metadata"].get("labels"):
            concerned(old)
        concerned(new)

    context.informers.of(resources.PODS).add_handler(concerned, updated, concerned)


def _what_counts(pod: Object) -> object:
    status, metadata = pod.get("status") or {}, pod["metadata"]
    ready = next((c.get("status") for c in status.get("conditions") or () if c.get("type") == "Ready"), None)
    return (
        metadata.get("labels"),
        metadata.get("deletionTimestamp"),
        pod["spec"].get("nodeName"),
        status.get("podIPs") or status.get("podIP"),
        status.get("phase"),
        ready,
    )
