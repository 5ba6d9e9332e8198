"""
What expressions may use, and how a text becomes a program.

Parsing and type checking are Google's C++ engine's, which takes 10 MB and is therefore loaded by the first expression;
evaluation is `interpreter`'s, because the engine counts no costs and cannot be stopped.
Source: k8s.io/apiserver, pkg/cel/environment/base.go (the libraries and their versions).
"""

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cluster.api.cel import authorizer, costs, jsonpatch, lists, measures, named_formats, network, operators, strings
from cluster.api.cel.interpreter import Frame, Interpreter, Meter, Step
from cluster.api.cel.syntax import Checked, Node, read_checked, read_parsed
from cluster.api.cel.values import CelError, CompileError, EvaluationError

LIBRARIES = (strings, lists, network, measures, named_formats, authorizer, jsonpatch)
OPAQUE = ("net.IP", "net.CIDR", "kubernetes.URL", "kubernetes.Quantity", "kubernetes.Semver")
"""Types that expressions can compare with: `type(x) == net.IP`."""
_CONFIGURATION = """
name: kubernetes
extensions:
- name: sets
- name: two-var-comprehensions
stdlib:
  exclude_functions:
  - name: string
"""
"""`string` is declared here with all its overloads, since the engine lets nobody add some to its own."""
_DECLARATION = re.compile(r"(?P<name>[^()]+)\((?P<params>[^()]*)\) (?P<result>.+)")
_RECEIVER = re.compile(r"(?P<type>string|list<.*>|(?:kubernetes|net)\..*)\.(?P<name>\w+)")
_NAMED = {"bool": "BOOL", "int": "INT", "uint": "UINT", "double": "DOUBLE", "string": "STRING", "bytes": "BYTES",
          "dyn": "DYN", "duration": "DURATION", "timestamp": "TIMESTAMP",
          "null_type": "NULL", "type": "TYPE"}  # fmt: skip
_NO_FIELD = re.compile(r"undefined field '([^']*)' not found in struct '[^']*'")
_UNDECLARED = re.compile(r"undeclared reference to '(\w+)\.[^']*'")
_LONGEST_EXPRESSION = 100_000


@dataclass(frozen=True)
class Program:
    """A compiled expression."""

    expression: str
    result: str
    """The name of its type: `bool`, `list(string)`, `dyn`, `Object` …"""
    checked: Checked
    _run: Step
    limit = costs.PER_CALL_LIMIT

    def evaluate(
        self, variables: Frame, limit: int = costs.PER_CALL_LIMIT, deadline: float | None = None
    ) -> tuple[Any, int]:
        """
        The value and what it cost; `deadline` is the latest `time.thread_time()`.

        Raises:
            CelError: No value, with upstream's text.
            NeedsDecision: An answer of the authorizer is missing.
        """
        meter = Meter(min(limit, costs.PER_CALL_LIMIT), deadline)
        try:
            return self._run(variables, meter), meter.used
        except RecursionError:
            raise EvaluationError("the values are nested too deeply") from None


@dataclass(frozen=True, slots=True)
class Environment:
    """Names that expressions may use. Made once, used for many expressions."""

    variables: tuple[tuple[str, str], ...]
    """With their types; `dyn` where nothing is known."""
    messages: Any = None
    """A descriptor pool with the types of schemas, see `schema_types`."""
    structs: Mapping[str, str] = field(default_factory=dict, compare=False, hash=False)

    def compile(self, expression: str) -> Program:
        """Raises CompileError."""
        return _compile(self, expression)


def dynamic(*names: str, **typed: str) -> Environment:
    """An environment of variables without known types, and others with one."""
    return Environment((*((name, "dyn") for name in names), *typed.items()))


