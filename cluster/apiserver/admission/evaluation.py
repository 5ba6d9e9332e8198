"""
Runs expressions for a request without holding up the others.

What takes more than a few milliseconds goes on in one thread of its own, and only so long; answers of the authorizer
are asked for between two tries, since an expression cannot wait.
"""

import asyncio
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from cluster.api.cel.authorizer import Answer, AuthorizerValue, Check, NeedsDecision, Question
from cluster.api.cel.costs import MATCH_CONDITIONS_BUDGET
from cluster.api.cel.values import CelError, CostExceededError, OutOfTimeError
from cluster.apiserver.requests import AdmissionRequest, Attributes, Authorizer, UserInfo
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError

if TYPE_CHECKING:
    from cluster.api.cel.environment import Program

Result = TypeVar("Result")

INLINE_SECONDS = 0.02
"""Processor time that the event loop gives to one policy."""
THREAD_SECONDS = 1.0
"""Processor time of one policy in the thread. Upstream's limits of cost come first for what they measure well."""
OUT_OF_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"


class Evaluation:
    """One try of evaluating the expressions of one policy: the time and the cost they may still take."""

    def __init__(self, known: dict[Question, Answer], budget: int, deadline: float, *, last: bool) -> None:
        """`last`: running out of time is an error of the expression, no reason to go on elsewhere."""
        self.known = known
        self._budget = budget
        self._deadline = deadline
        self._last = last

    def value(self, program: "Program", variables: dict[str, Any], text: str = "") -> Any:
        """
        What an expression gives; `text` is what its author wrote, if the program's is another.

        Raises:
            CelError: It gives nothing; the text is complete.
            OutOfBudgetError: Nor will any other of this policy.
        """
        try:
            return self.spend(program, variables)
        except OutOfBudgetError:
            raise
        except CelError as fault:
            raise CelError(f"expression '{text or program.expression}' resulted in error: {fault}") from None

    def spend(self, program: "Program", variables: dict[str, Any]) -> Any:
        """The same with the bare text, for a variable of another expression."""
        if self._budget <= 0:
            raise OutOfBudgetError(OUT_OF_BUDGET)
        try:
            found, cost = program.evaluate(variables, self._budget, self._deadline)
        except OutOfTimeError:
            if not self._last:
                raise _TooLongError from None
            raise
        except CostExceededError:
            self._budget -= program.limit  # what it took until then is not known here; at most this
            raise
        self._budget -= cost
        return found

    def part_of_match_conditions(self) -> "Evaluation":
        """With the budget of matchConditions, which is one of their own."""
        return Evaluation(self.known, MATCH_CONDITIONS_BUDGET, self._deadline, last=self._last)


class OutOfBudgetError(CostExceededError):
    """The budget of the whole policy is spent."""


class _TooLongError(Exception):
    """Not for the event loop."""


Work = Callable[[Evaluation], Result]
"""Evaluates everything from the start; has no effects, since it may be tried several times."""


@functools.cache
def _thread() -> ThreadPoolExecutor:
    """One, so that hostile policies stand in line."""
    return ThreadPoolExecutor(1, "expressions")


async def evaluate(work: Work[Result], budget: int, request: AdmissionRequest, authorizer: Authorizer | None) -> Result:
    """`budget` is the cost of all expressions together. Raises what `work` raises."""
    known: dict[Question, Answer] = {}
    inline = True
    while True:
        try:
            if inline:
                return _try(work, known, budget, INLINE_SECONDS, last=False)
            run = functools.partial(_try, work, known, budget, THREAD_SECONDS, last=True)
            return await asyncio.get_running_loop().run_in_executor(_thread(), run)
        except NeedsDecision as needed:
            known[needed.question] = await _answer(needed.question, request.user, authorizer)
        except _TooLongError:
            inline = False


def _try(work: Work[Result], known: dict[Question, Answer], budget: int, seconds: float, *, last: bool) -> Result:
    return work(Evaluation(known, budget, time.thread_time() + seconds, last=last))


async def _answer(question: Question, user: UserInfo, authorizer: Authorizer | None) -> Answer:
    if authorizer is None:
        return Answer(True)
    if question.account is not None:
        namespace, name = question.account
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        user = UserInfo(f"system:serviceaccount:{namespace}:{name}", groups)
    attributes = Attributes(
        user=user,
        verb=question.verb,
        group=question.group,
        version="*" if question.resource else "",
        resource=question.resource,
        subresource=question.subresource,
        namespace=question.namespace,
        name=question.name,
        path=question.path,
        label_selector=question.label_selector,
        field_selector=question.field_selector,
    )
    try:
        decision = await authorizer.authorize(attributes)
    except ApiError as fault:
        return Answer(False, error=str(fault))
    return Answer(decision.allowed, decision.reason)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the expressions of a policy may look at."""

    request: AdmissionRequest
    request_value: Object
    params: Object | None = None
    namespace: Object | None = None
    """The Namespace of a namespaced request."""

    def variables(self, known: dict[Question, Answer]) -> dict[str, Any]:
        request = self.request
        own = Question(
            group=request.resource.group, resource=request.resource.plural, subresource=request.subresource,
            namespace=request.namespace, name=request.name,
        )  # fmt: skip
        return {
            "object": request.obj,
            "oldObject": request.old,
            "request": self.request_value,
            "params": self.params,
            "namespaceObject": self.namespace,
            "authorizer": AuthorizerValue(known),
            "authorizer.requestResource": Check(known, own),
        }


def namespace_value(namespace: Object) -> Object:
    """The fields of a Namespace that expressions may see, times as times."""
    from cluster.api.cel.times import read_timestamp

    metadata = {key: value for key, value in namespace["metadata"].items() if key in _NAMESPACE_FIELDS}
    if "uid" in namespace["metadata"]:
        metadata["UID"] = namespace["metadata"]["uid"]
    for key in ("creationTimestamp", "deletionTimestamp"):
        if metadata.get(key):
            metadata[key] = read_timestamp(metadata[key])
    return {
        "metadata": metadata,
        "spec": namespace.get("spec") or {},
        "status": {"phase": (namespace.get("status") or {}).get("phase", "")},
    }


_NAMESPACE_FIELDS = frozenset(
    {"name", "generateName", "namespace", "labels", "annotations", "creationTimestamp", "deletionGracePeriodSeconds",
     "deletionTimestamp", "generation", "resourceVersion", "finalizers"}
)  # fmt: skip
