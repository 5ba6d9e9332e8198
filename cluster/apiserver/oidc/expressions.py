"""
Expressions over a token's claims and over the user that they make.

Source: k8s.io/apiserver, pkg/authentication/cel.
"""

from typing import Any

from cluster.api.cel.environment import Environment, dynamic
from cluster.api.cel.values import CelError

_ENVIRONMENTS: dict[str, Environment] = {name: dynamic(name) for name in ("claims", "user")}


def check(expression: str, variable: str) -> None:
    """Raises ValueError for what is no expression over `claims` or `user`."""
    try:
        _ENVIRONMENTS[variable].compile(expression)
    except CelError as fault:
        raise ValueError(str(fault)) from None


def value(expression: str, variables: dict[str, Any]) -> Any:
    """What it makes of one variable. Raises ValueError with the reason when it makes nothing."""
    (variable,) = variables
    try:
        return _ENVIRONMENTS[variable].compile(expression).evaluate(variables)[0]
    except CelError as fault:
        raise ValueError(str(fault)) from None
