"""
matchConditions: expressions that say whether a webhook or a policy concerns a request at all.

Used by the webhooks and by both kinds of admission policies. One `MatchConditions` is made for each generation of a
configuration and asked for every request that its rules match.
Source: k8s.io/apiserver, pkg/admission/plugin/webhook/matchconditions/matcher.go.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.api.resources import Resource
from cluster.api.structural_schema.cel_environment import compile_rule
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

    def __init__(self, conditions: Sequence[Object], failure_policy: str) -> None:
        """`conditions` are entries with `name` and `expression`, as a configuration has them; none match everything."""
        self._conditions = tuple((str(entry.get("name")), str(entry.get("expression"))) for entry in conditions)
        self._fails = failure_policy != "Ignore"

    async def evaluate(
        self,
        request: AdmissionRequest,
        authorizer: Authorizer | None,
        *,
        seen_as: Resource | None = None,
        obj: Object | None = None,
        old: Object | None = None,
    ) -> Match:
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
        variables: dict[str, Any] = {
            "object": request.obj if obj is None else obj,
            "oldObject": request.old if old is None else old,
            "request": request_value(request, seen_as),
        }
        errors: list[str] = []
        for name, expression in self._conditions:
            try:
                if compile_rule(expression)(variables) is False:
                    return Match(False, failed_condition=name)
            except ValueError as fault:
                errors.append(f"expression '{expression}' resulted in error: {fault}")
        if not errors:
            return Match(True)
        if not self._fails:
            return Match(False)
        distinct = list(dict.fromkeys(errors))
        return Match(False, error=distinct[0] if len(distinct) == 1 else f"[{', '.join(distinct)}]")
