"""
What a store is: keys with revisions, transactions, leases and watches, as etcd's v3 API has them.

`etcd_client` is one over the network, for clusters; `embedded` is one in this process, for a control plane of a
single process. Callers get theirs from `opening.open_backend` and never ask which it is.

Answers are etcd's own protobuf messages, and so are the parts of a transaction. The alternative, dataclasses of
ours, would have to be filled for every key that etcd sends, on the path of every write and of every event, to say
the same again; etcd's wire contract is the one description of these semantics that is written down, tested and
stable, and the embedded store fills the messages it needs in C just as well. The Protocols below name the fields
that callers may rely on, so that nobody needs the .proto to read them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cluster.store.errors import StoreError as StoreError
from cluster.store.generated import etcd_pb2 as pb


@dataclass(frozen=True, slots=True)
class WatchControl:
    """What can be done to an open watch."""

    ask_progress: Callable[[], Awaitable[None]]
    """Asks for an answer without events that says how far this watch is."""
    abandon: Callable[[], None]
    """End it with a StoreError: who serves it does not seem to answer."""


class Header(Protocol):
    cluster_id: int
    """Another one than before means another history: the store was restored or replaced."""
    revision: int
    """The store's when it answered; of a write, the write's own."""


class KeyValue(Protocol):
    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    """How often the key was written since it was created: 1 after that."""
    lease: int


class RangeAnswer(Protocol):
    header: Header
    kvs: Sequence[KeyValue]
    more: bool
    """Whether the limit left keys out."""
    count: int
    """Keys in the range, with those that the limit left out."""


class TxnAnswer(Protocol):
    header: Header
    succeeded: bool
    responses: Sequence[Any]
    """One a request of the branch that was taken, in its order: `response_range`, `response_put`, …"""


class Event(Protocol):
    type: int
    """pb.Event.PUT or pb.Event.DELETE; the `kv` of the latter has a key and a mod_revision only."""
    kv: KeyValue


class WatchAnswer(Protocol):
    header: Header
    created: bool
    """The first answer: the watch stands."""
    fragment: bool
    """More events of the same revision follow in the next answer."""
    events: Sequence[Event]
    """In the order of revisions. None of them, in an answer that is not the first: how far the watch is."""


class Backend(Protocol):
    """
    Call from one event loop; `close` when done.

    Every call raises StoreError. A range ends before `end`; without `end` it is one key; an end of one zero byte
    means all keys from `key` on.
    """

    async def close(self) -> None: ...

    async def use_new_certificate(self) -> None:
        """The files of our identity changed: what needs one shows the new one from now on."""

    def use_endpoints(self, endpoints: Sequence[str]) -> None:
        """The members are these from now on. Raises ValueError when they cannot be."""

    @property
    def endpoints(self) -> int:
        """How many members could serve the next watch when this one's breaks."""

    async def range(
        self,
        key: bytes,
        end: bytes = b"",
        *,
        limit: int = 0,
        revision: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
    ) -> RangeAnswer:
        """A linearizable read, now or as of `revision`; a compacted one raises with `compacted`. Keys in order."""

    async def txn(self, compare: Sequence[Any], success: Sequence[Any], failure: Sequence[Any] = ()) -> TxnAnswer:
        """
        If all of `compare` hold then `success`, otherwise `failure`: atomic, under one revision.

        The parts are made by `compare_mod`, `put` and so on. A write may be done although this raises `ambiguous`.
        """

    async def commit(
        self, compare: Sequence[Any], success: Sequence[Any], failure: Sequence[Any]
    ) -> tuple[TxnAnswer, bool]:
        """
        A transaction that is repeated when its outcome is unknown; its conditions no longer hold once it was executed.

        Returns the last try's answer, and whether an earlier one may have been executed.
        """

    async def delete(self, key: bytes, end: bytes = b"") -> Any:
        """The answer's `deleted` says how many keys there were."""

    async def compact(self, revision: int) -> None:
        """Forget what is only needed for reads and watches before `revision`."""

    async def grant_lease(self, seconds: int) -> int:
        """Keys put with it are deleted, with events, once it has ended."""

    async def status(self) -> Any:
        """`version` and `db_size` (bytes)."""

    async def current_revision(self) -> int:
        """The store's revision at some moment after the call: a quorum read that carries no data."""

    def watch(
        self, key: bytes, end: bytes, start_revision: int, on_open: Callable[[WatchControl], None]
    ) -> AsyncIterator[WatchAnswer]:
        """
        Every change from `start_revision` on, until the watch breaks (StoreError) or the caller stops.

        `on_open` is called when the watch stands. All changes of one revision come together, as long as the answers
        before the last say `fragment`. A compacted start raises with `compacted`.
        """


def range_end(prefix: bytes) -> bytes:
    """The first key after all that begin with `prefix`."""
    for at in range(len(prefix) - 1, -1, -1):
        if prefix[at] < 0xFF:
            return prefix[:at] + bytes([prefix[at] + 1])
    return b"\0"


def compare_mod(key: bytes, revision: int) -> Any:
    """True when the key was last written at `revision`; 0 means it does not exist."""
    return pb.Compare(key=key, target=pb.Compare.MOD, result=pb.Compare.EQUAL, mod_revision=revision)


def compare_version(key: bytes, version: int) -> Any:
    return pb.Compare(key=key, target=pb.Compare.VERSION, result=pb.Compare.EQUAL, version=version)


def put(key: bytes, value: bytes, lease: int = 0) -> Any:
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value, lease=lease))


def get(key: bytes) -> Any:
    return pb.RequestOp(request_range=pb.RangeRequest(key=key))


def delete(key: bytes) -> Any:
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key))
