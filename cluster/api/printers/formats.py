"""Cells that several kinds share: labels, selectors, container lists, "and N more"."""

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.machinery.objects import Object

NONE = "<none>"
UNSET = "<unset>"


def metadata_of(obj: Object) -> Object:
    metadata: Object = obj.get("metadata") or {}
    return metadata


def spec_of(obj: Object) -> Object:
    spec: Object = obj.get("spec") or {}
    return spec


def status_of(obj: Object) -> Object:
    status: Object = obj.get("status") or {}
    return status


def name_of(obj: Object) -> str:
    return metadata_of(obj).get("name") or ""


def number(holder: Object, key: str) -> int:
    value = holder.get(key)
    return value if isinstance(value, int) else 0


def labels_text(labels: Mapping[str, str] | None) -> str:
    """`a=b,c=d`."""
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels)) if labels else NONE


def selector_text(selector: Object | None) -> str:
    """A label selector as one would type it: `a=b,c in (x,y),!d`."""
    if not selector:
        return NONE
    terms = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    terms += [(term.get("key") or "", _expression(term)) for term in selector.get("matchExpressions") or ()]
    return ",".join(text for _, text in sorted(terms, key=lambda term: term[0])) or NONE


def _expression(term: Object) -> str:
    key, values = term.get("key") or "", ",".join(sorted(term.get("values") or ()))
    match term.get("operator"):
        case "In":
            return f"{key} in ({values})"
        case "NotIn":
            return f"{key} notin ({values})"
        case "DoesNotExist":
            return f"!{key}"
        case _:
            return str(key)


def containers_and_images(pod_spec: Object | None) -> tuple[str, str]:
    containers = (pod_spec or {}).get("containers") or ()
    return (
        ",".join(container.get("name") or "" for container in containers),
        ",".join(container.get("image") or "" for container in containers),
    )


def template_cells(spec: Object) -> tuple[str, str]:
    """Containers and images of the pod template in a workload's spec."""
    return containers_and_images((spec.get("template") or {}).get("spec"))


def and_more(entries: Sequence[str], limit: int, total: int | None = None, joint: str = ",") -> str:
    """The first `limit` entries, and how many are left out."""
    count = len(entries) if total is None else total
    shown = joint.join(entries[:limit])
    return f"{shown} + {count - limit} more..." if count > limit else shown


def condition(status: Object, kind: str) -> Object | None:
    return next((c for c in status.get("conditions") or () if c.get("type") == kind), None)


def is_true(found: Object | None) -> bool:
    return found is not None and found.get("status") == "True"


def boolean_text(value: Any) -> str:
    return UNSET if value is None else str(bool(value))


def or_none(value: Any) -> Any:
    return NONE if value in (None, "") else value
