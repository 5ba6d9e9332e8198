"""
Which objects a list or watch wants: label selector, field selector, or both.

Pure. A field's value is computed once an object and kept with it.
"""

from collections.abc import Callable

from cluster.api import selectable_fields
from cluster.api.custom_resource import CustomResource
from cluster.api.resources import Resource
from cluster.machinery.fields import FieldSelector
from cluster.machinery.labels import Selector
from cluster.machinery.status_errors import BadRequest
from cluster.store.encoding import Entry

Matches = Callable[[Entry], bool]


def everything(entry: Entry) -> bool:
    return True


def build(resource: Resource, label_text: str, field_text: str, name: str = "") -> Matches:
    """
    A predicate over entries; `everything` when nothing is asked. Raises BadRequest with upstream's words.

    Args:
        name: the name in the URL of a watch on one object.
    """
    labels = Selector.parse(label_text) if label_text else None
    fields = FieldSelector.parse(field_text) if field_text else None
    if fields is not None:
        for term in fields.terms:
            if not selectable_fields.is_selectable(resource, term.field):
                raise BadRequest(_refusal(resource, term.field))
    if labels is None and fields is None and not name:
        return everything
    if labels is not None and fields is None and not name:
        return _by_labels(labels)

    def matches(entry: Entry) -> bool:
        if name and entry.name != name:
            return False
        if labels is not None and not labels.matches(entry.labels):
            return False
        return fields is None or fields.matches(field_values(resource, entry))

    return matches


def _by_labels(labels: Selector) -> Matches:
    """The usual case, without what it does not need: a list asks this of every object."""
    equal = labels.only_equal
    if equal is not None and len(equal) == 1:
        ((key, value),) = equal.items()
        return lambda entry: entry.labels.get(key) == value
    matches = labels.matches
    return lambda entry: matches(entry.labels)


def _refusal(resource: Resource, field: str) -> str:
    if isinstance(resource, CustomResource):
        return f"field label not supported: {field}"
    return selectable_fields.refusal(resource, field)


def field_values(resource: Resource, entry: Entry) -> dict[str, str]:
    found = entry.fields
    if found is None:
        found = entry.fields = selectable_fields.selectable_fields(resource, entry.decode())
        found.setdefault("metadata.name", entry.name)
        if resource.namespaced:
            found.setdefault("metadata.namespace", entry.namespace)
    return found
