"""
The objects that must be there before anybody comes: namespaces, default roles, priorities, flow control, APIServices.

Run by every apiserver at its start, also by three at once: what is there is left alone, or gets what it lacks; who
loses a race reads again. When nothing is missing nothing is written.

Called by   cluster.apiserver.start_up, once the watch cache can be read.
Data        cluster/api/tables/bootstrap_*.json.
Source: kubernetes, pkg/registry/rbac/rest/storage_rbac.go and its neighbours.
"""

import asyncio
import datetime as dt
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.api import resources
from cluster.api.resources import Resource
from cluster.apiserver.rbac import rules_of
from cluster.apiserver.rbac_escalation import missing_rules
from cluster.apiserver.requests import ObjectReader, ObjectWriter
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.status_errors import AlreadyExists, Conflict, NotFound
from cluster.machinery.timestamps import format_time

log = logging.getLogger(__name__)

PARALLEL_WRITES = 32
"""Writes under way at once: enough to keep etcd's batches full, few enough to leave it room for others."""
ATTEMPTS = 5

RBAC_AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
FLOW_AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"
TABLES = Path(resources.__file__).parent / "tables"

Merge = Callable[[Object, Object], Object | None]
"""(present, wanted) -> what to write, or None when the present object is good."""


@dataclass(frozen=True, slots=True)
class BootstrapSettings:
    """What the default objects say about this cluster."""

    service_cidrs: tuple[str, ...] = ()
    """For the ServiceCIDR `kubernetes`; none makes none."""
    client_ca: str = ""
    """PEM; published to aggregated apiservers in kube-system/extension-apiserver-authentication."""
    request_header: Mapping[str, str] | None = None
    """More keys of that ConfigMap, e.g. `requestheader-client-ca-file` (PEM)."""
    namespaces: tuple[str, ...] = ()
    """Besides the usual ones."""


async def ensure_bootstrap_objects(
    reader: ObjectReader, writer: ObjectWriter, settings: BootstrapSettings | None = None
) -> None:
    """
    Create what is missing and complete what lacks something. Idempotent.

    Raises whatever the store raises; Conflict after five lost races for one object (a sixth start repeats it).
    """
    settings = settings or BootstrapSettings()
    for stage in _stages(settings):
        permits = asyncio.Semaphore(PARALLEL_WRITES)
        async with asyncio.TaskGroup() as tasks:
            for resource, wanted in stage:
                merge = _MERGES.get(resource.plural, _keep)
                tasks.create_task(_ensure(reader, writer, resource, wanted, merge, permits))


async def publish_authorities(reader: ObjectReader, writer: ObjectWriter, settings: BootstrapSettings) -> None:
    """Bring kube-system/extension-apiserver-authentication up to date. Raises as `ensure_bootstrap_objects`."""
    for wanted in _extra(settings):
        if wanted["kind"] == "ConfigMap":
            resource = _resource_of(wanted)
            await _ensure(reader, writer, resource, wanted, _MERGES[resource.plural], asyncio.Semaphore(1))


def _stages(settings: BootstrapSettings) -> Iterable[list[tuple[Resource, Object]]]:
    """Namespaces first: the others lie in them."""
    objects = [*_table("bootstrap_objects.json"), *_extra(settings)]
    namespaces = [obj for obj in objects if obj["kind"] == "Namespace"]
    rest = [obj for obj in objects if obj["kind"] != "Namespace"]
    roles = [*_table("bootstrap_rbac.json"), *_table("bootstrap_own_rbac.json")]
    for role in roles:
        role["metadata"].setdefault("annotations", {})[RBAC_AUTOUPDATE] = "true"
    yield [(_resource_of(obj), obj) for obj in namespaces]
    yield [(_resource_of(obj), obj) for obj in (*roles, *rest, *api_services())]


def _resource_of(obj: Object) -> Resource:
    resource = resources.by_kind(obj["apiVersion"], obj["kind"])
    if resource is None:
        raise KeyError(f"bootstrap table names {obj['apiVersion']} {obj['kind']}, which no group serves")
    return resource


def _table(name: str) -> list[Object]:
    rows: list[Object] = json.loads((TABLES / name).read_text())
    return rows


def _extra(settings: BootstrapSettings) -> Iterable[Object]:
    for name in settings.namespaces:
        labels = {"kubernetes.io/metadata.name": name}
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    if settings.service_cidrs:
        yield {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {"name": "kubernetes"},
            "spec": {"cidrs": list(settings.service_cidrs)},
        }
    data = dict(settings.request_header or {})
    if settings.client_ca:
        data["client-ca-file"] = settings.client_ca
    if data:
        yield {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
            "data": data,
        }


def api_services() -> list[Object]:
    """One APIService for every group and version that this server serves by itself."""
    priorities = {(row["group"], row["version"]): row for row in _table("bootstrap_api_services.json")}
    served = dict.fromkeys((resource.group, resource.version) for resource in resources.ALL)
    found = []
    for group, version in served:
        if group == "apiregistration.k8s.io":
            continue  # it serves the others and needs none, as upstream
        row = priorities.get((group, version), {"groupPriorityMinimum": 16000, "versionPriority": 10})
        found.append(
            {
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {
                    "name": f"{version}.{group}",
                    "labels": {AUTOMANAGED: "onstart"},
                },
                "spec": {
                    **({"group": group} if group else {}),
                    "version": version,
                    "groupPriorityMinimum": row["groupPriorityMinimum"],
                    "versionPriority": row["versionPriority"],
                },
            }
        )
    return found


