"""
What a write does to an object of a fake member: defaults, ownership of fields, versions, generations, finalizers.

The rules that clients see are those of the real thing; what needs a whole control plane (quotas, admission plugins,
allocation of addresses beyond the next free one) is left out.
"""

import datetime as dt
import itertools
import random
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from cluster.api.resources import NAMESPACES, Resource
from cluster.apiserver.registry import rules
from cluster.apiserver.registry.deletion import check_preconditions, finalizers_for
from cluster.machinery import managed_fields
from cluster.machinery.objects import Key, Object, copy_object
from cluster.machinery.status_errors import (
    ApiError,
    BadRequest,
    already_exists,
    conflict,
    forbidden,
    invalid,
    not_found,
)
from cluster.machinery.timestamps import format_time
from tests.fakes.member.peculiarities import Peculiarities
from tests.fakes.member.store import Store, Stored

STALE = "the object has been modified; please apply your changes to the latest version and try again"
_WITHOUT_GENERATION = frozenset(
    {"pods", "services", "configmaps", "secrets", "serviceaccounts", "namespaces", "nodes", "events", "endpoints",
     "persistentvolumeclaims", "persistentvolumes", "resourcequotas", "limitranges"}
)  # fmt: skip
_WITHOUT_GENERATION_GROUPS = frozenset(
    {"rbac.authorization.k8s.io", "coordination.k8s.io", "events.k8s.io", "storage.k8s.io", "autoscaling",
     "discovery.k8s.io", "authentication.k8s.io"}
)  # fmt: skip
MADE = "made"
"""The verb of what happens in the member without a request."""
Make = Callable[[Object], Object]


@dataclass(frozen=True)
class Asked:
    """What a request says besides the object."""

    verb: str
    manager: str = "unknown"
    dry_run: bool = False
    subresource: str = ""
    tracks: bool = True
    """False when the caller keeps managedFields itself: an apply does."""


