"""Estimates of what rules can cost: which definitions are refused for it, and in which words."""

from typing import Any

import pytest

from cluster.api.structural_schema.cel_rules import validate_rules

ADVICE = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are "
    "declared)"
)
TOO_MUCH = f"Forbidden: estimated rule cost exceeds budget by factor of more than 100x {ADVICE}"


def obj(*rules: str, **properties: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return {**schema, "x-kubernetes-validations": [{"rule": rule} for rule in rules]} if rules else schema


def array(items: dict[str, Any], most: int | None = None) -> dict[str, Any]:
    return {"type": "array", "items": items, **({"maxItems": most} if most else {})}


def text(most: int | None = None) -> dict[str, Any]:
    return {"type": "string", **({"maxLength": most} if most else {})}


NUMBER = {"type": "integer"}
LISTENER = obj(name=text(253), hostname=text(253), protocol=text(255), port=NUMBER)


@pytest.mark.parametrize(
    "schema",
    [
        obj(spec=obj("self.a > 1", "self.l.all(x, x.startsWith('a'))", a=NUMBER, l=array(text(10), 10))),
        obj(l=array(obj("self.a > 1", a=NUMBER))),
        obj("self.l.all(x, x > 0)", l=array(NUMBER)),
        obj("self.s == 'a' || self.s.startsWith('b')", s=text()),
        obj("self.m.map(k, self.m[k]).join(',').size() < 100",
            m={"type": "object", "additionalProperties": text(10), "maxProperties": 10}),
        obj("self.?s.orValue('') == 'x' && self.?l.optMap(l, l.size()).orValue(0) < 3", s=text(), l=array(NUMBER)),
        obj(
            "self.listeners.all(l1, self.listeners.exists_one(l2, l1.port == l2.port && l1.protocol == l2.protocol && "
            "(has(l1.hostname) && has(l2.hostname) ? l1.hostname == l2.hostname : !has(l1.hostname) && "
            "!has(l2.hostname))))",
            "self.listeners.all(l, l.protocol in ['HTTP', 'TLS'] ? !has(l.name) : true)",
            listeners=array(LISTENER, 64),
        ),
        obj("self.s.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')", s=text(253)),
        obj("quantity(self.a).isLessThan(quantity(self.b))", a=text(20), b=text(20)),
    ],
)  # fmt: skip
def test_a_rule_over_bounded_values_is_taken(schema: dict[str, Any]) -> None:
    assert validate_rules(schema, "s") == []


@pytest.mark.parametrize(
    "schema",
    [
        obj(spec=obj("self.l.all(x, x.contains('ab'))", l=array(text()))),
        obj(spec=obj("self.l.all(x, self.l.all(y, x != y))", l=array(text(10)))),
        obj(spec=obj("self.l.map(x, x + 'a').join(',').contains('b')", l=array(text()))),
        obj(spec=obj("self.m.all(k, self.m[k].matches('a+'))", m={"type": "object", "additionalProperties": text()})),
    ],
)
def test_a_rule_over_unbounded_values_is_refused(schema: dict[str, Any]) -> None:
    first, *rest = (str(fault) for fault in validate_rules(schema, "s"))
    assert first == f"s.properties[spec].x-kubernetes-validations[0].rule: {TOO_MUCH}"
    assert rest[-1].startswith(
        "s: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget"
    )


def test_a_rule_inside_of_a_list_counts_for_each_item() -> None:
    inside = obj("self.a.contains(self.b)", a=text(1000), b=text(1000))
    assert validate_rules(obj(l=array(inside, 10)), "s") == []
    (fault,) = validate_rules(obj(l=array(inside, 1500)), "s")
    assert str(fault).startswith(
        "s.properties[l].items.x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by "
        "factor of 1.5x"
    )


def test_a_rule_about_a_field_that_is_not_there_is_refused() -> None:
    (fault,) = validate_rules(obj("self.nothing > 1", a=NUMBER), "s")
    assert "compilation failed: ERROR: <input>:1:5: undefined field 'nothing'" in fault.message
    (fault,) = validate_rules(obj("self.a > 'x'", a=NUMBER), "s")
    assert "found no matching overload for '_>_' applied to '(int, string)'" in fault.message
    (fault,) = validate_rules(obj("self.a", a=NUMBER), "s")
    assert fault.message.endswith("cel expression must evaluate to a bool")


def test_of_very_many_rules_the_last_are_checked_without_types() -> None:
    parts = {f"p{number:03}": obj("self.nothing > 1", a=NUMBER) for number in range(120)}
    assert len(validate_rules(obj(**parts), "s")) == 100
    parts["p119"] = obj("1 +", a=NUMBER)
    assert len(validate_rules(obj(**parts), "s")) == 101
