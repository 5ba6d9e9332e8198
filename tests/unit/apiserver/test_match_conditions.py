"""matchConditions: which requests a webhook or policy concerns."""

import pytest

from cluster.api import resources
from cluster.api.validation.expressions import validate_match_conditions
from cluster.apiserver.admission.match_conditions import Match, MatchConditions
from cluster.apiserver.requests import AdmissionRequest, UserInfo

POD = {"metadata": {"name": "p", "namespace": "ns", "labels": {"a": "b"}}, "spec": {"nodeName": "n1"}}
BROKEN = "object.spec.none == 1"
WHY = f"expression '{BROKEN}' resulted in error: no such key: none"


def request() -> AdmissionRequest:
    user = UserInfo("ann", ("dev",), extra={"k": ("v",)})
    return AdmissionRequest("CREATE", resources.PODS, "", "ns", "p", dict(POD), None, user)


@pytest.mark.parametrize(
    ("expressions", "policy", "wanted"),
    [
        ([], "Fail", Match(True)),
        (["object.spec.nodeName == 'n1'", "oldObject == null"], "Fail", Match(True)),
        (["request.userInfo.username == 'ann' && 'dev' in request.userInfo.groups"], "Fail", Match(True)),
        (["request.resource.resource == 'pods' && request.operation == 'CREATE'"], "Fail", Match(True)),
        (["true", "request.namespace != 'ns'"], "Fail", Match(False, failed_condition="c1")),
        ([BROKEN], "Fail", Match(False, error=WHY)),
        ([BROKEN], "Ignore", Match(False)),
        ([BROKEN, BROKEN], "Fail", Match(False, error=WHY)),
        ([BROKEN, "false"], "Fail", Match(False, failed_condition="c1")),
    ],
)
async def test_all_conditions_must_hold(expressions: list[str], policy: str, wanted: Match) -> None:
    conditions = [{"name": f"c{index}", "expression": text} for index, text in enumerate(expressions)]
    assert await MatchConditions(conditions, policy).evaluate(request(), None) == wanted


def test_conditions_that_are_no_expressions_or_share_a_name_are_refused() -> None:
    holder = {
        "matchConditions": [
            {"name": "a", "expression": "true"},
            {"name": "a", "expression": " "},
            {"name": "", "expression": "nope"},
            {"name": "_", "expression": "1 +"},
        ]
    }
    found = [str(error).split("\n")[0] for error in validate_match_conditions("matchConditions", holder)]
    assert found[0] == "matchConditions[1].expression: Required value"
    assert found[1] == 'matchConditions[1].name: Duplicate value: "a"'
    assert found[2].startswith(
        'matchConditions[2].expression: Invalid value: "nope": compilation failed: ERROR: <input>:1:1: '
        "undeclared reference to 'nope' (in container '')"
    )
    assert found[3] == "matchConditions[2].name: Required value"
    assert found[4].startswith('matchConditions[3].expression: Invalid value: "1 +": compilation failed: ERROR')
    assert found[5].startswith('matchConditions[3].name: Invalid value: "_": name part must consist')
