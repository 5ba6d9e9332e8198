"""
Compiles rules of the Common Expression Language, as `x-kubernetes-validations` has them.

The engine is C++ and takes 10 MB, so it is loaded when the first rule is compiled. Kubernetes' own functions are added
here, save `format`, `ip`, `cidr`, `semver` and `indexOf` of lists; a rule that needs one of those is an
`UnsupportedRuleError`.
Source: k8s.io/apiserver, pkg/cel/library.
"""

import functools
import ipaddress
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cluster.api.structural_schema.patterns import BadPatternError, finder
from cluster.machinery.quantity import QuantityError, parse_quantity

_STRINGS = re.compile(r"""[rRbB]*("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')""")
_OLD_SELF = re.compile(r"\boldSelf\b")
_NOT_OURS = ("undeclared reference", "found no matching overload")


class BadRuleError(ValueError):
    """The text is no expression."""


class UnsupportedRuleError(ValueError):
    """The expression uses what this server does not have."""


def uses_old(rule: str) -> bool:
    """Is it about a change, so that it only holds for updates?"""
    return _OLD_SELF.search(_STRINGS.sub("", rule)) is not None


Evaluate = Callable[[dict[str, Any]], Any]
"""From variables to the result. Raises ValueError with the engine's text."""


@functools.lru_cache(maxsize=4096)
def compile_rule(rule: str, *, optional_old: bool = False) -> Evaluate:
    """
    Make a rule ready to run. Its variables are `self` and `oldSelf`, or with `optional_old` `__old` and `__has_old`.

    Raises BadRuleError, UnsupportedRuleError.
    """
    from cel_expr_python import cel

    text = rule
    if optional_old:
        text = f"cel.bind(oldSelf, __has_old ? optional.of(__old) : optional.none(), {rule})"
    environment = _environment()
    try:
        compiled = environment.compile(text)
    except RuntimeError as fault:
        why = str(fault).removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]")
        if any(mark in why for mark in _NOT_OURS):
            raise UnsupportedRuleError(why) from None
        raise BadRuleError(why) from None
    failed = cel.Type.ERROR

    def evaluate(variables: dict[str, Any]) -> Any:
        result = compiled.eval(data=variables)
        if result.type() == failed:
            raise ValueError(_go_text(str(result.value())))
        return result.plain_value()

    return evaluate


_ERRORS = (
    (re.compile(r'Key not found in map : "?(.*?)"?$'), r"no such key: \1"),
    (re.compile(r"Index error: index=(-?\d+).*"), r"index out of bounds: \1"),
    (re.compile(r"No matching overloads found.*"), "no such overload"),
    (re.compile(r"divide by zero"), "division by zero"),
)


def _go_text(text: str) -> str:
    why = re.sub(r"^[A-Z_]+: ", "", text)
    for pattern, replacement in _ERRORS:
        if pattern.search(why):
            return pattern.sub(replacement, why)
    return why


_Function = tuple[str, list[tuple[Sequence[Any], Any, Callable[..., Any], bool]]]
"""Name and overloads: types of the parameters and of the result, what to call, and whether the first is a receiver."""


