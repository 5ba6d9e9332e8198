"""Take secrets out of text before it leaves a host or this machine. Pure."""

import re
from collections.abc import Iterable

MARK = "<redacted>"
_SHORTEST = 8
"""Shorter values are too common to be looked for."""

_PATTERNS = (
    re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?-----END [A-Z0-9 ]*PRIVATE KEY-----", re.S),
    # Half a key, where a log was cut.
    re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[A-Za-z0-9+/=\s]*"),
    re.compile(r"\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*"),  # a JWT
    re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b"),  # a bootstrap token
)
_VALUES = re.compile(
    r"(?i)((?:authorization|bearer|password|passwd|secret|token|api[-_]?key|client-key-data|private[-_]?key)"
    r"[\"']?\s*[:=]\s*(?:basic |bearer )?)([\"']?)([^\s\"',;}]{4,})"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+([A-Za-z0-9._~+/=-]{8,})")


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """
    The text without what looks like a secret, and without `secrets` themselves.

    Names of files and objects stay: what is said about a secret is no secret.
    """
    for secret in secrets:
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, MARK)
    for pattern in _PATTERNS:
        text = pattern.sub(MARK, text)
    text = _BEARER.sub(rf"\1 {MARK}", text)
    return _VALUES.sub(_keep_paths, text)


def _keep_paths(found: "re.Match[str]") -> str:
    value = found[3]
    # A path says where, and a plain word is part of a sentence: "*v1.Secret: secrets is forbidden".
    if value.startswith(("/", MARK)) or (not found[2] and value.isalpha() and value.islower()):
        return found[0]
    return f"{found[1]}{found[2]}{MARK}"
