"""
Whether a transaction's comparisons hold, and what etcd refuses, in etcd's words. Pure.
"""

from collections.abc import Container, Sequence
from typing import Any

from cluster.store.backend import StoreError
from cluster.store.generated import etcd_pb2 as pb

MAX_REQUEST_BYTES = 1_572_864
"""etcd's limit of one request; the same here, so that what is written on one can be written on the other."""

COMPACTED = "etcdserver: mvcc: required revision has been compacted"
FUTURE = "etcdserver: mvcc: required revision is a future revision"
NO_SPACE = "etcdserver: mvcc: database space exceeded"
_DUPLICATE = "etcdserver: duplicate key given in txn request"

_COMPARED = {
    pb.Compare.VERSION: "version",
    pb.Compare.CREATE: "create_revision",
    pb.Compare.MOD: "mod_revision",
    pb.Compare.VALUE: "value",
    pb.Compare.LEASE: "lease",
}


def holds(compare: Any, current: Any | None) -> bool:
    """`current` is the key's KeyValue, None for a key that does not exist: its numbers are 0, its value is no value."""
    if compare.target == pb.Compare.VALUE and current is None:
        return False
    name = _COMPARED[compare.target]
    have = 0 if current is None else getattr(current, name)
    wanted = getattr(compare, name)
    if compare.result == pb.Compare.EQUAL:
        return bool(have == wanted)
    if compare.result == pb.Compare.NOT_EQUAL:
        return bool(have != wanted)
    return bool(have > wanted) if compare.result == pb.Compare.GREATER else bool(have < wanted)


def check(operations: Sequence[Any], leases: Container[int], *, takes_puts: bool) -> list[int]:
    """
    Refuse a transaction before anything of it is written. Raises StoreError.

    Returns:
        The revisions that it reads at.
    """
    puts = [operation.request_put for operation in operations if operation.HasField("request_put")]
    spans = [o.request_delete_range for o in operations if o.HasField("request_delete_range")]
    keys = {put.key for put in puts}
    if b"" in keys:
        raise StoreError("etcdserver: key is not provided")
    if len(keys) < len(puts) or any(_covers(span, key) for span in spans for key in keys):
        raise StoreError(_DUPLICATE)
    if any(put.lease and put.lease not in leases for put in puts):
        raise StoreError("etcdserver: requested lease not found")
    if sum(len(put.key) + len(put.value) for put in puts) > MAX_REQUEST_BYTES:
        raise StoreError("etcdserver: request is too large")
    if puts and not takes_puts:
        raise StoreError(NO_SPACE, full=True)
    return [operation.request_range.revision for operation in operations if operation.HasField("request_range")]


def _covers(span: Any, key: bytes) -> bool:
    if not span.range_end:
        return bool(span.key == key)
    return bool(span.key <= key and (span.range_end == b"\0" or key < span.range_end))