@functools.cache
def _environment() -> Any:
    from cel_expr_python import cel
    from cel_expr_python.ext import ext_bindings, ext_encoders, ext_math, ext_optional, ext_strings

    kinds = cel.Type
    dyn, text, flag, number = kinds.DYN, kinds.STRING, kinds.BOOL, kinds.INT
    items, record = kinds.List(dyn), kinds.Map(text, text)
    functions: list[_Function] = [
        ("sum", [([items], dyn, _sum, True)]),
        ("min", [([items], dyn, min, True)]),
        ("max", [([items], dyn, max, True)]),
        ("isSorted", [([items], flag, _is_sorted, True)]),
        ("find", [([text, text], text, _find, True)]),
        ("findAll", [([text, text], kinds.List(text), _find_all, True),
                     ([text, text, number], kinds.List(text), _find_all, True)]),
        ("isURL", [([text], flag, _succeeds(_url), False)]),
        ("url", [([text], record, _url, False)]),
        *[_url_function(name, record, text) for name in _URL_PARTS],
        ("getQuery", [([record], kinds.Map(text, kinds.List(text)), _url_query, True)]),
        ("isIP", [([text], flag, _succeeds(ipaddress.ip_address), False)]),
        ("isCIDR", [([text], flag, _succeeds(_network), False)]),
        ("isQuantity", [([text], flag, _succeeds(parse_quantity), False)]),
        ("quantity", [([text], record, _quantity, False)]),
        ("isGreaterThan", [([record, record], flag, lambda a, b: _amount(a) > _amount(b), True)]),
        ("isLessThan", [([record, record], flag, lambda a, b: _amount(a) < _amount(b), True)]),
        ("compareTo", [([record, record], number, _compare, True)]),
        ("sign", [([record], number, lambda a: (_amount(a) > 0) - (_amount(a) < 0), True)]),
        ("asInteger", [([record], number, lambda a: int(_amount(a)), True)]),
    ]  # fmt: skip
    declared = [
        cel.FunctionDecl(
            name,
            [
                cel.Overload(f"{name}_{at}", return_type=result, parameters=list(taken), is_member=member, impl=run)
                for at, (taken, result, run, member) in enumerate(overloads)
            ],
        )
        for name, overloads in functions
    ]
    admission = ("object", "oldObject", "request", "params", "namespaceObject", "authorizer", "variables")
    variables = {"self": dyn, "oldSelf": dyn, "__old": dyn, "__has_old": flag, **dict.fromkeys(admission, dyn)}
    extensions = [
        ext_strings.ExtStrings(),
        ext_math.ExtMath(),
        ext_optional.ExtOptional(),
        ext_encoders.ExtEncoders(),
        ext_bindings.ExtBindings(),
    ]
    return cel.NewEnv(variables=variables, extensions=extensions, functions=declared)


def _succeeds(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except (ValueError, QuantityError):
            return False
        return True

    return check


def _sum(items: list[Any]) -> Any:
    return sum(items)


def _is_sorted(items: list[Any]) -> bool:
    return all(left <= right for left, right in itertools.pairwise(items))


def _find(text: str, pattern: str) -> str:
    return next(iter(_find_all(text, pattern, 1)), "")


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    try:
        found = finder(pattern)(text)
    except BadPatternError as fault:
        raise ValueError(f"Illegal regex: {fault}") from None
    return found if limit < 0 else found[:limit]


def _url(text: str) -> dict[str, str]:
    parts = urlsplit(text)
    if not parts.scheme and not text.startswith("/"):
        raise ValueError(f'URL parse error during conversion from string: parse "{text}": invalid URI for request')
    _ = parts.port
    return {"url": text}


_URL_PARTS = ("getScheme", "getHost", "getHostname", "getPort", "getEscapedPath")


def _url_part(name: str, found: dict[str, str]) -> str:
    parts = urlsplit(found["url"])
    match name:
        case "getScheme":
            return parts.scheme
        case "getHost":
            return parts.netloc.rpartition("@")[2]
        case "getHostname":
            return parts.hostname or ""
        case "getPort":
            return str(parts.port or "")
        case _:
            return parts.path


def _url_function(name: str, url: Any, text: Any) -> _Function:
    return name, [([url], text, functools.partial(_url_part, name), True)]


def _url_query(found: dict[str, str]) -> dict[str, list[str]]:
    return parse_qs(urlsplit(found["url"]).query, keep_blank_values=True)


def _network(text: str) -> object:
    if "/" not in text:
        raise ValueError(f"{text!r} has no prefix length")
    return ipaddress.ip_network(text, strict=False)


def _quantity(text: str) -> dict[str, str]:
    parse_quantity(text)
    return {"quantity": text}


def _compare(left: dict[str, str], right: dict[str, str]) -> int:
    first, second = _amount(left), _amount(right)
    return 1 if first > second else -1 if first < second else 0


def _amount(found: dict[str, str]) -> Any:
    return parse_quantity(found["quantity"])
