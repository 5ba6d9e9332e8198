"""LimitRanger: fills in default requests and limits, and holds containers, pods and claims to a namespace's range."""

from collections.abc import Iterator, Mapping

from cluster.api import resources
from cluster.apiserver.admission.plugin import CREATE, UPDATE, Plugin, refuse, spec_of
from cluster.apiserver.rbac import aggregate
from cluster.apiserver.requests import AdmissionRequest
from cluster.machinery.objects import Object
from cluster.machinery.quantity import Quantity

LIMIT_RANGES = resources.named("limitranges")
ANNOTATION = "kubernetes.io/limit-ranger"

Amounts = Mapping[str, Quantity]


class LimitRanger(Plugin):
    name = "LimitRanger"
    operations = frozenset({CREATE, UPDATE})
    resources = frozenset({"pods", "persistentvolumeclaims"})

    async def mutate(self, request: AdmissionRequest) -> None:
        if request.resource.plural != "pods" or not _concerns(request) or request.obj is None:
            return
        notes: list[str] = []
        for limit_range in self._ranges(request.namespace):
            defaults: Object = next(
                (i for i in spec_of(limit_range).get("limits") or () if i.get("type") == "Container"), {}
            )
            for what, containers in (("init container", "initContainers"), ("container", "containers")):
                for container in spec_of(request.obj).get(containers) or ():
                    notes.extend(_fill(container, defaults, what))
        if notes:
            metadata = request.obj.setdefault("metadata", {})
            note = "LimitRanger plugin set: " + "; ".join(notes)
            metadata["annotations"] = {**(metadata.get("annotations") or {}), ANNOTATION: note}

    async def validate(self, request: AdmissionRequest) -> None:
        if not _concerns(request) or request.obj is None:
            return
        for limit_range in self._ranges(request.namespace):
            faults: list[str] = []
            for item in spec_of(limit_range).get("limits") or ():
                if request.resource.plural == "pods":
                    faults.extend(_pod_faults(request.obj, item))
                else:
                    faults.extend(_claim_faults(request.obj, item))
            if faults:
                raise refuse(request, aggregate(faults))

    def _ranges(self, namespace: str) -> list[Object]:
        return sorted(self.reader.list(LIMIT_RANGES, namespace), key=lambda r: str(r["metadata"]["name"]))


def _concerns(request: AdmissionRequest) -> bool:
    """A pod's resources are set at its birth and by a resize; a claim's may grow."""
    if request.resource.plural == "pods":
        return (request.operation, request.subresource) in ((CREATE, ""), (UPDATE, "resize"))
    return not request.subresource


def _fill(container: Object, defaults: Object, what: str) -> Iterator[str]:
    """Set what a container leaves out; yields what was set, for the annotation."""
    given = container.get("resources") or {}
    for kind, source in (("requests", "defaultRequest"), ("limits", "default")):
        wanted = defaults.get(source) or {}
        have = given.get(kind) or {}
        added = sorted(wanted.keys() - have.keys())
        if added:
            given = {**given, kind: {**have, **{name: wanted[name] for name in added}}}
            yield f"{', '.join(added)} {kind.removesuffix('s')} for {what} {container.get('name')}"
    if given:
        container["resources"] = given


def _pod_faults(pod: Object, item: Object) -> Iterator[str]:
    spec = spec_of(pod)
    kind = item.get("type")
    if kind == "Container":
        for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
            yield from _faults(item, *_amounts_of(container))
    elif kind == "Pod":
        yield from _faults(item, _pod_amounts(spec, "requests"), _pod_amounts(spec, "limits"))


def _faults(item: Object, requests: Amounts, limits: Amounts) -> Iterator[str]:
    kind = item["type"]
    for name, text in (item.get("min") or {}).items():
        yield from _minimum(kind, name, Quantity.parse(text), requests, limits)
    for name, text in (item.get("max") or {}).items():
        yield from _maximum(kind, name, Quantity.parse(text), requests, limits)
    for name, text in (item.get("maxLimitRequestRatio") or {}).items():
        yield from _ratio(kind, name, Quantity.parse(text), requests, limits)


def _minimum(kind: str, name: str, least: Quantity, requests: Amounts, limits: Amounts) -> Iterator[str]:
    request, limit = requests.get(name), limits.get(name)
    said = f"minimum {name} usage per {kind} is {least}"
    if request is None:
        yield f"{said}.  No request is specified"
    elif request < least:
        yield f"{said}, but request is {request}"
    elif limit is not None and limit < least:
        yield f"{said}, but limit is {limit}"


def _maximum(kind: str, name: str, most: Quantity, requests: Amounts, limits: Amounts) -> Iterator[str]:
    request, limit = requests.get(name), limits.get(name)
    said = f"maximum {name} usage per {kind} is {most}"
    if limit is None:
        yield f"{said}.  No limit is specified"
    elif most < limit:
        yield f"{said}, but limit is {limit}"
    elif request is not None and most < request:
        yield f"{said}, but request is {request}"


def _ratio(kind: str, name: str, most: Quantity, requests: Amounts, limits: Amounts) -> Iterator[str]:
    request, limit = requests.get(name), limits.get(name)
    said = f"{name} max limit to request ratio per {kind} is {most}"
    if not request:
        yield f"{said}, but no request is specified or request is 0"
    elif not limit:
        yield f"{said}, but no limit is specified or limit is 0"
    else:
        ratio = limit.decimal / request.decimal
        if ratio > most.decimal:
            yield (
                f"{said}, but provided ratio is {ratio:f}" if ratio % 1 else f"{said}, but provided ratio is {ratio}.0"
            )


def _claim_faults(claim: Object, item: Object) -> Iterator[str]:
    if item.get("type") != "PersistentVolumeClaim":
        return
    requests = _parsed((spec_of(claim).get("resources") or {}).get("requests"))
    for name, text in (item.get("min") or {}).items():
        yield from _minimum("PersistentVolumeClaim", name, Quantity.parse(text), requests, {})
    for name, text in (item.get("max") or {}).items():
        most, request = Quantity.parse(text), requests.get(name)
        said = f"maximum {name} usage per PersistentVolumeClaim is {most}"
        if request is None:
            yield f"{said}.  No request is specified"
        elif most < request:
            yield f"{said}, but request is {request}"


def _amounts_of(container: Object) -> tuple[Amounts, Amounts]:
    given = container.get("resources") or {}
    return _parsed(given.get("requests")), _parsed(given.get("limits"))


def _parsed(amounts: Mapping[str, str | int] | None) -> dict[str, Quantity]:
    return {name: Quantity.parse(text) for name, text in (amounts or {}).items()}


def _pod_amounts(spec: Object, kind: str) -> dict[str, Quantity]:
    """All containers together; an init container counts where it alone needs more."""
    total: dict[str, Quantity] = {}
    for container in spec.get("containers") or ():
        for name, amount in _parsed((container.get("resources") or {}).get(kind)).items():
            total[name] = total[name] + amount if name in total else amount
    for container in spec.get("initContainers") or ():
        for name, amount in _parsed((container.get("resources") or {}).get(kind)).items():
            if name not in total or total[name] < amount:
                total[name] = amount
    return total
