from typing import Any

import pytest

from cluster.machinery import field_errors
from cluster.machinery.field_errors import FieldError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (field_errors.required("a"), "a: Required value"),
        (field_errors.required("a", "or b"), "a: Required value: or b"),
        (field_errors.invalid("a", -1, "too low"), "a: Invalid value: -1: too low"),
        (field_errors.invalid("a", None, "x"), "a: Invalid value: null: x"),
        (field_errors.not_supported("a", "x", ("B", "A")), 'a: Unsupported value: "x": supported values: "B", "A"'),
        (field_errors.not_supported("a", "x", ()), 'a: Unsupported value: "x"'),
        (field_errors.duplicate("a", {"b": "<"}), 'a: Duplicate value: {"b":"\\u003c"}'),
        (field_errors.not_found("a", "x"), 'a: Not found: "x"'),
        (field_errors.forbidden("a", "no"), "a: Forbidden: no"),
        (field_errors.too_long("a", 1), "a: Too long: may not be more than 1 byte"),
        (field_errors.too_many("a", 3, 2), "a: Too many: 3: must have at most 2 items"),
        (field_errors.type_invalid("a", "string", "must be a number"), 'a: Invalid value: "string": must be a number'),
        (field_errors.internal("a", "broken"), "a: Internal error: broken"),
    ],
)
def test_each_fault_has_its_words(error: FieldError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize(
    ("value", "shown"),
    [('a"b\\', '"a\\"b\\\\"'), ("tab\t", '"tab\\t"'), ("é", '"é"'), ("\x00", '"\\x00"'), (True, "true"), ([], "[]")],
)
def test_values_are_shown_as_go_writes_them(value: Any, shown: str) -> None:
    assert field_errors.shown(value) == shown


def test_a_cause_has_reason_message_and_field() -> None:
    assert field_errors.required("spec.x").as_cause() == ("FieldValueRequired", "Required value", "spec.x")
