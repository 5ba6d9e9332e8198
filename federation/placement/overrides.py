"""
What differs in one cluster: override policies applied to a rendered object. Pure.

Rules apply in order, and within a rule images, commands, arguments, labels, annotations, documents inside of fields and
then JSON patches.
Containers, labels and values that are not there are no fault: one rule serves many objects. A patch that does not
apply is one, and then nothing is to be written.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cluster.machinery import json_patch
from cluster.machinery.objects import Object, copy_object
from cluster.machinery.status_errors import ApiError
from federation.placement import embedded, images
from federation.placement.members import Member
from federation.placement.policies import OverridePolicy
from federation.placement.workloads import pod_template

OWN_PREFIX = "federation.hanse.io/"


@dataclass(frozen=True, slots=True)
class Overridden:
    """An object after its overrides."""

    obj: Object
    applied: tuple[str, ...] = ()
    """Policies that had a say, in order."""
    fault: str = ""
    """Which rule could not be applied and why; `obj` is then not to be written."""


def override(obj: Object, member: Member, policies: Iterable[OverridePolicy]) -> Overridden:
    """The object as it shall be in this cluster. `policies` in the order of `policies.overrides_for`."""
    result = copy_object(obj)
    applied: list[str] = []
    for policy in policies:
        title = f"{policy.kind} {policy.namespace + '/' if policy.namespace else ''}{policy.name}"
        if policy.fault:
            return Overridden(obj, tuple(applied), policy.fault)
        for number, rule in enumerate(policy.rules, 1):
            if not rule.clusters.matches(member):
                continue
            try:
                result = _applied(result, rule.overriders)
            except (ValueError, KeyError, TypeError, AttributeError) as wrong:
                return Overridden(obj, tuple(applied), f"{title}, rule {number}: {wrong}")
            if title not in applied:
                applied.append(title)
    fault = _estranged(obj, result)
    return Overridden(obj if fault else result, tuple(applied), fault)


def _applied(obj: Object, overriders: Object) -> Object:
    for one in overriders.get("image") or ():
        _change_images(obj, one)
    for field in ("command", "args"):
        for one in overriders.get(field) or ():
            _change_words(obj, field, one)
    for field in ("labels", "annotations"):
        for one in overriders.get(field) or ():
            _change_map(obj, field, one)
    for one in overriders.get("field") or ():
        for form in ("json", "yaml"):
            if one.get(form):
                obj = embedded.change(obj, one["path"], form, one[form])
    return _patched(obj, overriders.get("plaintext") or [])


def _containers(obj: Object, name: str) -> Iterable[Object]:
    pod = pod_template(obj)
    spec = (pod or {}).get("spec") or {}
    for field in ("initContainers", "containers"):
        for container in spec.get(field) or ():
            if not name or container.get("name") == name:
                yield container


def _change_images(obj: Object, given: Object) -> None:
    for container in _containers(obj, given.get("container") or ""):
        if container.get("image"):
            image = images.parse(container["image"])
            container["image"] = str(
                images.changed(image, given["component"], given["operator"], given.get("value") or "")
            )


def _change_words(obj: Object, field: str, given: Object) -> None:
    for container in _containers(obj, given["container"]):
        words = container.get(field) or []
        if given["operator"] == "add":
            words = [*words, *given["value"]]
        else:
            words = [word for word in words if word not in given["value"]]
        if words:
            container[field] = words
        else:
            container.pop(field, None)


def _change_map(obj: Object, field: str, given: Object) -> None:
    """`add` sets in any case, `replace` and `remove` what is there."""
    found = obj["metadata"].get(field) or {}
    for key, value in given["value"].items():
        if given["operator"] == "add" or (given["operator"] == "replace" and key in found):
            found[key] = value
        elif given["operator"] == "remove":
            found.pop(key, None)
    if found:
        obj["metadata"][field] = found
    else:
        obj["metadata"].pop(field, None)


def _patched(obj: Object, operations: list[Any]) -> Object:
    """One operation after the other, so that the fault can say which of them it was."""
    for number, operation in enumerate(operations, 1):
        where = f"plaintext operation {number} ({operation.get('op')} {operation.get('path')})"
        if not operation.get("path"):
            raise ValueError(f"{where} would replace the object altogether")
        try:
            obj = json_patch.apply(obj, [operation])
        except ApiError:
            raise ValueError(f"{where} does not apply to the object") from None
    return obj


def _estranged(before: Object, after: Object) -> str:
    """Overrides may change an object, not make another one of it, nor hide whose it is."""
    metadata = after.get("metadata")
    if not isinstance(metadata, dict):
        return "overrides leave nothing of metadata"
    for field in ("apiVersion", "kind"):
        if after.get(field) != before.get(field):
            return f"overrides may not change {field} from {before.get(field)!r} to {after.get(field)!r}"
    for field in ("name", "namespace"):
        if metadata.get(field) != before["metadata"].get(field):
            return f"overrides may not change metadata.{field} to {metadata.get(field)!r}"
    for field in ("labels", "annotations"):
        if _own(metadata.get(field)) != _own(before["metadata"].get(field)):
            return f"overrides may not change metadata.{field} that begin with {OWN_PREFIX}"
    return ""


def _own(values: Any) -> Object:
    return {key: value for key, value in (values or {}).items() if key.startswith(OWN_PREFIX)}
