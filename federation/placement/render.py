"""From a template and its plan to the object that one member gets. Pure."""

import hashlib

import orjson

from cluster.machinery.objects import Object, copy_object
from federation.placement import member_owned
from federation.placement.kind_rules import NO_PATHS, KindPaths, write_into
from federation.placement.plans import Assignment
from federation.placement.workloads import AUTOSCALER, JOB, QUOTA, STATEFUL_SET, group_kind, is_divided

APPLIED = "federation.hanse.io/applied"
"""Annotation: hash of what was rendered."""
MANAGED = "federation.hanse.io/managed"
"""Label with the value "true" on everything that the federation wrote into a member."""
TEMPLATE_UID = "federation.hanse.io/template-uid"
"""Annotation: uid of the template at the federation."""


def render(template: Object, assignment: Assignment, paths: KindPaths = NO_PATHS) -> Object:
    """
    The object for one member, before overrides and without the hash (`seal` adds it).

    Of a workload without a number in its assignment the replicas are left out: a member's autoscaler sets them.
    `paths`: of the rule for its kind.
    """
    rendered = copy_object(template)
    uid = (template.get("metadata") or {}).get("uid")
    member_owned.strip(rendered)
    write_into(rendered, paths, assignment.replicas)
    if is_divided(template):
        _set_share(rendered, assignment)
    _set_limits(rendered, assignment)
    metadata = rendered["metadata"]
    metadata.setdefault("labels", {})[MANAGED] = "true"
    if uid:
        metadata.setdefault("annotations", {})[TEMPLATE_UID] = uid
    return rendered


def seal(rendered: Object) -> tuple[Object, str]:
    """The object with the annotation that holds its hash, and the hash. The last step before it is written."""
    digest = hash_of(rendered)
    sealed = copy_object(rendered)
    sealed.setdefault("metadata", {}).setdefault("annotations", {})[APPLIED] = digest
    return sealed, digest


def hash_of(obj: Object) -> str:
    """32 hex digits that change with anything in the object but the annotation that holds them."""
    metadata = obj.get("metadata") or {}
    if APPLIED in (metadata.get("annotations") or {}):
        annotations = {key: value for key, value in metadata["annotations"].items() if key != APPLIED}
        obj = {**obj, "metadata": {**metadata, "annotations": annotations}}
    return hashlib.blake2b(orjson.dumps(obj, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()


def _set_limits(rendered: Object, assignment: Assignment) -> None:
    """Of an autoscaler or a quota that was divided."""
    kind, spec = group_kind(rendered), rendered.get("spec") or {}
    if kind == AUTOSCALER and assignment.replicas is not None:
        spec["maxReplicas"], spec["minReplicas"] = assignment.replicas, assignment.minimum
    elif kind == QUOTA and assignment.hard:
        spec["hard"] = dict(assignment.hard)


def _set_share(rendered: Object, assignment: Assignment) -> None:
    spec = rendered.setdefault("spec", {})
    field = "parallelism" if group_kind(rendered) == JOB else "replicas"
    if assignment.replicas is None:
        spec.pop(field, None)
        return
    spec[field] = assignment.replicas
    if assignment.completions is not None:
        spec["completions"] = assignment.completions
    if group_kind(rendered) == STATEFUL_SET and assignment.ordinal_start is not None:
        if assignment.ordinal_start:
            spec["ordinals"] = {**(spec.get("ordinals") or {}), "start": assignment.ordinal_start}
        else:
            spec.pop("ordinals", None)
