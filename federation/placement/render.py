"""From a template and its plan to the object that one member gets. Pure."""

import hashlib

import orjson

from cluster.machinery.objects import Object, copy_object
from federation.placement.plans import Assignment

APPLIED = "federation.hanse.io/applied"
"""Annotation: hash of what was rendered."""
MANAGED = "federation.hanse.io/managed"
"""Label with the value "true" on everything that the federation wrote into a member."""
TEMPLATE_UID = "federation.hanse.io/template-uid"
"""Annotation: uid of the template at the federation."""


def render(template: Object, assignment: Assignment) -> Object:
    """The object for one member, before overrides and without the hash (`seal` adds it)."""
    rendered = copy_object(template)
    rendered.pop("status", None)
    return rendered


def seal(rendered: Object) -> tuple[Object, str]:
    """The object with the annotation that holds its hash, and the hash. The last step before it is written."""
    digest = hash_of(rendered)
    sealed = copy_object(rendered)
    sealed.setdefault("metadata", {}).setdefault("annotations", {})[APPLIED] = digest
    return sealed, digest


def hash_of(obj: Object) -> str:
    """32 hex digits that change with anything in the object but the annotation that holds them."""
    counted = copy_object(obj)
    annotations = (counted.get("metadata") or {}).get("annotations")
    if annotations:
        annotations.pop(APPLIED, None)
    return hashlib.blake2b(orjson.dumps(counted, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
