"""From a template to what one member is to have, and to what is sent. Pure."""

from collections.abc import Iterable

from cluster.machinery.objects import Object
from federation.controllers.links.copies import ADOPTED, TEMPLATE_GENERATION
from federation.controllers.links.decide import Rendered
from federation.controllers.links.parts import Part
from federation.placement.members import Member
from federation.placement.overrides import override
from federation.placement.policies import OverridePolicy
from federation.placement.render import APPLIED, MANAGED, TEMPLATE_UID, render, seal

OWN_ANNOTATIONS = (APPLIED, TEMPLATE_UID, TEMPLATE_GENERATION, ADOPTED, "federation.hanse.io/last-applied")
OWN_LABELS = (MANAGED,)


def rendered_for(
    template: Object | None, part: Part, member: Member, policies: Iterable[OverridePolicy]
) -> Rendered | None:
    """None while the template is another one than the one that was planned for."""
    if template is None or part.assignment is None or not _is_planned(template, part):
        return None
    result = override(render(template, part.assignment, part.paths), member, policies)
    if result.fault:
        return Rendered({}, "", result.fault)
    return Rendered(*seal(result.obj))


def _is_planned(template: Object, part: Part) -> bool:
    metadata = template["metadata"]
    if metadata.get("uid") != part.uid or metadata.get("deletionTimestamp"):
        return False
    generation = metadata.get("generation")
    return generation is None or part.generation is None or generation == part.generation


def marked(obj: Object, *, generation: int | None, adopted: bool, uid: str = "") -> Object:
    """
    What is sent: with marks that are not part of the hash.

    Args:
        uid: of the member's object; it is then this one that is changed, and none is made.
    """
    metadata = obj["metadata"]
    annotations = dict(metadata["annotations"])
    if generation is not None:
        annotations[TEMPLATE_GENERATION] = str(generation)
    if adopted:
        annotations[ADOPTED] = "true"
    return {**obj, "metadata": {**metadata, "annotations": annotations, **({"uid": uid} if uid else {})}}


def change_between(before: Object, after: Object) -> str:
    """
    The first place where an object differs from itself after our write, as a dotted path; empty when nowhere.

    Our own label and annotations, and what every write changes, do not count.
    """
    return _first_change(_bare(before), _bare(after), "")


def _bare(obj: Object) -> Object:
    kept = {name: value for name, value in obj.items() if name not in ("apiVersion", "kind", "status", "metadata")}
    metadata = obj["metadata"]
    for field, own in (("labels", OWN_LABELS), ("annotations", OWN_ANNOTATIONS)):
        if rest := {name: value for name, value in (metadata.get(field) or {}).items() if name not in own}:
            kept[f"metadata.{field}"] = rest
    return kept


def _first_change(before: object, after: object, path: str) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted(before.keys() | after.keys()):
            below = f"{path}.{name}" if path else name
            if name not in before or name not in after:
                return below
            if found := _first_change(before[name], after[name], below):
                return found
        return ""
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            if found := _first_change(one, other, f"{path}[{index}]"):
                return found
        return ""
    return "" if before == after else path


def without_us(live: Object) -> Object:
    """A JSON merge patch that takes our label, our annotations and our ownership out of an object, and nothing else."""
    metadata = live["metadata"]
    patch: Object = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    for field, own in (("labels", OWN_LABELS), ("annotations", OWN_ANNOTATIONS)):
        if there := {name: None for name in own if name in (metadata.get(field) or {})}:
            patch[field] = there
    entries = metadata.get("managedFields") or []
    others = [entry for entry in entries if entry.get("manager") != "federation"]
    if len(others) != len(entries):
        patch["managedFields"] = others or [{}]  # one empty entry forgets all
    return {"metadata": patch}
