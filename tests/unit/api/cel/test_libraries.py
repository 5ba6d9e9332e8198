"""The expression language and Kubernetes' libraries, by the table of scenarios."""

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.api.cel import environment
from cluster.api.cel.authorizer import Answer, AuthorizerValue, NeedsDecision, Question
from cluster.api.cel.costs import PER_CALL_LIMIT
from cluster.api.cel.values import CelError, CompileError, CostExceededError

TABLE = yaml.safe_load((Path(__file__).parents[3] / "scenarios/api/cel.yaml").read_text())
SELF = {"a": 1, "x": [1, 2, 3], "s": "hello", "m": {"k": 1}, "t": "2020-01-31T12:30:45.678Z", "f": 1.5, "none": None}
NAMES = environment.dynamic("self", authorizer="kubernetes.authorization.Authorizer")


def value(expression: str, **variables: Any) -> Any:
    return NAMES.compile(expression).evaluate({"self": SELF, **variables})[0]


@pytest.mark.parametrize("expression", [text for group in TABLE["true"].values() for text in group])
def test_a_documented_function_gives_what_the_documentation_says(expression: str) -> None:
    for part in expression.split(" && "):
        # Each alone as well, so that the report names the one that fails.
        if part.count("(") == part.count(")") and part.count("'") % 2 == 0 and part.count("[") == part.count("]"):
            assert value(part) is True, part
    assert value(expression) is True


@pytest.mark.parametrize(("expression", "why"), TABLE["errors"].items())
def test_an_expression_without_a_value_says_why(expression: str, why: str) -> None:
    with pytest.raises(CelError) as caught:
        value(expression)
    assert str(caught.value) == why


@pytest.mark.parametrize(("expression", "why"), TABLE["refused"].items())
def test_what_is_no_expression_is_refused(expression: str, why: str) -> None:
    with pytest.raises(CompileError) as caught:
        NAMES.compile(expression)
    assert str(caught.value).split("\n")[0].startswith(why)


def test_the_authorizer_is_asked_between_two_tries() -> None:
    expression = (
        "authorizer.serviceAccount('ns', 'a').group('apps').resource('deployments').subresource('scale')"
        ".namespace('ns').name('n').check('update').allowed()"
    )
    question = Question(("ns", "a"), "", "apps", "deployments", "scale", "ns", "n", "update")
    with pytest.raises(NeedsDecision) as needed:
        value(expression, authorizer=AuthorizerValue({}))
    assert needed.value.question == question
    known = {question: Answer(True, "because")}
    assert value(expression, authorizer=AuthorizerValue(known)) is True
    assert value(expression.replace("allowed", "reason"), authorizer=AuthorizerValue(known)) == "because"
    with pytest.raises(NeedsDecision):
        value("authorizer.path('/healthz').check('get').errored()", authorizer=AuthorizerValue({}))


@pytest.mark.parametrize(
    "expression",
    [
        "self.l.all(a, self.l.all(b, self.l.all(c, a + b + c >= 0)))",
        "self.l.map(a, self.l.map(b, string(a) + string(b))).size() > 0",
        "self.l.all(a, self.l.all(b, self.text.matches('(a?){50}a{50}') || true))",
        "self.l.all(a, sets.contains(self.l, self.l))",
        "self.l.all(a, self.l.map(b, self.text.replace('a', self.text)).size() > 0)",
        "self.l.all(a, self.l.all(b, [self.l, self.l] == [self.l, self.l]))",
    ],
)
def test_a_hostile_expression_ends_at_its_limit(expression: str) -> None:
    hostile = {"l": list(range(1000)), "text": "a" * 1000}
    program = NAMES.compile(expression)
    with pytest.raises(CostExceededError, match="actual cost limit exceeded"):
        program.evaluate({"self": hostile}, PER_CALL_LIMIT, time.thread_time() + 0.05)
    with pytest.raises(CostExceededError, match="operation cancelled: actual cost limit exceeded"):
        program.evaluate({"self": hostile}, 20_000)


def test_values_that_grow_are_paid_for() -> None:
    doubled = NAMES.compile("self + self")
    for start in ("a", b"a", [1]):
        value: Any = start
        for _ in range(60):
            try:
                value, _ = doubled.evaluate({"self": value}, 100_000)
            except CostExceededError:
                break
        assert 10_000 < len(value) < 2_000_000


@pytest.mark.parametrize("deep", [" + ".join(["1"] * 2_000), "(" * 2_000 + "1" + ")" * 2_000, "!" * 5_000 + "true"])
def test_a_deep_expression_does_no_harm(deep: str) -> None:
    try:
        assert NAMES.compile(deep).evaluate({})[0] is not None
    except CompileError as fault:
        assert "recursion" in str(fault)  # noqa: PT017
