"""
Field selectors: `status.phase=Running,spec.nodeName!=n1`.

Which fields a resource can be selected by is its strategy's business; here is the language only.
Source: k8s.io/apimachinery, pkg/fields.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from cluster.machinery.status_errors import BadRequest


@dataclass(frozen=True, slots=True)
class Term:
    field: str
    value: str
    equal: bool


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """All terms must hold; none select everything."""

    terms: tuple[Term, ...] = ()

    @staticmethod
    def parse(text: str) -> "FieldSelector":
        """Raises BadRequest for a term without an operator or with a bad escape."""
        return FieldSelector(tuple(_parse_term(term) for term in _split_terms(text) if term))

    def matches(self, fields: Mapping[str, str]) -> bool:
        """`fields` has every selectable field of the object as text; a missing one is empty."""
        return all((fields.get(term.field, "") == term.value) is term.equal for term in self.terms)

    def require_known(self, known: Collection[str]) -> None:
        """Raises BadRequest when a term names a field that the resource cannot be selected by."""
        for term in self.terms:
            if term.field not in known:
                listed = ", ".join(f'"{name}"' for name in known)
                raise BadRequest(f'"{term.field}" is not a known field selector: only {listed}')

    def exact(self, field: str) -> str | None:
        """The value that the field must have, when a term demands one: a name or node to look up by index."""
        return next((term.value for term in self.terms if term.equal and term.field == field), None)

    @property
    def empty(self) -> bool:
        return not self.terms

    def __str__(self) -> str:
        return ",".join(f"{t.field}{'=' if t.equal else '!='}{_escape(t.value)}" for t in self.terms)


def _split_terms(text: str) -> list[str]:
    """Split at commas, except escaped ones."""
    if "\\" not in text:
        return text.split(",")
    terms, start, escaped = [], 0, False
    for position, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ",":
            terms.append(text[start:position])
            start = position + 1
    return [*terms, text[start:]]


def _parse_term(text: str) -> Term:
    for position in range(len(text)):
        for operator in ("!=", "==", "="):
            if text.startswith(operator, position):
                value = _unescape(text[position + len(operator) :])
                return Term(text[:position], value, operator != "!=")
    raise BadRequest(f"invalid selector: '{text}'; can't understand '{text}'")


def _unescape(value: str) -> str:
    if not any(special in value for special in "\\,="):
        return value
    out, escaped = [], False
    for character in value:
        if escaped:
            if character not in "\\,=":
                raise BadRequest(f"invalid field selector: invalid escape sequence: \\{character}")
            out.append(character)
            escaped = False
        elif character == "\\":
            escaped = True
        elif character in ",=":
            raise BadRequest(f"invalid field selector: unescaped character in value: {character}")
        else:
            out.append(character)
    if escaped:
        raise BadRequest("invalid field selector: invalid escape sequence: \\")
    return "".join(out)


def _escape(value: str) -> str:
    return "".join(f"\\{character}" if character in "\\,=" else character for character in value)