async def _ensure(
    reader: ObjectReader,
    writer: ObjectWriter,
    resource: Resource,
    wanted: Object,
    merge: Merge,
    permits: asyncio.Semaphore,
) -> None:
    metadata = wanted["metadata"]
    namespace, name = metadata.get("namespace") or "", metadata["name"]
    present = reader.get(resource, namespace, name)
    for _ in range(ATTEMPTS):
        try:
            if present is None:
                async with permits:
                    present = await writer.create(resource, copy_object(wanted))
            if (available := _as_available(present)) is not None:
                async with permits:
                    await writer.update(resource, available, "status")
                return
            changed = merge(present, wanted)
            if changed is not None:
                async with permits:
                    await writer.update(resource, changed)
            return
        except (AlreadyExists, Conflict, NotFound):
            # Another apiserver starts at the same time: look at what it has made.
            present = await reader.get_current(resource, namespace, name)
    raise Conflict(f"{resource.qualified} {name!r} was changed by others {ATTEMPTS} times while it was set up")


def _as_available(present: Object) -> Object | None:
    """An APIService of our own with its condition Available; None for anything else and when it has it."""
    if present.get("kind") != "APIService" or (present.get("spec") or {}).get("service"):
        return None
    if (present.get("status") or {}).get("conditions"):
        return None
    condition = {
        "type": "Available",
        "status": "True",
        "lastTransitionTime": format_time(dt.datetime.now(dt.UTC)),
        "reason": "Local",
        "message": "Local APIServices are always available",
    }
    changed = copy_object(present)
    changed["status"] = {"conditions": [condition]}
    return changed


def _keep(present: Object, wanted: Object) -> Object | None:
    return None


def _with_marks(present: Object, wanted: Object) -> Object:
    """A copy of the present object with the labels and annotations it should have besides its own."""
    changed = copy_object(present)
    for field in ("labels", "annotations"):
        marks = {**(changed["metadata"].get(field) or {}), **(wanted["metadata"].get(field) or {})}
        if marks:
            changed["metadata"][field] = marks
    return changed


def _is_managed(present: Object) -> bool:
    """An operator opts a role out of updates by setting the annotation to false."""
    return bool((present["metadata"].get("annotations") or {}).get(RBAC_AUTOUPDATE, "true") == "true")


def _merge_role(present: Object, wanted: Object) -> Object | None:
    if not _is_managed(present):
        return None
    changed = _with_marks(present, wanted)
    if aggregation := wanted.get("aggregationRule"):
        have = (present.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
        missing = [s for s in aggregation["clusterRoleSelectors"] if s not in have]
        if missing:
            changed["aggregationRule"] = {"clusterRoleSelectors": [*have, *missing]}
    else:
        held = rules_of(present)
        lacking = [rule for rule in rules_of(wanted) if missing_rules(held, [rule])]
        if lacking:
            changed["rules"] = [*(present.get("rules") or []), *(rule.to_object() for rule in lacking)]
    return changed if changed != present else None


def _merge_binding(present: Object, wanted: Object) -> Object | None:
    if not _is_managed(present):
        return None
    if present.get("roleRef") != wanted["roleRef"]:
        # A roleRef cannot be changed, and whoever pointed it elsewhere had a reason.
        log.warning("binding %s refers to another role than the default; left alone", wanted["metadata"]["name"])
        return None
    changed = _with_marks(present, wanted)
    have = present.get("subjects") or []
    known = {_subject(s) for s in have}
    missing = [s for s in wanted.get("subjects") or () if _subject(s) not in known]
    if missing:
        changed["subjects"] = [*have, *missing]
    return changed if changed != present else None


def _subject(subject: Object) -> tuple[str, str, str]:
    return str(subject.get("kind")), str(subject.get("namespace") or ""), str(subject.get("name"))


def _merge_flow_control(present: Object, wanted: Object) -> Object | None:
    """The suggested ones are kept up to date unless the annotation says false; the mandatory ones always."""
    annotations = present["metadata"].get("annotations") or {}
    mandatory = wanted["metadata"]["name"] in ("exempt", "catch-all")
    if annotations.get(FLOW_AUTOUPDATE) == "false" and not mandatory:
        return None
    if _contains(present.get("spec") or {}, wanted["spec"]):
        return None
    changed = _with_marks(present, wanted)
    changed["spec"] = copy_object(wanted["spec"])
    return changed


def _merge_api_service(present: Object, wanted: Object) -> Object | None:
    """Ours are put right at each start; one without the label is somebody else's, who serves the group instead."""
    managed = (present["metadata"].get("labels") or {}).get(AUTOMANAGED)
    if not managed or present.get("spec") == wanted["spec"]:
        return None
    changed = copy_object(present)
    changed["spec"] = copy_object(wanted["spec"])
    return changed


def _merge_data(present: Object, wanted: Object) -> Object | None:
    data = {**(present.get("data") or {}), **wanted["data"]}
    if data == present.get("data"):
        return None
    changed = copy_object(present)
    changed["data"] = data
    return changed


def _contains(present: object, wanted: object) -> bool:
    """Everything wanted is there; what the server filled in besides does not matter."""
    if isinstance(wanted, dict) and isinstance(present, dict):
        return all(_contains(present.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(present, list):
        pairs: Sequence[tuple[object, object]] = list(zip(present, wanted, strict=False))
        return len(present) == len(wanted) and all(_contains(a, b) for a, b in pairs)
    return present == wanted


_MERGES: Mapping[str, Merge] = {
    "clusterroles": _merge_role,
    "roles": _merge_role,
    "clusterrolebindings": _merge_binding,
    "rolebindings": _merge_binding,
    "flowschemas": _merge_flow_control,
    "prioritylevelconfigurations": _merge_flow_control,
    "configmaps": _merge_data,
    "apiservices": _merge_api_service,
}
