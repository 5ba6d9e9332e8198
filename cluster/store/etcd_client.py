"""
A small etcd client: the calls the object store needs, with several endpoints and TLS.

Used only inside `cluster.store`. Reads go to the next endpoint when one does not answer; a write is repeated
elsewhere only when it surely was not executed, because a repeated create would report its own first try as a
conflict. Watches have a channel of their own, so that a burst of events does not delay requests.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from cluster.machinery.grpc.channel import Channel, TlsFiles
from cluster.machinery.grpc.errors import GrpcError
from cluster.store.backend import StoreError, WatchControl
from cluster.store.etcd_progress import part_of_whole, tells_progress_truly
from cluster.store.generated import etcd_pb2 as pb

REQUEST_TIMEOUT = 10.0
"""Seconds for one write on one endpoint."""
READ_TIMEOUT = 2.0
"""Seconds for a read on one endpoint while there are others to ask."""
COMMIT_TIMEOUT = 3.0
"""Seconds for a write that may be repeated. etcd itself waits for 7 s for a proposal that a dead leader took along."""
WATCH_OPEN_TIMEOUT = 2.0
"""Seconds until a member has to confirm a watch."""
_REQUIRE_LEADER = (("hasleader", "true"),)
"""A member that has lost the others ends the watch instead of being silent."""
_ASK_PROGRESS = pb.WatchRequest(progress_request=pb.WatchProgressRequest()).SerializeToString()

KEEPALIVE = 6.0
"""Seconds of silence until a member is asked whether it is there. etcd allows one question in 5 s."""
MAX_MESSAGE = 2**31
"""Bytes. A page holds up to 2,000 objects, and each may have more than a megabyte."""

_UNARY = {
    "Range": ("/etcdserverpb.KV/Range", pb.RangeResponse.FromString),
    "Txn": ("/etcdserverpb.KV/Txn", pb.TxnResponse.FromString),
    "DeleteRange": ("/etcdserverpb.KV/DeleteRange", pb.DeleteRangeResponse.FromString),
    "Compact": ("/etcdserverpb.KV/Compact", pb.CompactionResponse.FromString),
    "LeaseGrant": ("/etcdserverpb.Lease/LeaseGrant", pb.LeaseGrantResponse.FromString),
    "LeaseRevoke": ("/etcdserverpb.Lease/LeaseRevoke", pb.LeaseRevokeResponse.FromString),
    "Status": ("/etcdserverpb.Maintenance/Status", pb.StatusResponse.FromString),
}
_READS = frozenset({"Range", "Status"})

# What etcd says when a request was refused before anything could have been written.
_SURELY_NOT_EXECUTED = ("etcdserver: no leader", "not leader", "etcdserver: too many requests")
_ANOTHER_MAY_ANSWER = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})
_OUTCOME_UNKNOWN = _ANOTHER_MAY_ANSWER | {"CANCELLED", "UNKNOWN", "INTERNAL", "ABORTED", "DATA_LOSS"}
"""Every other code is etcd's considered refusal."""


class EtcdError(StoreError):
    """etcd refused or did not answer."""


