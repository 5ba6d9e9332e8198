"""
Regular expressions that clients write, run by a linear engine: no pattern can stop the server.

RE2 is what upstream's Go uses, so the same patterns are accepted. It is loaded when a schema first has a pattern.
"""

import functools
from collections.abc import Callable
from typing import Any


class BadPatternError(ValueError):
    """The text is no regular expression that RE2 takes."""


def searcher(pattern: str) -> Callable[[str], bool]:
    """Does a text contain a match? Raises BadPatternError."""
    compiled = _compiled(pattern)
    return lambda text: compiled.search(text) is not None


def finder(pattern: str) -> Callable[[str], list[str]]:
    """All matches in a text. Raises BadPatternError."""
    compiled = _compiled(pattern)
    return lambda text: [found.group() for found in compiled.finditer(text)]


@functools.lru_cache(maxsize=2048)
def _compiled(pattern: str) -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as fault:
        text = fault.args[0] if fault.args else ""
        raise BadPatternError(text.decode() if isinstance(text, bytes) else str(text)) from None
