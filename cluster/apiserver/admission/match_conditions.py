"""
matchConditions: expressions that say whether a webhook or a policy concerns a request at all.

Used by the webhooks and by both kinds of admission policies. One `MatchConditions` is made for each generation of a
configuration and asked for every request that its rules match.
Source: k8s.io/apiserver, pkg/admission/plugin/webhook/matchconditions/matcher.go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.api.cel.costs import MATCH_CONDITIONS_BUDGET
from cluster.api.cel.values import CelError, CompileError
from cluster.api.resources import Resource
from cluster.apiserver.admission import evaluation
from cluster.apiserver.admission.evaluation import Evaluation, Inputs
from cluster.apiserver.admission.request_variables import request_value
from cluster.apiserver.requests import AdmissionRequest, Authorizer
from cluster.machinery.objects import Object


@dataclass(frozen=True, slots=True)
class Match:
    """What the conditions say about one request."""

    matches: bool
    error: str = ""
    """Set when an expression failed and the failure policy is Fail: the request is to be refused with this text."""
    failed_condition: str = ""
    """The name of the condition that was false."""


class MatchConditions:
    """
    The conditions of one webhook or policy, all of which must hold.

    One that is false makes the request pass by, whatever the others do. Otherwise one that cannot be evaluated is an
    error under failure policy Fail and makes the request pass by under Ignore.
    """

    def __init__(self, conditions: Sequence[Object], failure_policy: str, *, params: bool = False) -> None:
        """
        Take the `matchConditions` of a configuration: entries with `name` and `expression`.

        Nothing is compiled before the first request. `params`: whether expressions may use `params`.
        """
        self._conditions = tuple((str(entry.get("name")), str(entry.get("expression"))) for entry in conditions)
        self._fails = failure_policy != "Ignore"
        self._params = params

    @property
    def any(self) -> bool:
        return bool(self._conditions)

    async def evaluate(
        self, request: AdmissionRequest, authorizer: Authorizer | None, *, seen_as: Resource | None = None,
        obj: Object | None = None, old: Object | None = None,
    ) -> Match:  # fmt: skip
        """
        Judge one request.

        Args:
            request: The write; its object may still change afterwards.
            authorizer: For `authorizer.…` in expressions; None allows everything.
            seen_as: The resource whose rule matched, when that is another version than the one asked for.
            obj: The object in that version; `request.obj` when None.
            old: Likewise for `oldObject`.
        """
        if not self._conditions:
            return Match(True)
        inputs = Inputs(request, request_value(request, seen_as))
        seen = {**({} if obj is None else {"object": obj}), **({} if old is None else {"oldObject": old})}

        def work(evaluation: Evaluation) -> Match:
            return self.judge(evaluation, {**inputs.variables(evaluation.known), **seen})

        return await evaluation.evaluate(work, MATCH_CONDITIONS_BUDGET, request, authorizer)

    def judge(self, evaluation: Evaluation, variables: dict[str, Any]) -> Match:
        """The same as part of evaluating a policy."""
        from cluster.api.cel.admission import environment

        errors: list[str] = []
        for name, expression in self._conditions:
            try:
                if evaluation.value(environment(params=self._params).compile(expression), variables) is False:
                    return Match(False, failed_condition=name)
            except (CelError, CompileError) as fault:
                errors.append(str(fault))
        if not errors:
            return Match(True)
        if not self._fails:
            return Match(False)
        distinct = list(dict.fromkeys(errors))
        return Match(False, error=distinct[0] if len(distinct) == 1 else f"[{', '.join(distinct)}]")
