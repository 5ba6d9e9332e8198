"""JSON patch and JSON merge patch, with the jsonpatch package as second opinion."""

import copy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings, strategies as st

from cluster.machinery import json_patch, merge_patch
from cluster.machinery.status_errors import ApiError, BadRequest, Invalid, RequestEntityTooLarge

NAME = st.sampled_from(["a", "b", "~/x", ""])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAME, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(NAME, VALUES, max_size=3)
POINTERS = st.lists(st.sampled_from(["a", "b", "~0~1x", "0", "1", "-", "2"]), min_size=1, max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)
OPERATIONS = st.fixed_dictionaries(
    {
        "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
        "path": POINTERS,
        "from": POINTERS,
        "value": VALUES,
    }
)


@settings(max_examples=400)
@given(OBJECTS, st.lists(OPERATIONS, max_size=3))
def test_patch_does_what_the_reference_does(doc: dict[str, Any], ops: list[dict[str, Any]]) -> None:
    before = copy.deepcopy(doc)
    try:
        expected = jsonpatch.apply_patch(doc, ops)
    except Exception:
        expected = None
    try:
        found = json_patch.apply(doc, ops)
    except Invalid:
        found = None

    assert doc == before
    if expected is not None and found is not None:
        assert found == expected
    elif expected is not None:
        # Where we refuse and the reference does not: it lets a move or copy into its own child pass, and types mix.
        assert any(op["op"] in ("move", "test", "copy") or "-" in op["path"] for op in ops)
    elif found is not None:
        assert any(op["op"] in ("test", "move") for op in ops)


@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        ([{"op": "add", "path": "/l/-", "value": 3}], {"l": [1, 2, 3], "m": {"k": "v"}}),
        ([{"op": "add", "path": "/l/0", "value": 0}], {"l": [0, 1, 2], "m": {"k": "v"}}),
        ([{"op": "remove", "path": "/l/-1"}], {"l": [1], "m": {"k": "v"}}),
        ([{"op": "move", "from": "/m/k", "path": "/x"}], {"l": [1, 2], "m": {}, "x": "v"}),
        ([{"op": "copy", "from": "/m", "path": "/n"}], {"l": [1, 2], "m": {"k": "v"}, "n": {"k": "v"}}),
        ([{"op": "test", "path": "/gone", "value": None}], {"l": [1, 2], "m": {"k": "v"}}),
        ([{"op": "add", "path": "/m/a~1b~0", "value": 1}], {"l": [1, 2], "m": {"k": "v", "a/b~": 1}}),
    ],
)
def test_operations(ops: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    assert json_patch.apply({"l": [1, 2], "m": {"k": "v"}}, ops) == expected


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/gone"},
        {"op": "replace", "path": "/gone", "value": 1},
        {"op": "test", "path": "/a", "value": True},
        {"op": "odd", "path": "/a"},
        {"op": "add", "path": "/a/b/c", "value": 1},
        {"op": "add", "path": "a", "value": 1},
        {"op": "add", "path": "", "value": {}},
        {"op": "add", "path": "/l/7", "value": 1},
        {"op": "add", "path": "/l/01", "value": 1},
        {"op": "add", "path": "/l/x", "value": 1},
        {"op": "add", "path": 5, "value": 1},
        {"path": "/a"},
        {"op": "move", "path": "/a"},
    ],
)
def test_what_does_not_apply_is_unprocessable_without_telling_why(operation: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        json_patch.apply({"a": 1, "l": []}, [operation])

    assert refused.value.message == "the server rejected our request due to an error in our request"
    assert refused.value.status["details"] == {}


def test_patch_that_is_no_list_is_refused() -> None:
    with pytest.raises(BadRequest) as refused:
        json_patch.apply({}, {"not": "a list"})

    assert refused.value.message == (
        "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
    )


def test_too_many_operations_are_too_large() -> None:
    with pytest.raises(RequestEntityTooLarge, match="10000, got 10001"):
        json_patch.apply({}, [{"op": "test", "path": "/a"}] * 10_001)


def test_copies_do_not_multiply_without_end() -> None:
    ops = [{"op": "copy", "from": "/a", "path": f"/a/{n}"} for n in range(40)]

    with pytest.raises(Invalid):
        json_patch.apply({"a": {"x": "y" * 1000}}, ops)


def test_merge_patch_of_the_rfc() -> None:
    doc = {"title": "Goodbye!", "author": {"givenName": "John", "familyName": "Doe"}, "tags": ["a", "b"]}
    patch = {"title": "Hello!", "author": {"familyName": None}, "tags": ["c"], "new": {"x": None, "y": {"z": None}}}

    assert merge_patch.apply(doc, patch) == {
        "title": "Hello!",
        "author": {"givenName": "John"},
        "tags": ["c"],
        "new": {"y": {}},
    }
    assert doc["author"] == {"givenName": "John", "familyName": "Doe"}


@given(OBJECTS, OBJECTS)
def test_merge_patch_is_idempotent(doc: dict[str, Any], patch: dict[str, Any]) -> None:
    once = merge_patch.apply(doc, patch)

    assert merge_patch.apply(once, patch) == once


@pytest.mark.parametrize("patch", [[1], "x", 1, None])
def test_merge_patch_must_be_a_map(patch: object) -> None:
    with pytest.raises(ApiError, match=r"error decoding patch: json: cannot unmarshal .* into Go value of type map"):
        merge_patch.apply({}, patch)


def test_patches_cannot_nest_an_object_without_end() -> None:
    doc: dict[str, Any] = {}
    nested: dict[str, Any] = {}
    for _ in range(90):
        nested = {"a": nested}
    deepen = [{"op": "add", "path": "/x", "value": nested}, {"op": "move", "from": "/x", "path": "/a" + "/a" * 90}]

    doc = json_patch.apply(doc, [{"op": "add", "path": "/a", "value": nested}])
    doc = json_patch.apply(doc, deepen)
    deeper = [deepen[0], {"op": "add", "path": "/x" + "/a" * 90, "value": doc}]
    with pytest.raises(Invalid):
        json_patch.apply(doc, deeper)
