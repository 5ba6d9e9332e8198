"""
In which form a client wants its answer: the Accept header.

Pure. JSON is what we speak; clients that prefer protobuf name JSON second and are served that.
"""

import functools
from dataclasses import dataclass

from cluster.machinery.status_errors import NotAcceptable

OBJECT, TABLE, PARTIAL = "object", "table", "partial"


@dataclass(frozen=True, slots=True)
class View:
    """`shape` says what is made of objects; `version` is meta.k8s.io's, for Table and PartialObjectMetadata."""

    shape: str = OBJECT
    version: str = "v1"
    yaml: bool = False


_SHAPES = {"Table": TABLE, "PartialObjectMetadata": PARTIAL, "PartialObjectMetadataList": PARTIAL}
WATCHED = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
"""In which forms a watch can be had; YAML has no end of a document that could be told in a stream."""
_AVAILABLE = "application/json, application/yaml, application/vnd.kubernetes.protobuf"


@functools.lru_cache(256)
def negotiate(accept: str, *, transforms: bool = True, available: str = _AVAILABLE) -> View:
    """
    The first clause, by weight, that we can serve. Raises NotAcceptable when there is none.

    Args:
        transforms: whether Table and PartialObjectMetadata make sense for this request.
        available: media types named in the refusal.
    """
    if not accept:
        return View()
    for media, parameters in _clauses(accept):
        if media not in ("application/json", "*/*", "application/*", "application/yaml"):
            continue
        wanted = parameters.get("as")
        if not wanted:
            return View(yaml=media == "application/yaml")
        shape = _SHAPES.get(wanted)
        version = parameters.get("v", "")
        if (
            transforms
            and shape
            and parameters.get("g") == "meta.k8s.io"
            and version in ("v1", "v1beta1")
            and media != "application/yaml"
        ):
            return View(shape, version)
    raise not_acceptable(available)


def not_acceptable(available: str) -> NotAcceptable:
    return NotAcceptable(f"406: Not Acceptable\n\nAvailable representations: {available}", details={})


def _clauses(accept: str) -> list[tuple[str, dict[str, str]]]:
    found: list[tuple[float, int, str, dict[str, str]]] = []
    for position, clause in enumerate(accept.split(",")):
        media, *rest = (part.strip() for part in clause.split(";"))
        parameters = dict(part.split("=", 1) for part in rest if "=" in part)
        try:
            weight = float(parameters.pop("q", "1"))
        except ValueError:
            weight = 0.0
        if media and weight > 0:
            found.append((-weight, position, media.lower(), parameters))
    found.sort(key=lambda clause: clause[:2])
    return [(media, parameters) for _, _, media, parameters in found]
