"""
A policy made ready to run: its criteria, and its expressions compiled, once for each generation of it.

Source: k8s.io/apiserver, pkg/admission/plugin/policy/validating/plugin.go (compilePolicy) and mutating/compilation.go;
pkg/admission/plugin/cel/composition.go for variables.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from cluster.api.cel import admission
from cluster.api.cel.environment import Program
from cluster.api.cel.interpreter import Lazy, LazyFields
from cluster.api.cel.values import CelError, CompileError, CostExceededError, EvaluationError
from cluster.apiserver.admission.evaluation import Evaluation
from cluster.apiserver.admission.match_conditions import MatchConditions
from cluster.apiserver.admission.policies.criteria import Criteria
from cluster.machinery.objects import Object

REMEMBERED = 1_000


@dataclass(frozen=True, slots=True)
class Expression:
    """A text, and its program or why there is none."""

    text: str
    program: Program | None = None
    fault: str = ""

    def value(self, evaluation: Evaluation, variables: dict[str, Any]) -> Any:
        """Raises CelError."""
        if self.program is None:
            raise CelError(f"compilation error: {self.fault}")
        return evaluation.value(self.program, variables, self.text)


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    expression: Expression


@dataclass(frozen=True, slots=True)
class Validation:
    expression: Expression
    message: str
    message_expression: Expression | None
    reason: str


@dataclass(frozen=True, slots=True)
class Mutation:
    patch_type: str
    """ApplyConfiguration or JSONPatch."""
    expression: Expression


@dataclass(frozen=True, slots=True)
class Policy:
    """Either kind; the fields of the other one are empty."""

    name: str
    fails: bool
    """The failure policy is Fail."""
    criteria: Criteria
    conditions: MatchConditions
    variables: tuple[Variable, ...]
    validations: tuple[Validation, ...]
    annotations: tuple[tuple[str, Expression], ...]
    mutations: tuple[Mutation, ...]
    reinvoke: bool
    param_kind: Object | None

    def scope(self, evaluation: Evaluation, variables: dict[str, Any]) -> dict[str, Any]:
        """The variables of a request and the policy's own, each worked out when it is first used."""
        if not self.variables:
            return variables
        composed = LazyFields()
        whole = {**variables, "variables": composed}
        for variable in self.variables:
            composed[variable.name] = Lazy(_once(variable, evaluation, whole))
        return whole


def _once(variable: Variable, evaluation: Evaluation, variables: dict[str, Any]) -> Callable[[], Any]:
    fault: EvaluationError | None = None

    def make() -> Any:
        nonlocal fault
        if fault is not None:
            raise fault
        program = variable.expression.program
        if program is None:
            why = f'composited variable "{variable.name}" fails to compile: {variable.expression.fault}'
            raise EvaluationError(why)
        try:
            return evaluation.spend(program, variables)
        except CostExceededError:
            raise
        except CelError as error:
            fault = EvaluationError(f'composited variable "{variable.name}" fails to evaluate: {error}')
            raise fault from None

    return make


class Programs:
    """Remembers what it compiled, by the policy's uid and generation."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int], Policy] = OrderedDict()

    def of(self, policy: Object) -> Policy:
        metadata = policy["metadata"]
        key = str(metadata.get("uid")), int(metadata.get("generation") or 0)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = compile_policy(policy)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return found


def compile_policy(policy: Object) -> Policy:
    spec = policy["spec"]
    params = spec.get("paramKind") is not None
    failure = spec.get("failurePolicy") or "Fail"
    compiler = _Compiler(params, composed=bool(spec.get("variables")))
    variables = []
    for one in spec.get("variables") or ():
        variables.append(variable := Variable(str(one["name"]), compiler.plain(one["expression"])))
        compiler = compiler.knowing(variable)
    return Policy(
        name=policy["metadata"]["name"],
        fails=failure != "Ignore",
        criteria=Criteria.of(spec.get("matchConstraints") or {}),
        conditions=MatchConditions(spec.get("matchConditions") or (), failure, params=params),
        variables=tuple(variables),
        validations=tuple(_validation(one, compiler) for one in spec.get("validations") or ()),
        annotations=tuple(
            (one["key"], compiler.plain(one["valueExpression"])) for one in spec.get("auditAnnotations") or ()
        ),
        mutations=tuple(_mutation(one, compiler) for one in spec.get("mutations") or ()),
        reinvoke=spec.get("reinvocationPolicy") == "IfNeeded",
        param_kind=spec.get("paramKind"),
    )


def _validation(validation: Object, compiler: "_Compiler") -> Validation:
    told = validation.get("messageExpression")
    return Validation(
        compiler.plain(validation["expression"]),
        validation.get("message") or "",
        compiler.plain(told, authorizer=False) if told else None,
        validation.get("reason") or "Invalid",
    )


def _mutation(mutation: Object, compiler: "_Compiler") -> Mutation:
    kind = mutation.get("patchType") or ""
    body = mutation.get("applyConfiguration" if kind == "ApplyConfiguration" else "jsonPatch") or {}
    return Mutation(kind, compiler.mutation(str(body.get("expression") or ""), kind))


@dataclass(frozen=True, slots=True)
class _Compiler:
    params: bool
    composed: bool
    variables: admission.Variables = ()
    """Those that an expression may use."""

    def knowing(self, variable: Variable) -> "_Compiler":
        program = variable.expression.program
        kind = "dyn" if program is None else admission.declared_type(program.result)
        return replace(self, variables=(*self.variables, (variable.name, kind)))

    def plain(self, text: str, *, authorizer: bool = True) -> Expression:
        environment = admission.environment(
            params=self.params, authorizer=authorizer, variables=self.variables, composed=self.composed
        )
        return _compiled(text, lambda: environment.compile(text))

    def mutation(self, text: str, kind: str) -> Expression:
        wanted = "Object" if kind == "ApplyConfiguration" else "list(JSONPatch)"
        return _compiled(
            text,
            lambda: admission.compile_mutation(
                text, wanted, params=self.params, variables=self.variables, composed=self.composed
            ),
        )


def _compiled(text: str, compile_text: Callable[[], Program]) -> Expression:
    try:
        return Expression(text, compile_text())
    except CompileError as fault:
        return Expression(text, fault=str(fault))
