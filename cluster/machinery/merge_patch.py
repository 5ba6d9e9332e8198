"""JSON merge patch (RFC 7396): null deletes, maps merge, everything else is replaced."""

from typing import Any

from cluster.machinery.json_document import go_kind
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import BadRequest


def apply(doc: Object, patch: Any) -> Object:
    """The patched document; neither argument is changed, parts of both are shared. Raises BadRequest."""
    return _merged(doc, require_map(patch))


def require_map(patch: Any) -> Object:
    """The patch, when it is a JSON object. Raises BadRequest with upstream's text."""
    if not isinstance(patch, dict):
        where = "Go value of type map[string]interface {}"
        raise BadRequest(f"error decoding patch: json: cannot unmarshal {go_kind(patch)} into {where}")
    return patch


def _merged(doc: Any, patch: Object) -> Object:
    merged = dict(doc) if isinstance(doc, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = _merged(merged.get(key), value)
        else:
            merged[key] = value
    return merged
