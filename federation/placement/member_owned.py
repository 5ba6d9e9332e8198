"""
What a template holds that its server put there, and that members decide for themselves. Tables, a reason a line. Pure.

A field with `unless_set` stays where somebody asked for it: the template's managedFields say who set what, and name
nobody for what the server allocated.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cluster.machinery.objects import Object


@dataclass(frozen=True, slots=True)
class Line:
    """One field that is not propagated; `*` stands for every item of a list."""

    path: tuple[str, ...]
    why: str
    unless_set: bool = False


NO_ADDRESS = "0.0.0.0"  # noqa: S104  (nobody listens there)
"""Address of a Service at the federation, for those who wait for one; it stays here, whoever is said to have set it."""
METADATA = (
    Line(("uid",), "identity of the template at the federation"),
    Line(("resourceVersion",), "of the federation's store"),
    Line(("generation",), "counted by each server"),
    Line(("creationTimestamp",), "each server's own"),
    Line(("deletionTimestamp",), "deletions are carried out, not propagated"),
    Line(("deletionGracePeriodSeconds",), "goes with deletionTimestamp"),
    Line(("selfLink",), "an address at the federation"),
    Line(("managedFields",), "who set what at the federation; members keep their own"),
    Line(("generateName",), "the name is made already"),
    Line(
        ("ownerReferences",), "uids of owners at the federation mean nothing in a member, whose collector would delete"
    ),
    Line(("finalizers",), "whoever takes them away works at the federation; in a member they would never go"),
)
ANNOTATIONS = (
    ("kubectl.kubernetes.io/last-applied-configuration", "describes the template, and may hold what is stripped here"),
    ("deployment.kubernetes.io/revision", "counted by each Deployment controller"),
    ("federation.kubernetes.io/", "words to the federation"),
    ("federation.alpha.kubernetes.io/", "words to the federation"),
    ("federation.hanse.io/", "words to the federation"),
)
LABELS = (
    ("kubernetes.io/metadata.name", "set by each server on its namespaces"),
    ("federation.hanse.io/", "words to the federation"),
)
_ALLOCATED = "allocated by each member's server"
_JOB_LABELS = ("controller-uid", "batch.kubernetes.io/controller-uid")
_JOB_WHY = "made by each server from the uid of its Job"
_JOB_LIFE = Line(
    ("spec", "ttlSecondsAfterFinished"),
    "counted here: a member that deletes a Job itself would get and run it again",
)
KINDS: Mapping[tuple[str, str], tuple[Line, ...]] = {
    ("", "Service"): (
        Line(("spec", "clusterIP"), _ALLOCATED, unless_set=True),
        Line(("spec", "clusterIPs"), "goes with clusterIP", unless_set=True),
        Line(("spec", "ipFamilies"), "what a member's network has", unless_set=True),
        Line(("spec", "ipFamilyPolicy"), "what a member's network has", unless_set=True),
        Line(("spec", "healthCheckNodePort"), _ALLOCATED, unless_set=True),
        Line(("spec", "ports", "*", "nodePort"), _ALLOCATED, unless_set=True),
    ),
    ("", "PersistentVolumeClaim"): (
        Line(("spec", "volumeName"), "bound by each member", unless_set=True),
        Line(("metadata", "annotations", "pv.kubernetes.io/bind-completed"), "set on binding"),
        Line(("metadata", "annotations", "pv.kubernetes.io/bound-by-controller"), "set on binding"),
        Line(("metadata", "annotations", "volume.kubernetes.io/selected-node"), "a node of one member"),
        Line(("metadata", "annotations", "volume.kubernetes.io/storage-provisioner"), "chosen by each member"),
        Line(("metadata", "annotations", "volume.beta.kubernetes.io/storage-provisioner"), "chosen by each member"),
    ),
    ("", "PersistentVolume"): (
        Line(("spec", "claimRef", "uid"), "of the claim in each member"),
        Line(("spec", "claimRef", "resourceVersion"), "of the claim in each member"),
    ),
    ("", "Namespace"): (Line(("spec",), "the finalizers of each server"),),
    ("", "ServiceAccount"): (Line(("secrets",), "token Secrets that each member's controller makes"),),
    ("", "Secret"): (
        Line(("metadata", "annotations", "kubernetes.io/service-account.uid"), "of the account in each member"),
    ),
    ("", "Pod"): (Line(("spec", "nodeName"), "decided by each member's scheduler", unless_set=True),),
    ("batch", "Job"): (
        _JOB_LIFE,
        Line(("spec", "selector"), _JOB_WHY),
        *(Line(("metadata", "labels", label), _JOB_WHY) for label in _JOB_LABELS),
        *(Line(("spec", "template", "metadata", "labels", label), _JOB_WHY) for label in _JOB_LABELS),
    ),
}


def needs_managed_fields(group: str, kind: str) -> bool:
    """Whether `strip` has to know who set what in objects of this kind."""
    return any(line.unless_set for line in KINDS.get((group, kind), ()))


def strip(obj: Object) -> None:
    """Take out of the object, in place, what its members decide. Needs its managedFields, and takes them out too."""
    group, kind = (obj.get("apiVersion") or "").rpartition("/")[0], obj.get("kind") or ""
    metadata = obj.setdefault("metadata", {})
    owned = [entry.get("fieldsV1") or {} for entry in metadata.get("managedFields") or ()]
    lines = KINDS.get((group, kind), ())
    if (group, kind) == ("batch", "Job") and (obj.get("spec") or {}).get("manualSelector"):
        lines = (_JOB_LIFE,)
    for line in lines:
        _drop(obj, line.path, owned, unless_set=line.unless_set)
    for line in METADATA:
        metadata.pop(line.path[0], None)
    for field, table in (("annotations", ANNOTATIONS), ("labels", LABELS)):
        _drop_keys(metadata, field, [name for name, _ in table])
    obj.pop("status", None)


def _drop_keys(metadata: Object, field: str, names: Iterable[str]) -> None:
    """Names that end in a slash are prefixes."""
    exact, prefixes = set(names), tuple(name for name in names if name.endswith("/"))
    kept = {k: v for k, v in (metadata.get(field) or {}).items() if k not in exact and not k.startswith(prefixes)}
    if kept:
        metadata[field] = kept
    else:
        metadata.pop(field, None)


def _drop(value: Any, path: tuple[str, ...], owned: list[Object], *, unless_set: bool) -> None:
    first, rest = path[0], path[1:]
    if first == "*":
        for item in value if isinstance(value, list) else ():
            _drop(item, rest, _of_item(owned, item), unless_set=unless_set)
        return
    if not isinstance(value, dict) or first not in value:
        return
    inner = [fields[f"f:{first}"] for fields in owned if f"f:{first}" in fields]
    if rest:
        _drop(value[first], rest, inner, unless_set=unless_set)
    elif value[first] in (NO_ADDRESS, [NO_ADDRESS]):
        del value[first]
    elif value[first] not in ("None", ["None"]) and not (unless_set and inner):
        # None is no address but the wish to have none: it makes a Service headless everywhere.
        del value[first]


def _of_item(owned: list[Object], item: Any) -> list[Object]:
    """The part of managedFields that is about a Service's port."""
    if not isinstance(item, dict):
        return []
    port, protocol = item.get("port"), item.get("protocol") or "TCP"
    keys = (f'k:{{"port":{port},"protocol":"{protocol}"}}',)
    return [fields[key] for fields in owned for key in keys if key in fields]
