"""What a creator owns: the quick walk says what the comparison with the kind's zero value says, of any object."""

from typing import Any

from hypothesis import HealthCheck, given, settings, strategies as st

from cluster.api import resources
from cluster.machinery import field_sets, managed_fields
from cluster.machinery.shapes import Shape

NAMES = [
    "pods", "services", "configmaps", "nodes", "namespaces", "deployments.apps", "jobs.batch", "events",
    "clusterroles.rbac.authorization.k8s.io", "customresourcedefinitions.apiextensions.k8s.io",
]  # fmt: skip
_WORDS = st.sampled_from(["", "a", "b", 'c"d', "Ω", "x.y/z"])
_SCALARS = st.one_of(_WORDS, st.integers(-1, 3), st.booleans(), st.none())


@st.composite
def values(draw: st.DrawFn, shape: Shape, depth: int) -> Any:
    """A value of the shape, now and then another one; small, so that empty and equal ones are common."""
    if depth <= 0 or draw(st.integers(0, 9)) == 0:
        return draw(_SCALARS)
    if shape.kind == "object":
        names = draw(st.lists(st.sampled_from([*shape.fields, "unknown"]), max_size=4, unique=True))
        return {name: draw(values(shape.child(name), depth - 1)) for name in names}
    if shape.kind == "map":
        return {name: draw(values(shape.element, depth - 1)) for name in draw(st.lists(_WORDS, max_size=3))}
    if shape.kind == "list":
        return [draw(values(shape.element, depth - 1)) for _ in range(draw(st.integers(0, 3)))]
    if shape.kind == "any":
        return draw(st.one_of(_SCALARS, st.dictionaries(_WORDS, _SCALARS, max_size=2), st.lists(_SCALARS, max_size=2)))
    return draw(_SCALARS)


@st.composite
def objects(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    name = draw(st.sampled_from(NAMES))
    shape = resources.named(name).shape
    metadata = draw(values(shape.child("metadata"), 4))
    obj: dict[str, Any] = {"kind": "K", "apiVersion": "v1", "metadata": metadata if type(metadata) is dict else {}}
    for field in draw(st.lists(st.sampled_from([*shape.fields, "unknown"]), max_size=4)):
        if field not in obj:
            obj[field] = draw(values(shape.child(field), 5))
    return name, obj


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(objects())
def test_the_quick_walk_agrees_with_the_comparison(drawn: tuple[str, dict[str, Any]]) -> None:
    name, obj = drawn
    resource = resources.named(name)
    ignored, left_out = managed_fields._reset_fields(resource, ""), managed_fields._STRIPPED

    taken = field_sets.compare(resource.shape, resource.shape.zero, obj).taken
    expected = field_sets.encode(field_sets.difference(field_sets.without_prefixes(taken, ignored), left_out))
    found = field_sets.created(resource.shape, obj, left_out, ignored)

    assert found == expected
    assert list(found) == sorted(found)
