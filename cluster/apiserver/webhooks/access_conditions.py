"""
Conditions under which an authorization webhook is asked: expressions over `request`, a SubjectAccessReview's spec.

Source: k8s.io/apiserver, pkg/authorization/cel.
"""

from typing import Any

from cluster.api.cel.environment import dynamic
from cluster.api.cel.values import CelError
from cluster.machinery.objects import Object

_ENVIRONMENT = dynamic("request")


def check(expression: str) -> None:
    """Raises ValueError for what is no expression."""
    try:
        _ENVIRONMENT.compile(expression)
    except CelError as fault:
        raise ValueError(str(fault)) from None


def value(expression: str, spec: Object) -> Any:
    """Raises ValueError with the reason when it has none."""
    request = {"user": "", "uid": "", "groups": [], "extra": {}, **spec}
    if "resourceAttributes" in spec:
        # Absent texts are empty ones, as in upstream's type.
        names = ("namespace", "verb", "group", "version", "resource", "subresource", "name")
        request["resourceAttributes"] = {**dict.fromkeys(names, ""), **spec["resourceAttributes"]}
    try:
        return _ENVIRONMENT.compile(expression).evaluate({"request": request})[0]
    except CelError as fault:
        raise ValueError(f"expression '{expression}' resulted in error: {fault}") from None
