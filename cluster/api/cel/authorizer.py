"""
`authorizer` in expressions: may the user of this request, or a service account, do something?

The decisions are asked for outside: an expression that needs one that is not known yet stops with `NeedsDecision`, and
runs again when it is. Source: k8s.io/apiserver, pkg/cel/library/authz.go.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from cluster.api.cel.values import EvaluationError, Opaque, no_overload
from cluster.machinery import names


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked; hashable, so that it is asked once."""

    account: tuple[str, str] | None = None
    """Namespace and name of a service account, None for the request's user."""
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    verb: str = ""
    label_selector: str = ""
    field_selector: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    allowed: bool
    reason: str = ""
    error: str = ""


class NeedsDecision(Exception):
    def __init__(self, question: Question) -> None:
        super().__init__(f"undecided: {question}")
        self.question = question


Known = Mapping[Question, Answer]


@dataclass(frozen=True, slots=True)
class AuthorizerValue(Opaque):
    known: Known = field(compare=False)
    account: tuple[str, str] | None = None
    type_name: ClassVar[str] = "kubernetes.authorization.Authorizer"


@dataclass(frozen=True, slots=True)
class GroupCheck(Opaque):
    known: Known = field(compare=False)
    question: Question = field(default_factory=Question)
    type_name: ClassVar[str] = "kubernetes.authorization.GroupCheck"


@dataclass(frozen=True, slots=True)
class Check(Opaque):
    """Of a path or of a resource."""

    known: Known = field(compare=False)
    question: Question = field(default_factory=Question)
    type_name: ClassVar[str] = "kubernetes.authorization.ResourceCheck"


@dataclass(frozen=True, slots=True)
class DecisionValue(Opaque):
    answer: Answer
    type_name: ClassVar[str] = "kubernetes.authorization.Decision"


def _path(authorizer: Any, path: str) -> Check:
    if not isinstance(authorizer, AuthorizerValue):
        raise no_overload()
    if not path:
        raise EvaluationError("path must not be empty")
    return Check(authorizer.known, Question(authorizer.account, path=path))


def _group(authorizer: Any, group: str) -> GroupCheck:
    if not isinstance(authorizer, AuthorizerValue):
        raise no_overload()
    return GroupCheck(authorizer.known, Question(authorizer.account, group=group))


def _service_account(authorizer: Any, namespace: str, name: str) -> AuthorizerValue:
    if not isinstance(authorizer, AuthorizerValue):
        raise no_overload()
    for kind, text, check in (("name", name, names.dns_subdomain), ("namespace", namespace, names.dns_label)):
        if check(text):
            raise EvaluationError(f"Invalid service account {kind}")
    return AuthorizerValue(authorizer.known, (namespace, name))


def _resource(check: Any, resource: str) -> Check:
    if not isinstance(check, GroupCheck):
        raise no_overload()
    return Check(check.known, replace(check.question, resource=resource))


def _narrowed(key: str) -> Callable[[Any, str], Check]:
    def narrow(check: Any, value: str) -> Check:
        if not isinstance(check, Check) or not isinstance(value, str):
            raise no_overload()
        changed: dict[str, Any] = {key: value}
        return Check(check.known, replace(check.question, **changed))

    return narrow


def _check(check: Any, verb: str) -> DecisionValue:
    if not isinstance(check, Check) or not isinstance(verb, str):
        raise no_overload()
    question = replace(check.question, verb=verb)
    if question not in check.known:
        raise NeedsDecision(question)
    return DecisionValue(check.known[question])


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "path": _path,
    "group": _group,
    "serviceAccount": _service_account,
    "resource": _resource,
    "subresource": _narrowed("subresource"),
    "namespace": _narrowed("namespace"),
    "name": _narrowed("name"),
    "labelSelector": _narrowed("label_selector"),
    "fieldSelector": _narrowed("field_selector"),
    "check": _check,
    "allowed": lambda decision: decision.answer.allowed,
    "reason": lambda decision: decision.answer.reason,
    "errored": lambda decision: bool(decision.answer.error),
    "error": lambda decision: decision.answer.error,
}
_AUTHORIZER, _GROUP, _PATH, _RESOURCE, _DECISION = (
    f"kubernetes.authorization.{name}"
    for name in ("Authorizer", "GroupCheck", "PathCheck", "ResourceCheck", "Decision")
)
DECLARED = f"""
{_AUTHORIZER}.path(string) {_PATH}
{_PATH}.check(string) {_DECISION}
{_AUTHORIZER}.serviceAccount(string,string) {_AUTHORIZER}
{_AUTHORIZER}.group(string) {_GROUP}
{_GROUP}.resource(string) {_RESOURCE}
{_RESOURCE}.subresource(string) {_RESOURCE}
{_RESOURCE}.namespace(string) {_RESOURCE}
{_RESOURCE}.name(string) {_RESOURCE}
{_RESOURCE}.labelSelector(string) {_RESOURCE}
{_RESOURCE}.fieldSelector(string) {_RESOURCE}
{_RESOURCE}.check(string) {_DECISION}
{_DECISION}.allowed() bool
{_DECISION}.reason() string
{_DECISION}.errored() bool
{_DECISION}.error() string
"""
