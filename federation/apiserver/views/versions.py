"""
One token for what several members say: their resourceVersions, and where the next page of each begins.

Pure. Clients take both for opaque; nothing in them is secret, and what a client makes up can only select what it may
read anyway.
"""

import base64
import binascii
from collections.abc import Mapping

import orjson

from cluster.machinery.status_errors import BadRequest

_LIMIT = 64 * 1024


def pack(by_cluster: Mapping[str, str]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(by_cluster, option=orjson.OPT_SORT_KEYS)).rstrip(b"=").decode()


def unpack(token: str) -> dict[str, str] | None:
    """None for what `pack` has not made: a number, or another server's token."""
    if len(token) > _LIMIT:
        return None
    try:
        found = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError):
        return None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        return None
    return found


def unpack_continue(token: str) -> dict[str, str]:
    """Raises BadRequest."""
    found = unpack(token)
    if not found:
        raise BadRequest("invalid continue token: continue key is not valid: this list has not given it")
    return found
