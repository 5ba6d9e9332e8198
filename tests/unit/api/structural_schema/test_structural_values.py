"""What fits a schema, and the words for what does not."""

import contextlib
from typing import Any

import pytest
from hypothesis import given, strategies as st

from cluster.api.structural_schema import formats, paths
from cluster.api.structural_schema.defaulting import apply_defaults
from cluster.api.structural_schema.lists import validate_lists
from cluster.api.structural_schema.patterns import BadPatternError, searcher
from cluster.api.structural_schema.structure import validate_schema
from cluster.api.structural_schema.values import go_number, validate


def texts(schema: dict[str, Any], value: Any, *old: Any) -> list[str]:
    return [str(fault) for fault in validate({"type": "object", "properties": {"x": schema}}, {"x": value}, "", *old)]


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"type": "integer"}, "a", 'x: Invalid value: "string": x in body must be of type integer: "string"'),
        ({"type": "string"}, None, 'x: Invalid value: "null": x in body must be of type string: "null"'),
        ({"type": "integer", "maximum": 3}, 4, "x: Invalid value: 4: x in body should be less than or equal to 3"),
        (
            {"type": "number", "minimum": 0, "exclusiveMinimum": True},
            0,
            "x: Invalid value: 0: x in body should be greater than 0",
        ),
        ({"type": "number", "multipleOf": 0.1}, 0.25, "x: Invalid value: 0.25: x in body should be a multiple of 0.1"),
        ({"type": "string", "maxLength": 1}, "ab", "x: Too long: may not be more than 1 byte"),
        ({"type": "string", "minLength": 1}, "", 'x: Invalid value: "": x in body should be at least 1 chars long'),
        ({"type": "string", "pattern": "^a"}, "b", "x: Invalid value: \"b\": x in body should match '^a'"),
        ({"type": "array", "maxItems": 1, "items": {}}, [1, 2], "x: Too many: 2: must have at most 1 item"),
        (
            {"type": "array", "minItems": 1, "items": {}},
            [],
            "x: Invalid value: 0: x in body should have at least 1 items",
        ),
        ({"type": "object", "required": ["y"]}, {}, "x.y: Required value"),
        ({"enum": ["a", 1]}, "b", 'x: Unsupported value: "b": supported values: "a", "1"'),
        (
            {"type": "string", "format": "ipv4"},
            "1.2.3",
            'x: Invalid value: "1.2.3": x in body must be of type ipv4: "1.2.3"',
        ),
        ({"not": {"enum": [1]}}, 1, '<nil>: Invalid value: "": "x" must not validate the schema (not)'),
        (
            {"type": "array", "items": {"type": "integer"}},
            [1, "a"],
            'x[1]: Invalid value: "string": x[1] in body must be of type integer: "string"',
        ),
    ],
)
def test_a_wrong_value_is_told_in_upstreams_words(schema: dict[str, Any], value: Any, expected: str) -> None:
    assert texts(schema, value) == [expected]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, 3.0),
        ({"type": "number"}, 3),
        ({"type": "string", "nullable": True}, None),
        ({"x-kubernetes-int-or-string": True}, "10%"),
        ({"type": "string", "format": "no-such-format"}, "x"),
        ({"type": "number", "multipleOf": 0.1}, 0.3),
        ({"enum": [1]}, 1.0),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, 1),
    ],
)
def test_a_fitting_value_has_no_faults(schema: dict[str, Any], value: Any) -> None:
    assert texts(schema, value) == []


def test_of_alternatives_none_or_two_are_refused() -> None:
    one_of = {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}
    assert "Found none valid" in texts(one_of, {})[0]
    assert "Found 2 valid alternatives" in texts(one_of, {"a": 1, "b": 2})[0]
    assert "(anyOf)" in texts({"anyOf": [{"required": ["a"]}]}, {})[0]


def test_what_an_update_leaves_alone_may_go_on_being_wrong() -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [1]}, "b": {"enum": [1]}}}
    assert texts(schema, {"a": 2, "b": 1}, {"x": {"a": 2, "b": 5}}) == []
    assert len(texts(schema, {"a": 3, "b": 1}, {"x": {"a": 2}})) == 1


def test_defaults_fill_gaps_and_refused_nulls_but_not_absent_parents() -> None:
    inner = {"type": "object", "properties": {"n": {"type": "integer", "default": 1}, "s": {"type": "string"}}}
    schema = {"type": "object", "properties": {"a": inner, "b": inner}}
    value: dict[str, Any] = {"a": {"n": None, "s": None}}
    apply_defaults(schema, value)
    assert value == {"a": {"n": 1}}


