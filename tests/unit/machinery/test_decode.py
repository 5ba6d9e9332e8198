"""The decode door: what comes in, what is refused, and in which words."""

import json
import random
import time

import orjson
import pytest
from hypothesis import given, strategies as st

from cluster.machinery import decode, go_json, json_document, yaml_document
from cluster.machinery.status_errors import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


def refusal(data: bytes, content_type: str = "application/json") -> str:
    with pytest.raises(BadRequest) as refused:
        decode.decode_body(data, content_type, "ConfigMap")
    return refused.value.message


def test_syntax_fault_is_told_as_go_tells_it() -> None:
    assert refusal(b"{not json") == (
        "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: "
        "invalid character 'n' looking for beginning of object key string ({not json)"
    )


def test_body_that_is_no_object_is_refused() -> None:
    assert "cannot unmarshal array into Go value of type struct" in refusal(b"[1]")


def test_empty_body_is_refused() -> None:
    assert refusal(b"").endswith("unexpected end of JSON input (<empty>)")


def test_unknown_media_type_names_the_known_ones() -> None:
    with pytest.raises(UnsupportedMediaType) as refused:
        decode.decode_body(b"x", "text/plain")

    assert refused.value.message.endswith("application/json, application/yaml, application/vnd.kubernetes.protobuf")


def test_charset_parameter_does_not_matter() -> None:
    assert decode.decode_body(b"{}", "application/json; charset=utf-8").obj == {}


def test_body_over_the_limit_is_too_large() -> None:
    with pytest.raises(RequestEntityTooLarge):
        decode.decode_body(b" " * (decode.BODY_LIMIT + 1), "application/json")


def test_duplicate_fields_are_named_by_path_and_the_last_wins() -> None:
    decoded = decode.decode_body(b'{"a":1,"b":{"c":[{"d":1,"d":2,"d":3}]},"a":2}', "application/json")

    assert decoded.obj == {"a": 2, "b": {"c": [{"d": 3}]}}
    assert decoded.duplicates == ['duplicate field "a"', 'duplicate field "b.c[0].d"']


@pytest.mark.parametrize(
    "text",
    [
        '{"a" : 1, "b":1, "b":2}',
        '{"x":"\\u0022:","b":1,"b":2}',
        '{"x":"\\"\\u003a","b":1,"b":2}',
        '{"x":"\\\\","b":1,"b":2}',
        '{"b"\n:1,"b":2}',
        '{"b":{"x\\":y":1},"b":{"z":2}}',
        '{"b":1,"\\u0062":2}',
    ],
)
def test_no_spelling_hides_a_duplicate(text: str) -> None:
    assert decode.decode_json(text.encode())[1] == ['duplicate field "b"']


@given(JSON_VALUES)
def test_json_without_duplicates_has_none_and_survives(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, indent=1), orjson.dumps(value).decode()):
        assert decode.decode_json(text.encode()) == (value, [])


@given(JSON_VALUES, st.integers(0, 60), st.sampled_from(list(b'{}[]",:tn1\\x')))
def test_go_scanner_agrees_with_the_parser_on_what_is_json(value: object, at: int, byte: int) -> None:
    data = bytearray(json.dumps(value).encode())
    data[at % len(data)] = byte

    try:
        json.loads(data)
        valid = True
    except ValueError:
        valid = False

    assert (go_json.syntax_error(bytes(data)) == "") == valid


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a":1}}', "invalid character '}' after top-level value"),
        ('{"a":tru}', "invalid character '}' in literal true (expecting 'e')"),
        ('{"a":01}', "invalid character '1' after object key:value pair"),
        ('{"a":1.}', "invalid character '}' after decimal point in numeric literal"),
        ('["a" 1]', "invalid character '1' after array element"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ("{'a'}", "invalid character '\\'' looking for beginning of object key string"),
        ('"\\x"', "invalid character 'x' in string escape code"),
        ('{"a":NaN}', "invalid character 'N' looking for beginning of value"),
        ("[1,", "unexpected end of JSON input"),
    ],
)
def test_syntax_errors_are_gos(text: str, why: str) -> None:
    assert go_json.syntax_error(text.encode()) == why


@pytest.mark.parametrize("data", [b'{"a":"\\ud800"}', b'{"a":"\xff"}', b'{"a":Infinity}'])
def test_what_cannot_be_stored_is_refused(data: bytes) -> None:
    refusal(data)


@pytest.mark.parametrize("content_type", ["application/json", "application/yaml"])
@pytest.mark.parametrize("depth", [1_000, 30_000, 500_000])
def test_deep_nesting_is_refused_quickly(content_type: str, depth: int) -> None:
    began = time.perf_counter()

    refusal(b"[" * depth, content_type)
    refusal(b'{"a":' * depth + b"1" + b"}" * depth, content_type)

    assert time.perf_counter() - began < 1.5


def test_nesting_up_to_the_limit_is_fine() -> None:
    depth = json_document.DEPTH_LIMIT

    decode.decode_body(b'{"a":' * depth + b"1" + b"}" * depth, "application/json")
    assert "exceeded max depth" in refusal(b'{"a":' * (depth + 2) + b"1" + b"}" * (depth + 2))


def yaml(text: str) -> object:
    return yaml_document.load(text.encode(), 100)[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("y", True), ("No", False), ("010", 8), ("0o17", 15), ("0x1f", 31), ("1_000", 1000), ("22:22", "22:22"),
        ("2024-01-01", "2024-01-01"), ("1e3", 1000.0), ("~", None), ("'1'", "1"), ("!!str 1", "1"), ("-5", -5),
        ("+.5", 0.5), ("1.2.3", "1.2.3"), (".", "."), ("0b11", 3), ("-", [None]), ("{a: b}", {"a": "b"}),
        ("1: a", {"1": "a"}),
        ("-9223372036854775809", -9223372036854775809.0),
        ("true: a", {"true": "a"}), ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("a: &x {k: 1}\nb: {<<: *x, l: 2}", {"a": {"k": 1}, "b": {"l": 2, "k": 1}}), ("", None), ("a\n---\nb", "a"),
    ],
)  # fmt: skip
def test_yaml_is_typed_as_upstream_types_it(text: str, value: object) -> None:
    assert yaml(text) == value


def test_yaml_aliases_are_copies() -> None:
    document = yaml("a: &x [1]\nb: *x")

    assert isinstance(document, dict)
    assert document["a"] is not document["b"]


def test_yaml_duplicates_have_their_line() -> None:
    _, duplicates = yaml_document.load(b"data: {}\nx: 1\ndata: {}\n", 100)

    assert duplicates == ['yaml: unmarshal errors:\n  line 3: key "data" already set in map']


def test_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [1,1,1,1,1,1,1,1,1]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]

    assert "excessive aliasing" in refusal("\n".join(lines).encode(), "application/yaml")


def test_long_yaml_is_refused_before_it_costs_seconds() -> None:
    began = time.process_time()

    assert "excessive" in refusal(b"- a\n" * 700_000, "application/yaml")

    assert time.process_time() - began < 2


def test_yaml_fault_has_its_line() -> None:
    assert "yaml: line 2: " in refusal(b"a: b\nc: d: e\n", "application/yaml")


def test_infinity_in_yaml_has_no_json() -> None:
    assert "unsupported value" in refusal(b"a: .inf", "application/yaml")


def test_random_bytes_are_a_bad_request_and_nothing_else() -> None:
    dice = random.Random(7)
    for _ in range(300):
        data = dice.randbytes(dice.randrange(60))
        for content_type in decode.ACCEPTED:
            try:
                decode.decode_body(data, content_type)
            except BadRequest:
                continue
