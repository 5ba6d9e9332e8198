"""
Short names for Pod templates, and when two templates are the same. Pure.

The alphabet is upstream's (no vowels, so no words); the hash is over our own canonical form, since nobody but the
controller that made a hash reads it.
"""

from typing import Any

import orjson

from cluster.machinery.objects import Object

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
HASH_LABEL = "pod-template-hash"


def without_empty(value: Any) -> Any:
    """The same value without nulls, empty lists and maps: they mean the same as being absent."""
    if isinstance(value, dict):
        cleaned = {key: without_empty(inner) for key, inner in value.items()}
        return {key: inner for key, inner in cleaned.items() if inner is not None and inner != {} and inner != []}
    if isinstance(value, list):
        return [without_empty(inner) for inner in value]
    return value


def canonical(template: Object, *ignored_labels: str) -> bytes:
    """Equal bytes for templates that make equal Pods."""
    cleaned = without_empty(template)
    metadata = dict(cleaned.get("metadata") or {})
    metadata.pop("creationTimestamp", None)
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key not in ignored_labels}
    metadata["labels"] = labels
    return orjson.dumps({**cleaned, "metadata": metadata}, option=orjson.OPT_SORT_KEYS)


def same_template(one: Object, other: Object) -> bool:
    return canonical(one, HASH_LABEL) == canonical(other, HASH_LABEL)


def fnv32a(data: bytes) -> int:
    value = 0x811C9DC5
    for byte in data:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def template_hash(template: Object, collisions: int = 0) -> str:
    """Up to ten letters and digits; `collisions` of a status makes a fresh one after a clash of names."""
    data = canonical(template, HASH_LABEL) + (str(collisions).encode() if collisions else b"")
    return safe_encode(str(fnv32a(data)))


def safe_encode(text: str) -> str:
    return "".join(_ALPHABET[ord(letter) % len(_ALPHABET)] for letter in text)
