"""
A small etcd client: the calls the object store needs, over grpc.aio, with several endpoints and TLS.

Used only inside `cluster.store`. Reads go to the next endpoint when one does not answer; a write is repeated
elsewhere only when it surely was not executed, because a repeated create would report its own first try as a
conflict. Watches have a channel of their own, so that a burst of events does not delay requests.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from cluster.store.backend import StoreError, WatchControl
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

_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 6_000),
    ("grpc.keepalive_timeout_ms", 2_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_http_proxy", 0),
]

_UNARY = {
    "Range": ("KV", pb.RangeRequest, pb.RangeResponse),
    "Txn": ("KV", pb.TxnRequest, pb.TxnResponse),
    "DeleteRange": ("KV", pb.DeleteRangeRequest, pb.DeleteRangeResponse),
    "Compact": ("KV", pb.CompactionRequest, pb.CompactionResponse),
    "LeaseGrant": ("Lease", pb.LeaseGrantRequest, pb.LeaseGrantResponse),
    "LeaseRevoke": ("Lease", pb.LeaseRevokeRequest, pb.LeaseRevokeResponse),
    "Status": ("Maintenance", pb.StatusRequest, pb.StatusResponse),
}
_READS = frozenset({"Range", "Status"})

# What etcd or grpc says when a request was refused before anything could have been written.
_SURELY_NOT_EXECUTED = (
    "failed to connect",
    "connection refused",
    "etcdserver: no leader",
    "not leader",
    "name resolution",
    "etcdserver: too many requests",
)


class EtcdError(StoreError):
    """etcd refused or did not answer."""


@dataclass(frozen=True, slots=True)
class EtcdTLS:
    """Files of the client's identity; all empty means plain text."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


def _read(path: str) -> bytes | None:
    return Path(path).read_bytes() if path else None


class _Endpoint:
    """One member: a channel for requests, made when first used."""

    def __init__(self, url: str, tls: EtcdTLS) -> None:
        self.url = url
        self._secure = url.startswith("https://")
        self._target = url.split("://", 1)[-1].rstrip("/")
        self._tls = tls
        self._channel: Any = None
        self._calls: dict[str, Any] = {}

    def open_channel(self) -> Any:
        if not self._secure:
            return grpc.aio.insecure_channel(self._target, options=_CHANNEL_OPTIONS)
        credentials = grpc.ssl_channel_credentials(
            _read(self._tls.ca_file), _read(self._tls.key_file), _read(self._tls.cert_file)
        )
        return grpc.aio.secure_channel(self._target, credentials, options=_CHANNEL_OPTIONS)

    def call(self, method: str) -> Any:
        found = self._calls.get(method)
        if found is None:
            if self._channel is None:
                self._channel = self.open_channel()
            service, request, response = _UNARY[method]
            found = self._calls[method] = self._channel.unary_unary(
                f"/etcdserverpb.{service}/{method}",
                request_serializer=request.SerializeToString,
                response_deserializer=response.FromString,
            )
        return found

    async def close(self, grace: float | None = None) -> None:
        """Running calls get `grace` seconds."""
        if self._channel is not None:
            channel, self._channel, self._calls = self._channel, None, {}
            await channel.close(grace)


class EtcdClient:
    """Call from one event loop; `close` when done."""

    def __init__(self, endpoints: Sequence[str], tls: EtcdTLS | None = None) -> None:
        if not endpoints:
            raise ValueError("no etcd endpoint given; pass --etcd-servers=https://HOST:2379,…")
        self._endpoints = [_Endpoint(url, tls or EtcdTLS()) for url in endpoints]
        self._current = 0
        self._watching: dict[int, Callable[[], None]] = {}
        """Which member's watch is open, and how to end it."""

    async def close(self) -> None:
        for endpoint in self._endpoints:
            await endpoint.close()

    async def use_new_certificate(self) -> None:
        """The files of the identity changed: new connections show the new one, running calls end on the old."""
        await asyncio.gather(*(endpoint.close(REQUEST_TIMEOUT) for endpoint in self._endpoints))

    @property
    def endpoints(self) -> int:
        return len(self._endpoints)

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
        last: EtcdError | None = None
        repeated = False
        last_try = len(self._endpoints) - 1
        for attempt in range(last_try + 1):
            at = self._current
            timeout = repeat_after if repeat_after and attempt < last_try else REQUEST_TIMEOUT
            endpoint = self._endpoints[at]
            try:
                return await endpoint.call(method)(request, timeout=timeout), repeated
            except grpc.aio.AioRpcError as fault:
                last = _translate(fault, endpoint.url, method)
                refused = fault.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
                if refused:
                    self._leave(at)
                if not refused or (last.ambiguous and not repeat_after):
                    raise last from fault
                repeated = repeated or last.ambiguous
        raise last or EtcdError(f"no etcd endpoint took {method}")

    def _leave(self, at: int) -> None:
        """That member does not answer: others are asked from now on, and its watch is opened elsewhere."""
        if self._current == at:
            self._current = (at + 1) % len(self._endpoints)
        abandon = self._watching.get(at)
        if abandon is not None:
            abandon()

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
        at = self._current
        endpoint = self._endpoints[at]
        channel = endpoint.open_channel()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(WATCH_OPEN_TIMEOUT) as patience:
                open_stream = channel.stream_stream(
                    "/etcdserverpb.Watch/Watch",
                    request_serializer=pb.WatchRequest.SerializeToString,
                    response_deserializer=pb.WatchResponse.FromString,
                )
                stream = open_stream(metadata=_REQUIRE_LEADER)
                lock = asyncio.Lock()

                async def ask_progress() -> None:
                    async with lock:
                        await stream.write(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))

                def abandon() -> None:
                    if self._watching.get(at) is abandon and not patience.expired():
                        patience.reschedule(loop.time())

                create = pb.WatchCreateRequest(
                    key=key, range_end=end, start_revision=start_revision, progress_notify=True, fragment=True
                )
                await stream.write(pb.WatchRequest(create_request=create))
                self._watching[at] = abandon
                async for response in stream:
                    if response.canceled:
                        raise EtcdError(
                            f"etcd ended the watch at revision {response.compact_revision}: {response.cancel_reason}",
                            compacted=response.compact_revision > 0,
                        )
                    if response.created:
                        patience.reschedule(None)
                        on_open(WatchControl(ask_progress, abandon))
                    yield response
                raise EtcdError(f"etcd at {endpoint.url} closed the watch")
        except TimeoutError:
            raise EtcdError(f"etcd at {endpoint.url} does not answer on the watch") from None
        except grpc.aio.AioRpcError as fault:
            raise _translate(fault, endpoint.url, "Watch") from fault
        finally:
            self._watching.pop(at, None)
            # The next watch begins at once; it has better prospects with another member.
            if self._current == at:
                self._current = (at + 1) % len(self._endpoints)
            await channel.close()


def _translate(fault: Any, url: str, method: str) -> EtcdError:
    details = str(fault.details() or "")
    lowered = details.lower()
    executed = not any(mark in lowered for mark in _SURELY_NOT_EXECUTED)
    retriable = fault.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    return EtcdError(
        f"etcd at {url}, {method}: {fault.code().name}: {details}",
        ambiguous=retriable and executed,
        compacted="required revision has been compacted" in lowered,
        full="database space exceeded" in lowered,
    )
