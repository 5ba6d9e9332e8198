"""
`jsonpatch.escapeKey`, for paths of JSON patches.

Source: k8s.io/apiserver, pkg/cel/library/jsonpatch.go.
"""

from collections.abc import Callable
from typing import Any

from cluster.api.cel.values import no_overload


def _escape(text: Any) -> str:
    if not isinstance(text, str):
        raise no_overload()
    return text.replace("~", "~0").replace("/", "~1")


FUNCTIONS: dict[str, Callable[..., Any]] = {"jsonpatch.escapeKey": _escape}
DECLARED = "jsonpatch.escapeKey(string) string"
