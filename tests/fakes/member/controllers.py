"""
What happens in a fake member by itself: workloads become ready, Services get endpoints and addresses, Namespaces end.

Runs at each change, at once and without a task; its writes are not counted.
"""

from collections.abc import Callable, Mapping

from cluster.api import resources
from cluster.api.resources import Resource, named
from cluster.apiserver.custom_resources import definitions
from cluster.machinery.labels import Selector
from cluster.machinery.objects import Key, Object
from tests.fakes.member.peculiarities import Peculiarities
from tests.fakes.member.store import DELETED, Change, Place, Store, place_of
from tests.fakes.member.writes import Writes

STATEFUL_SETS, JOBS = named("statefulsets.apps"), named("jobs.batch")
DEFINITIONS = named("customresourcedefinitions.apiextensions.k8s.io")
_WORKLOADS: Mapping[Place, Resource] = {
    place_of(one): one
    for one in (resources.DEPLOYMENTS, resources.REPLICA_SETS, STATEFUL_SETS, resources.DAEMON_SETS, JOBS)
}
SERVICE_LABEL = "kubernetes.io/service-name"


class Controllers:
    def __init__(self, store: Store, writes: Writes, behaves: Peculiarities, refresh: Callable[[], None]) -> None:
        self._store = store
        self._writes = writes
        self._behaves = behaves
        self._refresh = refresh
        """Called when a CustomResourceDefinition has come, changed or gone."""
        store.listeners.append(self._changed)

    def _changed(self, change: Change) -> None:
        """Its own writes come back here; each step writes only what differs, so that this ends."""
        group, plural = change.place
        gone = change.type == DELETED
        if change.place in _WORKLOADS:
            if not gone and self._behaves.ready:
                self._make_ready(_WORKLOADS[change.place], change.stored.key)
            if plural in ("deployments", "statefulsets", "replicasets", "daemonsets"):
                self._endpoints_of_all(change.stored.key.namespace)
        elif not group and plural == "services":
            if gone:
                self._remove_endpoints(change.stored.key)
            else:
                self._give_address(change.stored.key)
                self._endpoints(change.stored.key)
        elif not group and plural == "namespaces" and not gone:
            self._namespace(change.stored.key)
        elif change.place == place_of(DEFINITIONS):
            if not gone:
                self._establish(change.stored.key)
            self._refresh()

    def _put(self, resource: Resource, obj: Object) -> None:
        """If it differs from what is there."""
        key = Key(obj["metadata"].get("namespace") or "", obj["metadata"]["name"])
        present = self._store.get(resource, key)
        if present is not None:
            old = present.decode(resource)
            obj["metadata"] = {**old["metadata"], **obj["metadata"]}
            if obj == old:
                return
        else:
            obj["metadata"] |= {"uid": f"made-{key}", "creationTimestamp": self._writes.now()}
        self._store.put(resource, obj)

    # --- workloads

    def _make_ready(self, resource: Resource, key: Key) -> None:
        stored = self._store.get(resource, key)
        if stored is None:
            return
        obj = stored.decode(resource)
        status = _job_status(obj, self._writes.now()) if resource is JOBS else self._workload_status(obj)
        if {**(obj.get("status") or {}), **status} != (obj.get("status") or {}):
            obj["status"] = {**(obj.get("status") or {}), **status}
            self._store.put(resource, obj)

    def _workload_status(self, obj: Object) -> Object:
        wanted = obj["spec"].get("replicas", 1) if obj["kind"] != "DaemonSet" else max(1, self._behaves.nodes)
        ready = int(wanted * self._behaves.ready_share)
        generation = obj["metadata"].get("generation", 1)
        if obj["kind"] == "DaemonSet":
            numbers = {"desiredNumberScheduled": wanted, "currentNumberScheduled": wanted, "numberReady": ready,
                       "numberAvailable": ready, "updatedNumberScheduled": wanted, "numberMisscheduled": 0}  # fmt: skip
            return {"observedGeneration": generation, **numbers}
        counts: Object = {"replicas": wanted, "readyReplicas": ready, "availableReplicas": ready}
        if obj["kind"] == "StatefulSet":
            revision = f"{obj['metadata']['name']}-1"
            counts |= {"updatedReplicas": wanted, "currentReplicas": wanted}
            counts |= {"currentRevision": revision, "updateRevision": revision}
        if obj["kind"] == "ReplicaSet":
            counts["fullyLabeledReplicas"] = wanted
        if obj["kind"] == "Deployment":
            counts["updatedReplicas"] = wanted
            well = ready >= wanted
            counts["conditions"] = [
                _condition("Available", well=well, reason="MinimumReplicasAvailable", obj=obj),
                _condition("Progressing", well=True, reason="NewReplicaSetAvailable", obj=obj),
            ]
            if wanted > ready:
                counts["unavailableReplicas"] = wanted - ready
        return {"observedGeneration": generation, **counts}

    # --- Services

    def _give_address(self, key: Key) -> None:
        stored = self._store.get(resources.SERVICES, key)
        if stored is None or not self._behaves.load_balancer:
            return
        service = stored.decode(resources.SERVICES)
        wanted = [{"ip": self._behaves.load_balancer, "ipMode": "VIP"}]
        if service["spec"].get("type") == "LoadBalancer" and not (service.get("status") or {}).get("loadBalancer"):
            service["status"] = {"loadBalancer": {"ingress": wanted}}
            self._store.put(resources.SERVICES, service)

    def _endpoints_of_all(self, namespace: str) -> None:
        for service in list(self._store.objects(resources.SERVICES, namespace)):
            self._endpoints(service.key)

    def _endpoints(self, key: Key) -> None:
        stored = self._store.get(resources.SERVICES, key)
        service = stored.decode(resources.SERVICES) if stored is not None else {}
        selector = (service.get("spec") or {}).get("selector")
        if not selector:
            return
        addresses = [f"10.244.{at // 250 % 250}.{at % 250 + 1}" for at in range(self._ready_behind(key, selector))]
        ports = [
            {"name": one.get("name", ""), "port": one["port"], "protocol": "TCP"} for one in service["spec"]["ports"]
        ]
        name, namespace = key.name, key.namespace
        endpoints = resources.ENDPOINTS
        subsets = [{"addresses": [{"ip": one} for one in addresses], "ports": ports}] if addresses else []
        labels = service["metadata"].get("labels") or {}  # both kinds take over those of the Service
        described: Object = {"metadata": {"name": name, "namespace": namespace, "labels": labels}, "subsets": subsets}
        self._put(endpoints, {"kind": "Endpoints", "apiVersion": "v1", **described})
        slices = resources.ENDPOINT_SLICES
        if not self._behaves.serves(slices.group, slices.version):
            return
        conditions = {"ready": True, "serving": True, "terminating": False}
        self._put(
            slices,
            {
                "kind": "EndpointSlice",
                "apiVersion": slices.api_version,
                "metadata": {"name": f"{name}-1", "namespace": namespace, "labels": {**labels, SERVICE_LABEL: name}},
                "addressType": "IPv4",
                "endpoints": [{"addresses": [one], "conditions": conditions} for one in addresses],
                "ports": ports,
            },
        )

    def _ready_behind(self, key: Key, selector: Mapping[str, str]) -> int:
        """Replicas whose Pods a Service would select."""
        wanted, ready = Selector.from_labels(selector), 0
        for resource in _WORKLOADS.values():
            for stored in self._store.objects(resource, key.namespace):
                obj = stored.decode(resource)
                labels = (obj["spec"]["template"].get("metadata") or {}).get("labels")
                if resource is not JOBS and wanted.matches(labels):
                    status = obj.get("status") or {}
                    ready += status.get("readyReplicas") or status.get("numberReady") or 0
        return ready

    def _remove_endpoints(self, key: Key) -> None:
        self._store.remove(resources.ENDPOINTS, key)
        self._store.remove(resources.ENDPOINT_SLICES, Key(key.namespace, f"{key.name}-1"))

    # --- Namespaces and definitions

    def _namespace(self, key: Key) -> None:
        stored = self._store.get(resources.NAMESPACES, key)
        if stored is None:
            return
        namespace = stored.decode(resources.NAMESPACES)
        if not namespace["metadata"].get("deletionTimestamp"):
            for resource, name in (
                (resources.SERVICE_ACCOUNTS, "default"),
                (resources.CONFIG_MAPS, "kube-root-ca.crt"),
            ):
                metadata = {"name": name, "namespace": key.name}
                self._put(resource, {"kind": resource.kind, "apiVersion": "v1", "metadata": metadata})
            return
        for place, inside in self._store.in_namespace(key.name):
            self._store.remove_at(place, inside)
        self._store.remove(resources.NAMESPACES, key)

    def _establish(self, key: Key) -> None:
        stored = self._store.get(DEFINITIONS, key)
        definition = stored.decode(DEFINITIONS) if stored is not None else {}
        if not definition or definitions.is_true(definition, "Established"):
            return
        names = definition["spec"]["names"]
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", f"{names['kind']}List")
        kinds = ("NamesAccepted", "Established")
        conditions = [{"type": kind, "status": "True", "reason": "Accepted", "message": ""} for kind in kinds]
        versions = [one["name"] for one in definition["spec"]["versions"] if one.get("storage")]
        definition["status"] = {"acceptedNames": names, "conditions": conditions, "storedVersions": versions}
        self._store.put(DEFINITIONS, definition)


def _condition(kind: str, *, well: bool, reason: str, obj: Object) -> Object:
    """At the object's creation, so that it does not change with each look."""
    when = obj["metadata"]["creationTimestamp"]
    known = (obj.get("status") or {}).get("conditions") or ()
    for one in known:
        if one["type"] == kind and one["status"] == str(well):
            found: Object = one
            return found
    return {
        "type": kind, "status": str(well), "reason": reason, "message": "", "lastTransitionTime": when,
        "lastUpdateTime": when,
    }  # fmt: skip


def _job_status(job: Object, now: str) -> Object:
    before = job.get("status") or {}
    if before.get("completionTime"):
        return {}
    wanted = job["spec"].get("completions") or job["spec"].get("parallelism") or 1
    complete = {"type": "Complete", "status": "True", "lastProbeTime": now, "lastTransitionTime": now}
    return {"succeeded": wanted, "startTime": now, "completionTime": now, "conditions": [complete]}
