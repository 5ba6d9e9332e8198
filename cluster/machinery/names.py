"""
What an object, a label or a port may be called. Every check returns the faults' texts, none for a good name.

Source: k8s.io/apimachinery, pkg/util/validation and pkg/api/validation/path; the texts are upstream's.
"""

import re
import secrets
from collections.abc import Callable

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")

LABEL_LIMIT = 63
SUBDOMAIN_LIMIT = 253
GENERATED_SUFFIX = 5
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels and no look-alikes, so that no generated name is a word."""

NameCheck = Callable[[str], list[str]]


def too_long(limit: int) -> str:
    return f"must be no more than {limit} bytes"


def _regex_fault(text: str, pattern: str, *examples: str) -> str:
    """Upstream's RegexError: the rule, examples and the expression itself."""
    if not examples:
        return f"{text} (regex used for validation is '{pattern}')"
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{text} (e.g. {shown}regex used for validation is '{pattern}')"


_LABEL_FAULT = _regex_fault(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character",
    _LABEL.pattern,
    "my-name",
    "123-abc",
)
_LABEL_1035_FAULT = _regex_fault(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character",
    _LABEL_1035.pattern,
    "my-name",
    "abc-123",
)
_SUBDOMAIN_FAULT = _regex_fault(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character",
    _SUBDOMAIN.pattern,
    "example.com",
)
_QUALIFIED_FAULT = _regex_fault(
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
    _QUALIFIED.pattern,
    "MyName",
    "my.name",
    "123-abc",
)
_LABEL_VALUE_FAULT = _regex_fault(
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character",
    _LABEL_VALUE.pattern,
    "MyValue",
    "my_value",
    "12345",
)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def dns_label(name: str) -> list[str]:
    """RFC 1123 label: namespaces, containers, volumes."""
    faults = [too_long(LABEL_LIMIT)] if _size(name) > LABEL_LIMIT else []
    if not _LABEL.fullmatch(name):
        # Upstream lets a subdomain's text win when the dot is the only fault, so that the reader sees which rule it is.
        faults.append("must not contain dots" if _SUBDOMAIN.fullmatch(name) else _LABEL_FAULT)
    return faults


def dns_1035_label(name: str) -> list[str]:
    """RFC 1035 label: Services, CRD plurals."""
    faults = [too_long(LABEL_LIMIT)] if _size(name) > LABEL_LIMIT else []
    if not _LABEL_1035.fullmatch(name):
        faults.append(_LABEL_1035_FAULT)
    return faults


def dns_subdomain(name: str) -> list[str]:
    """RFC 1123 subdomain: the names of most objects."""
    faults = [too_long(SUBDOMAIN_LIMIT)] if _size(name) > SUBDOMAIN_LIMIT else []
    if not _SUBDOMAIN.fullmatch(name):
        faults.append(_SUBDOMAIN_FAULT)
    return faults


def path_segment(name: str) -> list[str]:
    """Names that only have to fit into a URL path: RBAC objects, CSRs."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{bad}'" for bad in ("/", "%") if bad in name]


def as_prefix(check: NameCheck) -> NameCheck:
    """The same rule for a generateName: what is cut off by the suffix may end in a dash."""

    def check_prefix(prefix: str) -> list[str]:
        return check(prefix[:-1] + "a" if len(prefix) > 1 and prefix.endswith("-") else prefix)

    return check_prefix


def qualified_name(name: str) -> list[str]:
    """Label and annotation keys, taint keys, extended resources: `[prefix/]name`."""
    faults: list[str] = []
    parts = name.split("/")
    if len(parts) == 2:
        prefix, name = parts
        if not prefix:
            faults.append("prefix part must be non-empty")
        else:
            faults.extend(f"prefix part {fault}" for fault in dns_subdomain(prefix))
    elif len(parts) > 2:
        return [
            f"a qualified name {_QUALIFIED_FAULT.removesuffix(')')})"
            " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    if not name:
        faults.append("name part must be non-empty")
    elif _size(name) > LABEL_LIMIT:
        faults.append(f"name part {too_long(LABEL_LIMIT)}")
    if not _QUALIFIED.fullmatch(name):
        faults.append(f"name part {_QUALIFIED_FAULT}")
    return faults


def label_value(value: str) -> list[str]:
    faults = [too_long(LABEL_LIMIT)] if _size(value) > LABEL_LIMIT else []
    if not _LABEL_VALUE.fullmatch(value):
        faults.append(_LABEL_VALUE_FAULT)
    return faults


def generate(prefix: str) -> str:
    """A name for a generateName: the prefix, cut to fit, and five random characters."""
    suffix = "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(GENERATED_SUFFIX))
    return prefix[: LABEL_LIMIT - GENERATED_SUFFIX] + suffix
