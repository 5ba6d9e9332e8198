"""Rules of definitions: what they refuse, and in which words."""

from typing import Any

import pytest

from cluster.api.cel.schema_types import escaped
from cluster.api.structural_schema.cel_rules import evaluate, unsupported, validate_rules


def schema(rule: str, **more: Any) -> dict[str, Any]:
    fields = {
        "n": {"type": "integer"},
        "f": {"type": "number"},
        "s": {"type": "string"},
        "my-field": {"type": "string"},
        "when": {"type": "string", "format": "date-time"},
        "long": {"type": "string", "format": "duration"},
        "list": {"type": "array", "items": {"type": "integer"}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
    }
    spec = {"type": "object", "properties": fields, "x-kubernetes-validations": [{"rule": rule, **more}]}
    return {"type": "object", "properties": {"spec": spec}}


def faults(rule: str, spec: dict[str, Any], old: dict[str, Any] | None = None, **more: Any) -> list[str]:
    before = None if old is None else {"spec": old}
    return [str(fault) for fault in evaluate(schema(rule, **more), {"spec": spec}, before)]


@pytest.mark.parametrize(
    "rule",
    [
        "self.n < 5 && self.s.startsWith('a')",
        "has(self.f) ? self.f > 0.5 : true",
        "self.my__dash__field == 'x'",
        "self.list.sum() == 3 && self.list.isSorted()",
        "self.s.indexOf('b') == 1",
        "self.s.find('[b-z]+') == 'bc'",
        "self.map.all(k, self.map[k] == 'v')",
        "self.when > timestamp('2020-01-01T00:00:00Z')",
        "self.long == duration('90m')",
        "isURL('https://a.example/x') && url('https://a.example:8/x').getHost() == 'a.example:8'",
        "quantity('1Gi').isGreaterThan(quantity('1M')) && !isQuantity('x')",
        "isIP('10.0.0.1') && !isIP('10.0.0')",
        "self.?missing.orValue(3) == 3",
    ],
)
def test_a_rule_that_holds_finds_nothing(rule: str) -> None:
    spec = {
        "n": 1, "f": 1, "s": "abc", "my-field": "x", "list": [1, 2], "map": {"a-b": "v"},
        "when": "2024-01-01T00:00:00Z", "long": "1h30m",
    }  # fmt: skip
    assert unsupported(schema(rule)) == []
    assert faults(rule, spec) == []


def test_a_broken_rule_is_told_with_its_message_or_itself() -> None:
    assert faults("self.n < 0", {"n": 1}) == ["spec: Invalid value: failed rule: self.n < 0"]
    assert faults("self.n < 0", {"n": 1}, message="too much") == ["spec: Invalid value: too much"]
    assert faults("self.n < 0", {"n": 1}, messageExpression="'n is ' + string(self.n)") == [
        "spec: Invalid value: n is 1"
    ]
    assert faults("self.n < 0", {"n": 1}, message="no", reason="FieldValueForbidden", fieldPath=".n") == [
        "spec.n: Forbidden: no"
    ]


def test_a_rule_that_fails_to_run_is_a_fault_too() -> None:
    assert faults("self.n < 0", {}) == ["spec: Invalid value: no such key: n evaluating rule: self.n < 0"]


def test_a_rule_about_a_change_holds_for_updates_alone() -> None:
    assert faults("self.n >= oldSelf.n", {"n": 1}) == []
    assert faults("self.n >= oldSelf.n", {"n": 1}, {"n": 2}, message="less") == ["spec: Invalid value: less"]
    optional = "!oldSelf.hasValue() || self.n >= oldSelf.value().n"
    assert faults(optional, {"n": 1}, optionalOldSelf=True) == []
    assert len(faults(optional, {"n": 1}, {"n": 2}, optionalOldSelf=True)) == 1


def test_what_was_wrong_before_the_rule_may_stay() -> None:
    assert faults("self.n < 0", {"n": 1}, {"n": 1}) == []


def test_no_expression_is_refused_and_an_unknown_function_is_named() -> None:
    (fault,) = validate_rules(schema("self.n <"), "s")
    assert fault.field == "s.properties[spec].x-kubernetes-validations[0].rule"
    assert "compilation failed" in fault.message
    assert validate_rules(schema("semver('1.0.0').major() == 1"), "s") == []
    (told,) = unsupported(schema("nobody('1.0.0') == 1"))
    assert "undeclared reference to 'nobody'" in told
    assert unsupported(schema("self.n == 1")) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [("a", "a"), ("a-b", "a__dash__b"), ("a.b/c", "a__dot__b__slash__c"), ("a__b", "a__underscores__b"),
     ("namespace", "__namespace__")],
)  # fmt: skip
def test_names_of_fields_become_identifiers(name: str, text: str) -> None:
    assert escaped(name) == text