@dataclass(frozen=True, slots=True)
class EtcdTLS:
    """Files of the client's identity; all empty means plain text."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


def _target(url: str) -> str:
    return url if url.startswith("unix:") else url.split("://", 1)[-1].rstrip("/")


class EtcdClient:
    """Call from one event loop; `close` when done."""

    def __init__(self, endpoints: Sequence[str], tls: EtcdTLS | None = None) -> None:
        if not endpoints:
            raise ValueError("no etcd endpoint given; pass --etcd-servers=https://HOST:2379,…")
        files = tls or EtcdTLS()
        self._tls = TlsFiles(files.ca_file, files.cert_file, files.key_file)
        self._urls = list(endpoints)
        self._channels = [self._channel(url) for url in endpoints]
        self._leaving: set[asyncio.Task[None]] = set()
        """Channels of members that are none any more, until what runs on them has ended."""
        self._current = 0
        self._watching: dict[str, Callable[[], None]] = {}
        """Which member's watch is open, and how to end it."""

    def _channel(self, url: str) -> Channel:
        tls = self._tls if url.startswith("https://") else None
        return Channel(_target(url), tls, max_message=MAX_MESSAGE, keepalive=KEEPALIVE)

    async def close(self) -> None:
        for leaving in self._leaving:
            leaving.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        for channel in self._channels:
            await channel.close()

    def use_endpoints(self, endpoints: Sequence[str]) -> None:
        """
        Members came or went. Who stays is not disturbed; calls to others end as they would have, watches go elsewhere.

        Raises ValueError when none is given.
        """
        if not endpoints:
            raise ValueError("the list of etcd endpoints is empty")
        have = dict(zip(self._urls, self._channels, strict=True))
        current = self._urls[self._current]
        self._urls = list(endpoints)
        self._channels = [have.pop(url) if url in have else self._channel(url) for url in self._urls]
        self._current = self._urls.index(current) if current in self._urls else 0
        for url, channel in have.items():
            if abandon := self._watching.get(url):
                abandon()
            task = asyncio.get_running_loop().create_task(_close_later(channel), name=f"leave {url}")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def use_new_certificate(self) -> None:
        """The files of the identity changed: new connections show the new one, running calls end on the old."""
        for channel in self._channels:
            channel.renew(REQUEST_TIMEOUT)

    @property
    def endpoints(self) -> int:
        return len(self._urls)

    async def _call(self, method: str, request: Any) -> Any:
        return (await self._tried(method, request, READ_TIMEOUT if method in _READS else 0.0))[0]

    async def _tried(self, method: str, request: Any, repeat_after: float) -> tuple[Any, bool]:
        """
        One unary call, at the endpoint that answered last, then at the others. Raises EtcdError.

        Args:
            repeat_after: Seconds until a call that may be executed twice goes to the next endpoint; 0 for one that
                may not.

        Returns:
            The answer, and whether an earlier try may have been executed.
        """
        path, decode = _UNARY[method]
        message = request.SerializeToString()
        repeated = False
        last_try = len(self._urls) - 1
        for attempt in range(last_try + 1):
            at = self._current
            url, channel = self._urls[at], self._channels[at]
            timeout = repeat_after if repeat_after and attempt < last_try else REQUEST_TIMEOUT
            try:
                return decode(await channel.unary(path, message, timeout)), repeated
            except GrpcError as fault:
                refusal = _translate(fault, url, method)
                refused = fault.code in _ANOTHER_MAY_ANSWER
                if refused:
                    self._leave(url)
                repeated = repeated or refusal.ambiguous
                if not refused or attempt == last_try or (refusal.ambiguous and not repeat_after):
                    # Whatever this try came to: an earlier one may have been executed.
                    refusal.ambiguous = repeated
                    raise refusal from fault
            except DecodeError as fault:
                why = f"etcd at {url}, {method}: its answer is no message: {fault}"
                raise EtcdError(why, ambiguous=True) from fault
        raise AssertionError("unreachable")

    def _leave(self, url: str) -> None:
        """That member does not answer: others are asked from now on, and its watch is opened elsewhere."""
        self._ask_next(url)
        abandon = self._watching.get(url)
        if abandon is not None:
            abandon()

    def _ask_next(self, url: str) -> None:
        """Unless somebody else is asked by now."""
        if self._urls[self._current] == url:
            self._current = (self._current + 1) % len(self._urls)

    async def range(
        self,
        key: bytes,
        end: bytes = b"",
        *,
        limit: int = 0,
        revision: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
    ) -> Any:
        """A linearizable read of one key, or of [key, end), now or as of `revision`."""
        return await self._call(
            "Range",
            pb.RangeRequest(
                key=key, range_end=end, limit=limit, revision=revision, keys_only=keys_only, count_only=count_only
            ),
        )

    async def txn(self, compare: Sequence[Any], success: Sequence[Any], failure: Sequence[Any] = ()) -> Any:
        return await self._call("Txn", pb.TxnRequest(compare=compare, success=success, failure=failure))

    async def commit(self, compare: Sequence[Any], success: Sequence[Any], failure: Sequence[Any]) -> tuple[Any, bool]:
        """
        A transaction that is repeated when its outcome is unknown; its conditions no longer hold once it was executed.

        Returns the last try's answer, and whether an earlier one may have been executed.
        """
        request = pb.TxnRequest(compare=compare, success=success, failure=failure)
        return await self._tried("Txn", request, COMMIT_TIMEOUT)

    async def delete(self, key: bytes, end: bytes = b"") -> Any:
        return await self._call("DeleteRange", pb.DeleteRangeRequest(key=key, range_end=end))

    async def compact(self, revision: int) -> None:
        await self._call("Compact", pb.CompactionRequest(revision=revision))

    async def grant_lease(self, seconds: int) -> int:
        answer = await self._call("LeaseGrant", pb.LeaseGrantRequest(ttl=seconds))
        return int(answer.id)

    async def status(self) -> Any:
        return await self._call("Status", pb.StatusRequest())

    async def current_revision(self) -> int:
        """The store's revision at some moment after the call: a quorum read that carries no data."""
        answer = await self._call("Range", pb.RangeRequest(key=b"\0", count_only=True))
        return int(answer.header.revision)

    async def watch(
        self, key: bytes, end: bytes, start_revision: int, on_open: Callable[[WatchControl], None]
    ) -> AsyncIterator[Any]:
        """
        Yields WatchResponses from `start_revision` on, until the stream breaks (EtcdError) or the caller stops.

        After a break the next watch goes to another member.
        """
        url = self._urls[self._current]
        channel = self._channel(url)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(WATCH_OPEN_TIMEOUT) as patience:

                def abandon() -> None:
                    if self._watching.get(url) is abandon and not patience.expired():
                        patience.reschedule(loop.time())

                path, decode = _UNARY["Status"]
                status = decode(await channel.unary(path, b"", WATCH_OPEN_TIMEOUT))
                whole = not tells_progress_truly(status.version)
                create = pb.WatchCreateRequest(
                    key=b"\0" if whole else key,
                    range_end=b"\0" if whole else end,
                    start_revision=start_revision,
                    progress_notify=not whole,
                    fragment=True,
                )
                stream = await channel.stream(
                    "/etcdserverpb.Watch/Watch",
                    pb.WatchRequest(create_request=create).SerializeToString(),
                    WATCH_OPEN_TIMEOUT,
                    metadata=_REQUIRE_LEADER,
                )

                async def ask_progress() -> None:
                    stream.send(_ASK_PROGRESS)

                self._watching[url] = abandon
                async for message in stream:
                    response = pb.WatchResponse.FromString(message)
                    if response.canceled:
                        raise EtcdError(
                            f"etcd ended the watch at revision {response.compact_revision}: {response.cancel_reason}",
                            compacted=response.compact_revision > 0,
                        )
                    if response.created:
                        patience.reschedule(None)
                        on_open(WatchControl(ask_progress, abandon))
                    if not whole or response.created:
                        yield response
                    else:
                        for part in part_of_whole(response, key, end):
                            yield part
                raise EtcdError(f"etcd at {url} closed the watch")
        except TimeoutError:
            raise EtcdError(f"etcd at {url} does not answer on the watch") from None
        except GrpcError as fault:
            raise _translate(fault, url, "Watch") from fault
        except DecodeError as fault:
            raise EtcdError(f"etcd at {url} sent what is no watch answer: {fault}") from fault
        finally:
            self._watching.pop(url, None)
            # The next watch begins at once; it has better prospects with another member.
            self._ask_next(url)
            await channel.close()


async def _close_later(channel: Channel) -> None:
    """Once the longest call that runs on it has ended."""
    try:
        await asyncio.sleep(REQUEST_TIMEOUT)
    finally:
        await channel.close()


def _translate(fault: GrpcError, url: str, method: str) -> EtcdError:
    lowered = fault.details.lower()
    refused = not fault.processed or any(mark in lowered for mark in _SURELY_NOT_EXECUTED)
    return EtcdError(
        f"etcd at {url}, {method}: {fault}",
        ambiguous=fault.code in _OUTCOME_UNKNOWN and not refused,
        compacted="required revision has been compacted" in lowered,
        full="database space exceeded" in lowered,
    )
