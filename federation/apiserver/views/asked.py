"""
What a request on a view asks for, and of which members. Pure.

A member is named by `?cluster=NAME`, by the label `federation.hanse.io/cluster` in a label selector, or in front of
an object's name: `kubectl logs east:web-0`. Names of Kubernetes objects hold no colon.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from cluster.apiserver.router import Route
from cluster.machinery.fields import FieldSelector, Term
from cluster.machinery.labels import Requirement, Selector
from cluster.machinery.status_errors import not_found
from federation.api.kinds import GROUP

CLUSTER_LABEL = f"{GROUP}/cluster"
CLUSTER_PARAMETER = "cluster"
_NAME_FIELDS = frozenset({"metadata.name", "involvedObject.name", "regarding.name", "spec.nodeName"})
_UID_FIELDS = {"involvedObject.uid": "involvedObject.kind", "regarding.uid": "regarding.kind"}
_VIEW_KINDS = frozenset({"Pod", "Node", "Endpoints", "EndpointSlice"})


@dataclass(frozen=True, slots=True)
class Asked:
    clusters: tuple[str, ...]
    """Members that are meant, in the order of their names."""
    name: str
    """As the member knows it."""
    label_selector: str
    field_selector: str
    shown_name: str = ""
    """As the client asked for it."""


def asked(route: Route, members: Collection[str]) -> Asked:
    """Raises NotFound for a member that is named and not there, BadRequest for a bad selector."""
    chosen = set(members)
    if CLUSTER_PARAMETER in route.query:
        named = [one for one in route.query[CLUSTER_PARAMETER].split(",") if one]
        for one in named:
            _must_be(one, members)
        chosen &= set(named)
    selector = Selector.parse(route.query.get("labelSelector", ""))
    ours = [one for one in selector.requirements if one.key == CLUSTER_LABEL]
    others = tuple(one for one in selector.requirements if one.key != CLUSTER_LABEL)
    chosen = {one for one in chosen if _selected(one, ours)}
    fields, prefixes = _fields(route.query.get("fieldSelector", ""))
    prefix, name = split(route.name)
    for one in [*prefixes, *([prefix] if prefix else [])]:
        _must_be(one, members)
        chosen &= {one}
    return Asked(tuple(sorted(chosen)), name, str(Selector(others)), fields, route.name)


def split(name: str) -> tuple[str, str]:
    """(cluster or nothing, name)"""
    cluster, colon, rest = name.partition(":")
    return (cluster, rest) if colon else ("", name)


def _selected(cluster: str, requirements: Sequence[Requirement]) -> bool:
    return all(one.matches({CLUSTER_LABEL: cluster}) for one in requirements)


def _must_be(cluster: str, members: Collection[str]) -> None:
    if cluster not in members:
        raise not_found("federation", "clusters", cluster)


def _fields(text: str) -> tuple[str, list[str]]:
    """The selector as members shall have it, and clusters that stand in front of names in it."""
    if not text:
        return "", []
    terms: list[Term] = []
    prefixes: list[str] = []
    values: Mapping[str, str] = {term.field: term.value for term in FieldSelector.parse(text).terms if term.equal}
    for term in FieldSelector.parse(text).terms:
        kind = values.get(_UID_FIELDS.get(term.field, ""))
        if kind is not None and kind not in _VIEW_KINDS:
            continue  # the template's uid: each member's copy has another one
        terms.append(_without_prefix(term, prefixes))
    return str(FieldSelector(tuple(terms))), prefixes


def _without_prefix(term: Term, prefixes: list[str]) -> Term:
    cluster, name = split(term.value) if term.field in _NAME_FIELDS and term.equal else ("", "")
    if not cluster:
        return term
    prefixes.append(cluster)
    return replace(term, value=name)