@functools.lru_cache(maxsize=4096)
def _compile(environment: Environment, expression: str) -> Program:
    if len(expression) > _LONGEST_EXPRESSION:
        raise CompileError(
            f"expression code point size exceeds limit: size: {len(expression)}, limit {_LONGEST_EXPRESSION}"
        )
    try:
        compiled = _engine(environment).compile(expression)
    except RuntimeError as fault:
        raise CompileError(engine_text(str(fault))) from None
    try:
        checked = read_checked(compiled.serialize())
        run = Interpreter(functions(), environment.structs).build(checked.root)
    except CelError as fault:
        raise CompileError(f"ERROR: <input>:1:1: {fault}") from None
    except RecursionError:
        raise CompileError("ERROR: <input>:1:1: the expression is nested too deeply; shorten it") from None
    return Program(expression, shown_type(compiled.return_type().name()), checked, run)


def parse(expression: str) -> Node:
    """The tree of an expression whose names are not looked at. Raises CompileError."""
    try:
        compiled = _engine(dynamic()).compile(expression, disable_check=True)
    except RuntimeError as fault:
        raise CompileError(engine_text(str(fault))) from None
    try:
        return read_parsed(compiled.serialize())
    except RecursionError:
        raise CompileError("ERROR: <input>:1:1: the expression is nested too deeply; shorten it") from None


def engine_text(text: str) -> str:
    """The engine's words in the form of upstream's."""
    why = text.removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]")
    return _UNDECLARED.sub(r"undeclared reference to '\1'", _NO_FIELD.sub(r"undefined field '\1'", why))


_SHOWN = {"DYN": "dyn", "NULL": "null_type", "TIMESTAMP": "google.protobuf.Timestamp",
          "DURATION": "google.protobuf.Duration"}  # fmt: skip


def shown_type(name: str) -> str:
    """`LIST<STRING>` -> `list(string)`."""
    text = re.sub(r"\b[A-Z]+\b", lambda found: _SHOWN.get(found.group(), found.group().lower()), name)
    return text.replace("<", "(").replace(">", ")")


@functools.cache
def functions() -> Mapping[str, Callable[..., Any]]:
    found = dict(operators.FUNCTIONS)
    for library in LIBRARIES:
        found.update(library.FUNCTIONS)
    return found


@functools.lru_cache(maxsize=256)
def _engine(environment: Environment) -> Any:
    from cel_expr_python import cel
    from cel_expr_python.ext import ext_optional

    config = cel.NewEnvConfigFromYaml(_CONFIGURATION)
    return cel.NewEnv(
        descriptor_pool=environment.messages,
        config=config,
        variables={
            **dict.fromkeys(OPAQUE, cel.Type.DYN),  # the engine knows no type of such a type
            **{name: _type(kind) for name, kind in environment.variables},
        },
        extensions=[ext_optional.ExtOptional()],
        functions=_declared(),
    )


@functools.cache
def _declared() -> list[Any]:
    from cel_expr_python import cel

    overloads: dict[str, list[Any]] = {}
    for library in LIBRARIES:
        for line in filter(None, library.DECLARED.splitlines()):
            found = _DECLARATION.fullmatch(line)
            if found is None:
                raise AssertionError(f"no declaration: {line}")
            name, params = found["name"], [_type(one) for one in _split(found["params"])]
            receiver = _RECEIVER.fullmatch(name)
            if receiver is not None:
                name = receiver["name"]
                params.insert(0, _type(receiver["type"]))
            known = overloads.setdefault(name, [])
            known.append(
                cel.Overload(
                    f"kubernetes_{name}_{len(known)}",
                    return_type=_type(found["result"]),
                    parameters=params,
                    is_member=receiver is not None,
                )
            )
    return [cel.FunctionDecl(name, found) for name, found in overloads.items()]


def _split(text: str) -> list[str]:
    """At the commas outside of brackets."""
    return [part for part in re.split(r",(?![^<]*>)", text) if part]


def _type(text: str) -> Any:
    from cel_expr_python import cel

    kinds = cel.Type
    if text in _NAMED:
        return getattr(kinds, _NAMED[text])
    if text.startswith("list<"):
        return kinds.List(_type(text[5:-1]))
    if text.startswith("map<"):
        key, value = _split(text[4:-1])
        return kinds.Map(_type(key), _type(value))
    if text.startswith(("kubernetes.", "net.")):
        return kinds.AbstractType(text)
    return kinds(text)
