"""
APIService objects: what they should be, what they say, and in which order they count. Pure.

Source: k8s.io/kube-aggregator, pkg/controllers/{autoregister,status}; pkg/controlplane/controller/crdregistration.
"""

import base64
import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cluster.api import resources
from cluster.apiserver.bootstrap import AUTOMANAGED
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.timestamps import format_time

API_SERVICES = resources.named("apiservices.apiregistration.k8s.io")
OWN_GROUP = API_SERVICES.group
"""Never served by anybody else, so that a bad APIService can always be taken away."""

ON_START, ALWAYS = "onstart", "true"
_CUSTOM_PRIORITIES = {"groupPriorityMinimum": 1000, "versionPriority": 100}
_DEFAULT_PORT = 443

GroupVersion = tuple[str, str]


def group_version(api_service: Object) -> GroupVersion:
    spec = api_service.get("spec") or {}
    return spec.get("group") or "", spec.get("version") or ""


@dataclass(frozen=True, slots=True)
class Backend:
    """Who serves a group version, and how to be sure that it is they."""

    namespace: str
    service: str
    port: int
    authorities: str = ""
    """PEM of the CAs that may have signed their certificate; empty trusts those of the host."""
    insecure: bool = False

    @property
    def server_name(self) -> str:
        return f"{self.service}.{self.namespace}.svc"


def backend_of(api_service: Object) -> Backend | None:
    """None for what this server serves by itself."""
    spec = api_service.get("spec") or {}
    service = spec.get("service")
    if not service:
        return None
    return Backend(
        str(service.get("namespace") or ""),
        str(service.get("name") or ""),
        int(service.get("port") or _DEFAULT_PORT),
        _decoded(spec.get("caBundle") or ""),
        bool(spec.get("insecureSkipTLSVerify")),
    )


def _decoded(bundle: str) -> str:
    try:
        return base64.b64decode(bundle).decode("latin-1")
    except ValueError:
        return "this is no certificate"  # validation lets none through; loading it fails with a clear error


def is_available(api_service: Object) -> bool:
    conditions = (api_service.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Available" and c.get("status") == "True" for c in conditions)


# What should be there.


def wanted_for(definitions: Iterable[Object], built_in: Iterable[GroupVersion]) -> dict[str, Object]:
    """An APIService for each group version that CustomResourceDefinitions serve, by name."""
    own = set(built_in)
    found: dict[str, Object] = {}
    for definition in definitions:
        spec = definition.get("spec") or {}
        for version in spec.get("versions") or ():
            group, name = spec.get("group") or "", version.get("name") or ""
            if version.get("served") and (group, name) not in own:
                found[f"{name}.{group}"] = {
                    "apiVersion": API_SERVICES.api_version,
                    "kind": API_SERVICES.kind,
                    "metadata": {"name": f"{name}.{group}", "labels": {AUTOMANAGED: ALWAYS}},
                    "spec": {"group": group, "version": name, **_CUSTOM_PRIORITIES},
                }
    return found


@dataclass(frozen=True, slots=True)
class Changes:
    create: list[Object]
    update: list[Object]
    delete: list[str]


def next_changes(
    present: Mapping[str, Object], wanted: Mapping[str, Object], built_in: Iterable[str], at_start: Iterable[str]
) -> Changes:
    """
    What brings the managed ones among the present to the wanted; others are their authors' alone.

    Args:
        built_in: names of those that bootstrap makes.
        at_start: names that were there when this server started; a left-over of an older release among them goes.
    """
    keep, old = set(built_in), set(at_start)
    changes = Changes([wanted[name] for name in wanted if name not in present], [], [])
    for name, obj in present.items():
        managed = (obj["metadata"].get("labels") or {}).get(AUTOMANAGED)
        if managed not in (ON_START, ALWAYS) or name in keep:
            continue
        if managed == ON_START and name not in old:
            continue
        if name not in wanted:
            changes.delete.append(name)
        elif obj.get("spec") != wanted[name]["spec"]:
            changed = copy_object(obj)
            changed["spec"] = copy_object(wanted[name]["spec"])
            changes.update.append(changed)
    return changes


# What is said about them.


@dataclass(frozen=True, slots=True)
class Verdict:
    """The condition Available."""

    status: str
    reason: str
    message: str

    @property
    def passed(self) -> bool:
        return self.status == "True"


LOCAL = Verdict("True", "Local", "Local APIServices are always available")
PASSED = Verdict("True", "Passed", "all checks passed")


def with_verdict(api_service: Object, verdict: Verdict, now: dt.datetime) -> Object | None:
    """A copy that says so; None when it does already. The time of transition is kept while the status is."""
    conditions = (api_service.get("status") or {}).get("conditions") or []
    before: Object = next((c for c in conditions if c.get("type") == "Available"), {})
    if [before.get(key) for key in ("status", "reason", "message")] == [
        verdict.status, verdict.reason, verdict.message,
    ]:  # fmt: skip
        return None
    same = before.get("status") == verdict.status and before.get("lastTransitionTime")
    condition = {
        "type": "Available",
        "status": verdict.status,
        "lastTransitionTime": same or format_time(now),
        "reason": verdict.reason,
        "message": verdict.message,
    }
    changed = copy_object(api_service)
    changed["status"] = {"conditions": [*(c for c in conditions if c.get("type") != "Available"), condition]}
    return changed


def verdict_without_asking(backend: Backend, service: Object | None, slices: Iterable[Object]) -> Verdict | None:
    """What the objects around an APIService say about it; None when only its server itself can tell."""
    where = f'service/{backend.service} in "{backend.namespace}"'
    if service is None:
        return Verdict("False", "ServiceNotFound", f"{where} is not present")
    spec = service.get("spec") or {}
    if spec.get("type", "ClusterIP") != "ClusterIP":
        return None
    port = next((p for p in spec.get("ports") or () if p.get("port") == backend.port), None)
    if port is None:
        return Verdict("False", "ServicePortError", f"{where} is not listening on port {backend.port}")
    parts = list(slices)
    if not parts:
        return Verdict("False", "EndpointsNotFound", f"cannot find endpointslices for {where}")
    name = port.get("name") or ""
    if not any(_has_ready(part) and _has_port(part, name) for part in parts):
        text = f'endpointslices for {where} have no addresses with port name "{name}"'
        return Verdict("False", "MissingEndpoints", text)
    return None


def _has_ready(part: Object) -> bool:
    return any((e.get("conditions") or {}).get("ready") is not False for e in part.get("endpoints") or ())


def _has_port(part: Object, name: str) -> bool:
    return any((p.get("name") or "") == name and p.get("port") for p in part.get("ports") or ())
