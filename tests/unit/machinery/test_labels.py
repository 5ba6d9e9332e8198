"""Label selectors: the language, its error texts, and what matches."""

import string

import pytest
from hypothesis import given, strategies as st

from cluster.machinery import labels
from cluster.machinery.labels import Selector, selector_of
from cluster.machinery.status_errors import BadRequest

WORD = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("text", "matching", "other"),
    [
        ("i in (1,2)", {"i": "2"}, {"i": "3"}),
        ("i notin (1,2)", {}, {"i": "1"}),
        ("x", {"x": ""}, {"y": ""}),
        ("!x", {"y": ""}, {"x": "1"}),
        ("! x", {"y": ""}, {"x": "1"}),
        ("x=", {"x": ""}, {"x": "1"}),
        ("x==1", {"x": "1"}, {"x": "2"}),
        ("x!=1", {"y": "1"}, {"x": "1"}),
        ("i>2", {"i": "3"}, {"i": "2"}),
        ("i<2", {"i": "-1"}, {"i": "text"}),
        ("bad in ()", {"bad": ""}, {"bad": "x"}),
        ("a in (,b)", {"a": ""}, {"a": "c"}),
        ("in in (in)", {"in": "in"}, {"in": "x"}),
        ("example.com/a=b,!c", {"example.com/a": "b"}, {"example.com/a": "b", "c": "d"}),
    ],
)
def test_selector_matches_what_it_says(text: str, matching: dict[str, str], other: dict[str, str]) -> None:
    selector = Selector.parse(text)

    assert selector.matches(matching)
    assert not selector.matches(other)


def test_two_values_for_one_label_match_nothing() -> None:
    assert not Selector.parse("a=1,a=2").matches({"a": "1"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b c", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("(a", "found '(', expected: !, identifier, or 'end of string'"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
        ("a=!", "unable to parse requirement: found '!', expected: identifier"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, "
            "the value must be an integer",
        ),
    ],
)
def test_faulty_selector_is_refused_in_upstreams_words(text: str, message: str) -> None:
    with pytest.raises(BadRequest) as refused:
        Selector.parse(text)

    assert refused.value.message == message


@given(st.dictionaries(WORD, WORD, max_size=4), st.dictionaries(WORD, WORD, max_size=4))
def test_equality_selector_is_the_subset_relation(wanted: dict[str, str], labels_: dict[str, str]) -> None:
    text = ",".join(f"{key}={value}" for key, value in wanted.items())

    assert Selector.parse(text).matches(labels_) == (wanted.items() <= labels_.items())


@given(st.text(alphabet="ab=!,()<> \tin", max_size=20))
def test_any_text_is_a_selector_or_a_bad_request(text: str) -> None:
    try:
        selector = Selector.parse(text)
    except BadRequest:
        return

    assert Selector.parse(str(selector)).matches({"a": "b"}) == selector.matches({"a": "b"})


def test_empty_selector_selects_everything_and_none_selects_nothing() -> None:
    assert selector_of({}).matches({"a": "b"})
    assert selector_of({}).empty
    assert not selector_of(None).matches({})


def test_label_selector_object_combines_labels_and_expressions() -> None:
    selector = selector_of(
        {"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["2"]}]}
    )

    assert selector.matches({"a": "1"})
    assert not selector.matches({"a": "1", "b": "2"})
    assert not selector.matches({"b": "1"})


def test_label_selector_with_an_odd_operator_is_refused() -> None:
    with pytest.raises(ValueError, match='"Odd" is not a valid label selector operator'):
        selector_of({"matchExpressions": [{"key": "a", "operator": "Odd"}]})


def test_label_faults_name_the_wrong_key_and_value() -> None:
    faults = labels.validate_labels({"bad key!": "v", "k": "v" * 64}, "metadata.labels")

    assert [fault.message.split(":")[0] for fault in faults] == ["Invalid value", "Invalid value"]
    assert "name part must consist of alphanumeric characters" in faults[0].message
    assert faults[1].message.endswith("must be no more than 63 bytes")


def test_expression_without_values_is_a_required_value() -> None:
    faults = labels.validate_label_selector({"matchExpressions": [{"key": "a", "operator": "In"}]}, "spec.selector")

    assert str(faults[0]) == (
        "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
    )


def test_annotations_are_limited_altogether() -> None:
    faults = labels.validate_annotations({"a": "x" * (256 * 1024)}, "metadata.annotations")

    assert [fault.reason for fault in faults] == ["FieldValueTooLong"]