class Writes:
    def __init__(self, store: Store, behaves: Peculiarities) -> None:
        self._store = store
        self._behaves = behaves
        self._addresses = itertools.count(1)
        self._ports = itertools.count(30000)
        self.done: Counter[tuple[str, str]] = Counter()
        """Writes that changed something, by verb and resource (`deployments.apps`). Dry runs are none."""

    def now(self) -> str:
        return format_time(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=self._behaves.clock_skew))

    def create(self, resource: Resource, namespace: str, obj: Object, asked: Asked) -> Stored:
        """Raises ApiError. `obj` is changed."""
        rules.normalize(resource, obj)
        metadata = obj["metadata"] if isinstance(obj.get("metadata"), dict) else obj.setdefault("metadata", {})
        self._require_namespace(resource, namespace, metadata, new=True)
        if metadata.get("resourceVersion"):
            raise ApiError("resourceVersion should not be set on objects to be created", code=500, reason="")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + "".join(random.choices("bcdfghjklmnpqrstvwxz2456789", k=5))
        for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "uid", "creationTimestamp"):
            metadata.pop(name, None)
        rules.apply_defaults(resource, obj)
        if resource.subresource("status") is not None:
            obj.pop("status", None)
            if (zero := rules.zero_status(resource)) is not None:
                obj["status"] = copy_object(zero)
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": self.now()}
        if _has_generation(resource):
            metadata["generation"] = 1
        self._track(resource, None, obj, asked)
        self._complete(resource, obj)
        self._inject(resource, obj)
        self._validate(resource, obj, None, asked)
        key = Key(namespace, metadata["name"])
        if self._store.get(resource, key) is not None:
            raise already_exists(resource.group, resource.plural, key.name)
        return self._stored(resource, obj, asked)

    def update(self, resource: Resource, key: Key, make: Make, asked: Asked) -> Stored:
        """`make` gets a copy of the present object. Raises ApiError; NotFound when there is none."""
        present = self._store.get(resource, key)
        if present is None:
            raise not_found(resource.group, resource.plural, key.name)
        old = present.decode(resource)
        new = make(copy_object(old))
        rules.normalize(resource, new)
        metadata, before = new.setdefault("metadata", {}), old["metadata"]
        self._require_namespace(resource, key.namespace, metadata)
        if metadata.get("uid") and metadata["uid"] != before["uid"]:
            why = f"Precondition failed: UID in precondition: {metadata['uid']}, UID in object meta: {before['uid']}"
            raise conflict(resource.group, resource.plural, key.name, why)
        version = metadata.get("resourceVersion")
        if version and version not in ("0", before["resourceVersion"]):
            raise conflict(resource.group, resource.plural, key.name, STALE)
        for name in ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"):
            metadata.pop(name, None)
            if name in before:
                metadata[name] = before[name]
        metadata["resourceVersion"] = before["resourceVersion"]
        self._keep_other_part(resource, new, old, asked)
        rules.apply_defaults(resource, new)
        if _has_generation(resource) and asked.subresource != "status" and _content(new) != _content(old):
            new["metadata"]["generation"] = int(before.get("generation") or 0) + 1
        self._track(resource, old, new, asked)
        if not asked.subresource:
            self._complete(resource, new, old)
            self._inject(resource, new)
        self._validate(resource, new, old, asked)
        if _unchanged(new, old):
            return present
        if before.get("deletionTimestamp") and before.get("finalizers") and not new["metadata"].get("finalizers"):
            return present if asked.dry_run else self._removed(resource, key, asked)
        return self._stored(resource, new, asked)

    def delete(self, resource: Resource, key: Key, options: Object, asked: Asked) -> tuple[Stored, bool]:
        """The object's last state, and whether it is gone. Raises NotFound, Conflict."""
        present = self._store.get(resource, key)
        if present is None:
            raise not_found(resource.group, resource.plural, key.name)
        obj = present.decode(resource)
        check_preconditions(resource, obj, options.get("preconditions") or {})
        metadata = obj["metadata"]
        # Nothing depends on anything here, so that waiting for dependents has always ended.
        wanted = finalizers_for(options, metadata.get("finalizers") or [], "Background")
        held = [name for name in wanted if name not in ("orphan", "foregroundDeletion")]
        if asked.dry_run:
            return present, not held
        if not held and resource.qualified != NAMESPACES.qualified:
            return self._removed(resource, key, asked), True
        if metadata.get("deletionTimestamp"):
            return present, False
        metadata |= {"deletionTimestamp": self.now(), "deletionGracePeriodSeconds": 0}
        if resource.qualified == NAMESPACES.qualified:
            obj["status"] = {"phase": "Terminating"}
        elif _has_generation(resource):
            metadata["generation"] = int(metadata.get("generation") or 0) + 1
        return self._stored(resource, obj, asked), False

    # --- parts

    def _count(self, resource: Resource, asked: Asked) -> None:
        if asked.verb != MADE:
            self.done[asked.verb, resource.qualified] += 1

    def _removed(self, resource: Resource, key: Key, asked: Asked) -> Stored:
        self._count(resource, asked)
        removed = self._store.remove(resource, key)
        assert removed is not None  # it was there a moment ago, and nothing waits here
        return removed

    def _stored(self, resource: Resource, obj: Object, asked: Asked) -> Stored:
        if asked.dry_run:
            content = {name: value for name, value in obj.items() if name not in ("kind", "apiVersion")}
            metadata = obj["metadata"]
            key = Key(metadata.get("namespace") or "", metadata["name"])
            return Stored(key, self._store.version, orjson.dumps(content), metadata.get("labels") or {})
        self._count(resource, asked)
        return self._store.put(resource, obj)

    def _require_namespace(self, resource: Resource, namespace: str, metadata: Object, *, new: bool = False) -> None:
        if not resource.namespaced:
            metadata.pop("namespace", None)
            return
        if metadata.get("namespace") not in (None, "", namespace):
            raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
        metadata["namespace"] = namespace
        if not new:
            return
        there = self._store.get(NAMESPACES, Key("", namespace))
        if there is None:
            raise not_found("", "namespaces", namespace)
        if there.decode(NAMESPACES)["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise forbidden(resource.group, resource.plural, metadata.get("name") or "", why)

    def _track(self, resource: Resource, old: Object | None, new: Object, asked: Asked) -> None:
        if not self._behaves.server_side_apply:
            new["metadata"].pop("managedFields", None)
        elif asked.tracks:
            managed_fields.on_update(resource, old, new, asked.manager, self.now(), asked.subresource)

    def _keep_other_part(self, resource: Resource, new: Object, old: Object, asked: Asked) -> None:
        """A write to /status changes nothing else, and any other write no status."""
        if asked.subresource == "status":
            kept = {name: value for name, value in old.items() if name not in ("status", "metadata")}
            metadata = {**old["metadata"], "managedFields": new["metadata"].get("managedFields")}
            if metadata["managedFields"] is None:
                del metadata["managedFields"]
            status = new.get("status")
            new.clear()
            new.update({**kept, "metadata": metadata, **({"status": status} if status is not None else {})})
        elif resource.subresource("status") is not None:
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]

    def _complete(self, resource: Resource, obj: Object, old: Object | None = None) -> None:
        """What a member gives an object of its own: addresses, ports, a Namespace's finalizer."""
        if resource.qualified == "services":
            self._allocate(obj["spec"], (old or {}).get("spec") or {})
        elif resource.qualified == NAMESPACES.qualified and old is None:
            obj["spec"] = {"finalizers": ["kubernetes"]}
            obj["status"] = {"phase": "Active"}
            obj["metadata"]["labels"] = {
                **(obj["metadata"].get("labels") or {}), "kubernetes.io/metadata.name": obj["metadata"]["name"]
            }  # fmt: skip

    def _allocate(self, spec: Object, before: Object) -> None:
        if spec.get("type") == "ExternalName":
            return
        if not spec.get("clusterIP"):
            number = next(self._addresses)
            spec["clusterIP"] = before.get("clusterIP") or f"10.96.{number // 250 % 250}.{number % 250 + 1}"
        spec["clusterIPs"] = [spec["clusterIP"]]
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        if spec.get("type") in ("NodePort", "LoadBalancer"):
            known = {(port.get("name"), port["port"]): port.get("nodePort") for port in before.get("ports") or ()}
            for port in spec.get("ports") or ():
                if not port.get("nodePort"):
                    port["nodePort"] = known.get((port.get("name"), port["port"])) or next(self._ports)

    def _inject(self, resource: Resource, obj: Object) -> None:
        sidecar = self._behaves.sidecar
        spec = obj.get("spec") or {}
        pod = spec if obj["kind"] == "Pod" else ((spec.get("template") or {}).get("spec") if spec else None)
        if sidecar is None or not isinstance(pod, dict) or "containers" not in pod:
            return
        if all(container["name"] != sidecar["name"] for container in pod["containers"]):
            pod["containers"].append(copy_object(sidecar))
            rules.apply_defaults(resource, obj)

    def _validate(self, resource: Resource, new: Object, old: Object | None, asked: Asked) -> None:
        why = self._behaves.refused.get(resource.kind)
        name = new["metadata"].get("name") or ""
        if why is not None:
            raise forbidden(resource.group, resource.plural, name, why)
        if not name:
            causes = [("FieldValueRequired", "Required value: name or generateName is required", "metadata.name")]
            raise invalid(resource.group, resource.kind, "", causes)
        if not self._behaves.validates:
            return
        found = (
            rules.validate_create(resource, new)
            if old is None
            else rules.validate_update(resource, new, old, asked.subresource)
        )
        if found:
            causes = [(error.reason, error.message, error.field) for error in found]
            raise invalid(resource.group, resource.kind, name, causes)


def _has_generation(resource: Resource) -> bool:
    if not resource.group:
        return resource.plural not in _WITHOUT_GENERATION
    return resource.group not in _WITHOUT_GENERATION_GROUPS


def _content(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name not in ("metadata", "status", "kind", "apiVersion")}


def _unchanged(new: Object, old: Object) -> bool:
    """A write that changes nothing is none: times in managedFields do not count."""
    if {**new, "metadata": None} != {**old, "metadata": None}:
        return False
    return _timeless(new["metadata"]) == _timeless(old["metadata"])


def _timeless(metadata: Object) -> Object:
    entries = [{**entry, "time": ""} for entry in metadata.get("managedFields") or ()]
    return {**metadata, "managedFields": entries}