def test_sets_and_maps_have_no_duplicates() -> None:
    items = {"type": "object", "properties": {"p": {"default": "TCP"}, "n": {}}}
    schema = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["n", "p"], "items": items}
    faults = validate_lists(schema, [{"n": 1}, {"n": 1, "p": "TCP"}, {"n": 1, "p": "UDP"}], "x")
    assert [str(fault) for fault in faults] == ['x[1]: Duplicate value: {"n":1,"p":"TCP"}']
    assert len(validate_lists({"x-kubernetes-list-type": "set"}, [1, 2, 1.0], "x")) == 1


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".a.b", [1]),
        (".list[0].n", ["x"]),
        (".list[*].n", ["x", "y"]),
        ('.list[?(@.n=="y")].v', [2]),
        (".list[-1].v", [2]),
        (r".m.k\.io/x", [3]),
        (".m['k.io/x']", [3]),
        (".nothing.here", []),
    ],
)
def test_a_path_finds_what_it_names(path: str, expected: list[Any]) -> None:
    obj = {"a": {"b": 1}, "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2}], "m": {"k.io/x": 3}}
    assert paths.find(path, obj) == expected


@given(st.text())
def test_any_text_is_a_path_or_a_clean_refusal(text: str) -> None:
    with contextlib.suppress(paths.BadPathError):
        paths.parse(text)


def test_a_pattern_is_go_syntax_and_never_slow() -> None:
    assert not searcher("^(a+)+$")("a" * 100_000 + "!")
    with pytest.raises(BadPatternError):
        searcher("(?=a)")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date-time", "2024-01-02T03:04:05Z", "yesterday"),
        ("date", "2024-02-29", "2023-02-29"),
        ("duration", "1h30m", "soon"),
        ("uuid", "b5b0c231-8203-490a-9392-d38ebe83426f", "b5b0"),
        ("email", "a@b.example", "a b"),
        ("uri", "https://example.com/x", "not a uri"),
        ("cidr", "10.0.0.0/8", "10.0.0.0"),
        ("ipv6", "2001:db8::1", "10.0.0.1"),
        ("mac", "01:02:03:04:05:06", "01:02"),
        ("byte", "YQ==", "!"),
        ("hostname", "a.example", "-a"),
        ("isbn10", "0306406152", "0306406153"),
        ("creditcard", "4111111111111111", "4111111111111112"),
    ],
)
def test_a_format_tells_its_texts_from_others(name: str, good: str, bad: str) -> None:
    assert (formats.fits(name, good), formats.fits(name, bad)) == (True, False)


@pytest.mark.parametrize(
    ("number", "text"), [(1, "1"), (0.5, "0.5"), (1_000_000, "1e+06"), (123_456, "123456"), (0, "0"), (-2.0, "-2")]
)
def test_limits_are_written_as_go_writes_them(number: float, text: str) -> None:
    assert go_number(number) == text


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({}, "s.properties[x].type: Required value: must not be empty for specified object fields"),
        ({"type": "array"}, "s.properties[x].items: Required value: must be specified"),
        (
            {"type": "null"},
            "s.properties[x].type: Forbidden: type cannot be set to null, use nullable as an alternative",
        ),
        (
            {"type": "string", "uniqueItems": True},
            "s.properties[x].uniqueItems: Forbidden: "
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ),
        (
            {"type": "object", "properties": {"a": {"type": "string"}}, "default": {"b": 1}},
            's.properties[x].default: Invalid value: {"b":1}: must not have unknown fields',
        ),
        (
            {"type": "integer", "minimum": 2, "default": 1},
            "s.properties[x].default: Invalid value: 1: s.properties[x].default in body "
            "should be greater than or equal to 2",
        ),
        (
            {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "map"},
            "s.properties[x].x-kubernetes-list-map-keys: Required value: "
            "must not be empty if x-kubernetes-list-type is map",
        ),
    ],
)
def test_a_schema_that_is_not_structural_is_refused(part: dict[str, Any], expected: str) -> None:
    faults = validate_schema({"type": "object", "properties": {"x": part}}, "s")
    assert [str(fault) for fault in faults] == [expected]


def test_the_schema_that_says_integer_or_string_twice_is_structural() -> None:
    part = {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True, "pattern": "^a"}
    assert validate_schema({"type": "object", "properties": {"x": part}}, "s") == []
