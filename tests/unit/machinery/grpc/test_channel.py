"""Calls over a real socket to a peer that does what it should, or something else."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from cluster.machinery.grpc import connection as connections, frames
from cluster.machinery.grpc.channel import Channel
from cluster.machinery.grpc.errors import GrpcError
from tests.fakes.http2_peer import OK_HEADERS, OK_TRAILERS, Peer, PeerServer, answer, message, trailers

PATH = "/hanse.Test/Call"
END = frames.END_HEADERS | frames.END_STREAM


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[PeerServer]:
    async with PeerServer(tmp_path / "socket") as running:
        yield running


@pytest.fixture
async def channel(server: PeerServer) -> AsyncIterator[Channel]:
    made = Channel(server.target)
    yield made
    await made.close()


async def begin(channel: Channel, server: PeerServer, request: bytes = b"?") -> tuple["asyncio.Task[bytes]", Peer]:
    """A call that the peer has whole."""
    call = asyncio.create_task(channel.unary(PATH, request, 5))
    peer = await server.peer()
    await peer.until(frames.DATA)
    return call, peer


async def test_a_call_is_answered(channel: Channel, server: PeerServer) -> None:
    call, peer = await begin(channel, server, b"question")
    peer.send(answer(1, b"reply"))

    assert await call == b"reply"
    assert peer.of(frames.DATA) == [(frames.DATA, frames.END_STREAM, 1, message(b"question"))]


async def test_answers_come_in_any_order_and_in_any_pieces(channel: Channel, server: PeerServer) -> None:
    calls = [asyncio.create_task(channel.unary(PATH, b"%d" % at, 5)) for at in range(3)]
    peer = await server.peer()
    await peer.until(frames.DATA, 3)
    data = answer(5, b"c" * 20_000)[: 9 + len(OK_HEADERS)]
    whole = message(b"c" * 20_000)
    data += frames.frame(frames.DATA, 0, 5, whole[:16_000]) + frames.frame(frames.DATA, 0, 5, whole[16_000:])
    data += frames.frame(frames.HEADERS, END, 5, OK_TRAILERS) + answer(1, b"a") + answer(3, b"b")
    for at in range(0, len(data), 1000):
        peer.send(data[at : at + 1000])
        await asyncio.sleep(0)

    assert await asyncio.gather(*calls) == [b"a", b"b", b"c" * 20_000]


async def test_an_error_in_trailers_alone_is_the_callers(channel: Channel, server: PeerServer) -> None:
    call, peer = await begin(channel, server)
    peer.send(frames.frame(frames.HEADERS, END, 1, OK_HEADERS + trailers(5, "no such thing")))

    with pytest.raises(GrpcError, match="NOT_FOUND: no such thing") as raised:
        await call
    assert raised.value.processed


async def test_a_lost_connection_may_have_executed_what_was_sent(channel: Channel, server: PeerServer) -> None:
    call, peer = await begin(channel, server)
    peer.transport.abort()

    with pytest.raises(GrpcError, match="was lost") as raised:
        await call
    assert raised.value.processed


async def test_what_was_not_sent_whole_was_surely_not_executed(channel: Channel, server: PeerServer) -> None:
    call, peer = await begin(channel, server, bytes(100_000))  # the peer makes room for 65,535
    peer.transport.abort()

    with pytest.raises(GrpcError, match="was lost") as raised:
        await call
    assert not raised.value.processed


async def test_a_large_request_goes_on_when_the_peer_makes_room(channel: Channel, server: PeerServer) -> None:
    call, peer = await begin(channel, server, bytes(200_000))
    peer.send(frames.window_update(1, 200_000) + frames.window_update(0, 200_000))
    while not peer.of(frames.DATA)[-1][1] & frames.END_STREAM:
        await peer.until(frames.DATA, len(peer.of(frames.DATA)) + 1)
    peer.send(answer(1, b"thanks"))

    assert await call == b"thanks"
    sizes = [len(frame[3]) for frame in peer.of(frames.DATA)]
    assert sum(sizes) == 200_005
    assert max(sizes) <= 16_384


async def test_a_refused_stream_was_surely_not_executed(channel: Channel, server: PeerServer) -> None:
    call, peer = await begin(channel, server)
    peer.send(frames.reset(1, frames.REFUSED_STREAM))

    with pytest.raises(GrpcError, match="refused") as raised:
        await call
    assert not raised.value.processed


async def test_a_stream_that_is_reset_otherwise_may_have_been_executed(channel: Channel, server: PeerServer) -> None:
    call, peer = await begin(channel, server)
    peer.send(frames.reset(1, frames.INTERNAL_ERROR))

    with pytest.raises(GrpcError, match="error 2") as raised:
        await call
    assert raised.value.processed


async def test_goodbye_lets_calls_end_and_sends_unseen_ones_to_a_new_connection(
    channel: Channel, server: PeerServer
) -> None:
    first, peer = await begin(channel, server)
    second = asyncio.create_task(channel.unary(PATH, b"again", 5))
    await peer.until(frames.DATA, 2)
    peer.send(frames.frame(frames.GOAWAY, 0, 0, (1).to_bytes(4, "big") + bytes(4)))
    other = await server.peer(2)
    await other.until(frames.DATA)
    other.send(answer(1, b"from the new one"))
    peer.send(answer(1, b"from the old one"))

    assert await first == b"from the old one"
    assert await second == b"from the new one"
    await peer.until_gone()


async def test_a_deadline_ends_the_call_and_tells_the_peer(channel: Channel, server: PeerServer) -> None:
    with pytest.raises(GrpcError, match="DEADLINE_EXCEEDED") as raised:
        await channel.unary(PATH, b"?", 0.05)
    peer = await server.peer()

    assert raised.value.processed
    assert (await peer.until(frames.RST_STREAM))[2:] == (1, frames.CANCEL.to_bytes(4, "big"))
    # What was on its way all the same disturbs nobody.
    peer.send(answer(1, b"late"))
    call = asyncio.create_task(channel.unary(PATH, b"?", 5))
    await peer.until(frames.DATA, 2)
    peer.send(answer(3, b"in time"))
    assert await call == b"in time"


async def test_a_cancelled_call_is_cancelled_at_the_peer(channel: Channel, server: PeerServer) -> None:
    call, peer = await begin(channel, server)
    call.cancel()

    assert (await peer.until(frames.RST_STREAM))[2] == 1
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_calls_above_the_peers_limit_wait_for_their_turn(tmp_path: Path) -> None:
    async with PeerServer(tmp_path / "socket", greet=False) as server:
        channel = Channel(server.target)
        calls = [asyncio.create_task(channel.unary(PATH, b"?", 5)) for _ in range(3)]
        peer = await server.peer()
        peer.send(frames.settings({frames.MAX_CONCURRENT_STREAMS: 1}))
        for at, stream in enumerate((1, 3, 5), 1):
            await peer.until(frames.DATA, at)
            assert len(peer.of(frames.HEADERS)) == at
            peer.send(answer(stream, b"%d" % stream))

        assert await asyncio.gather(*calls) == [b"1", b"3", b"5"]
        await channel.close()


async def test_without_a_server_calls_fail_at_once_and_later_ones_find_it(tmp_path: Path) -> None:
    server = PeerServer(tmp_path / "socket")
    channel = Channel(server.target)
    for _ in range(2):  # the second while nobody tries again
        with pytest.raises(GrpcError, match="failed to connect") as raised:
            await channel.unary(PATH, b"?", 5)
        assert raised.value.code == "UNAVAILABLE"
        assert not raised.value.processed
    await server.listen()
    async with asyncio.timeout(5):
        while not server.peers:
            with suppress(GrpcError):
                await channel.unary(PATH, b"?", 0.05)
            await asyncio.sleep(0.02)
    await channel.close()
    server.stop()


async def test_a_server_that_says_nothing_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    async with PeerServer(tmp_path / "socket", greet=False) as server:
        channel = Channel(server.target)
        with pytest.raises(GrpcError, match="came in time") as raised:
            await channel.unary(PATH, b"?", 0.05)
        assert not raised.value.processed
        await channel.close()


async def test_a_silent_peer_is_pinged_and_then_given_up(server: PeerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "KEEPALIVE_PATIENCE", 0.1)
    channel = Channel(server.target, keepalive=0.1)
    call, peer = await begin(channel, server)
    for number in (1, 2):
        ping = await peer.until(frames.PING, number)
        peer.send(frames.frame(frames.PING, frames.ACK, 0, ping[3]))
        assert not call.done()

    with pytest.raises(GrpcError, match="answered no ping") as raised:
        await call
    assert raised.value.processed
    await channel.close()


async def test_pings_are_answered(channel: Channel, server: PeerServer) -> None:
    call, peer = await begin(channel, server)
    peer.send(frames.frame(frames.PING, 0, 0, b"12345678"))

    assert await peer.until(frames.PING) == (frames.PING, frames.ACK, 0, b"12345678")
    peer.send(answer(1, b""))
    assert await call == b""


async def test_a_long_stream_gets_room_for_ever(channel: Channel, server: PeerServer) -> None:
    stream = await channel.stream(PATH, b"all", 5)
    peer = await server.peer()
    await peer.until(frames.DATA)
    peer.send(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, OK_HEADERS))
    piece = frames.frame(frames.DATA, 0, 1, message(bytes(16_000)))
    seen = 0
    for _ in range(20):
        peer.send(piece * 100)  # 1.6 MB; 32 MB in all, above every window
        for _ in range(100):
            assert len(await anext(stream)) == 16_000
            seen += 1
    stream.send(b"more")

    assert (await peer.until(frames.DATA, 2))[3] == message(b"more")
    room = dict.fromkeys((0, 1), 0)
    for _, _, where, increment in peer.of(frames.WINDOW_UPDATE):
        room[where] += int.from_bytes(increment, "big")
    assert room[1] > 24 << 20
    assert room[0] > 24 << 20
    stream.cancel()
    assert (await peer.until(frames.RST_STREAM))[2] == 1


async def test_a_reader_that_does_not_read_keeps_the_peer_waiting(channel: Channel, server: PeerServer) -> None:
    stream = await channel.stream(PATH, b"all", 5)
    peer = await server.peer()
    await peer.until(frames.DATA)
    peer.send(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, OK_HEADERS))
    for _ in range(6_000_000 // 16_000):
        peer.send(frames.frame(frames.DATA, 0, 1, message(bytes(16_000))))
    await peer.until(frames.WINDOW_UPDATE, 4)  # three of the stream, of a megabyte each
    peer.send(frames.frame(frames.PING, 0, 0, b"all read"))
    await peer.until(frames.PING)
    given_room = sum(int.from_bytes(frame[3], "big") for frame in peer.of(frames.WINDOW_UPDATE) if frame[2] == 1)

    assert given_room < 5 << 20
    for _ in range(6_000_000 // 16_000):
        await anext(stream)
    async with asyncio.timeout(5):
        while sum(int.from_bytes(f[3], "big") for f in peer.of(frames.WINDOW_UPDATE) if f[2] == 1) <= given_room:
            await peer.until(frames.WINDOW_UPDATE, len(peer.of(frames.WINDOW_UPDATE)) + 1)


async def test_a_stream_ends_with_its_trailers(channel: Channel, server: PeerServer) -> None:
    good = await channel.stream(PATH, b"?", 5, ends=True)
    bad = await channel.stream(PATH, b"?", 5, ends=True)
    peer = await server.peer()
    await peer.until(frames.DATA, 2)
    peer.send(answer(1, b"one"))
    peer.send(frames.frame(frames.HEADERS, END, 3, OK_HEADERS + trailers(14, "going away")))

    assert [message async for message in good] == [b"one"]
    with pytest.raises(GrpcError, match="going away"):
        await anext(bad)


def _header(flags: int, stream: int, block: bytes) -> bytes:
    return frames.frame(frames.HEADERS, flags, stream, block)


BROKEN = {
    "a web server's words": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a frame above the size": frames.frame(frames.DATA, 0, 1, bytes(20_000)),
    "data before headers": frames.frame(frames.DATA, 0, 1, message(b"x")),
    "data without a stream": frames.frame(frames.DATA, 0, 0, b"x"),
    "data on a stream of its own": frames.frame(frames.DATA, 0, 2, b"x"),
    "data on a stream to come": frames.frame(frames.DATA, 0, 99, b"x"),
    "headers on a stream to come": _header(END, 99, OK_HEADERS),
    "headers twice": _header(frames.END_HEADERS, 1, OK_HEADERS) * 2,
    "headers that are none": _header(END, 1, b"\xbe"),
    "a continuation of nothing": frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, OK_HEADERS),
    "another frame inside headers": _header(0, 1, OK_HEADERS) + frames.frame(frames.PING, 0, 0, bytes(8)),
    "another stream's continuation": _header(0, 1, OK_HEADERS) + frames.frame(frames.CONTINUATION, 4, 3, b""),
    "headers without end": _header(0, 1, OK_HEADERS) + frames.frame(frames.CONTINUATION, 0, 1, b"\x88" * 16_000) * 5,
    "empty continuations": _header(0, 1, OK_HEADERS) + frames.frame(frames.CONTINUATION, 0, 1),
    "a push": frames.frame(frames.PUSH_PROMISE, frames.END_HEADERS, 1, bytes(4) + OK_HEADERS),
    "a window that grows by nothing": frames.window_update(0, 0),
    "a window above all bounds": frames.window_update(0, frames.MAX_WINDOW),
    "a window of three bytes": frames.frame(frames.WINDOW_UPDATE, 0, 0, b"\0\0\1"),
    "settings on a stream": frames.frame(frames.SETTINGS, 0, 1),
    "settings of seven bytes": frames.frame(frames.SETTINGS, 0, 0, bytes(7)),
    "settings acknowledged with content": frames.frame(frames.SETTINGS, frames.ACK, 0, bytes(6)),
    "a short ping": frames.frame(frames.PING, 0, 0, b"1234"),
    "a reset of what was never opened": frames.reset(7, frames.CANCEL),
    "a short goodbye": frames.frame(frames.GOAWAY, 0, 0, bytes(4)),
    "too many settings": frames.settings({}) * 2000,
    "frames of no kind": frames.frame(77, 0, 0) * 10_001,
    "frames that hold nothing": _header(frames.END_HEADERS, 1, OK_HEADERS) + frames.frame(frames.DATA, 0, 1) * 10_001,
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
async def test_a_peer_that_breaks_the_rules_is_left_with_an_error(
    channel: Channel, server: PeerServer, data: bytes
) -> None:
    call, peer = await begin(channel, server)
    peer.send(data)

    with pytest.raises(GrpcError, match="UNAVAILABLE") as raised:
        await call
    assert raised.value.processed
    await peer.until_gone()


SPOILT: dict[str, Callable[[], bytes]] = {
    "two messages": lambda: frames.frame(frames.DATA, 0, 1, message(b"a") + message(b"b")),
    "a compressed one": lambda: frames.frame(frames.DATA, 0, 1, b"\x01\0\0\0\x01x"),
    "one of 4 GB": lambda: frames.frame(frames.DATA, 0, 1, b"\0\xff\xff\xff\xff"),
    "half of one": lambda: frames.frame(frames.DATA, 0, 1, message(b"abc")[:6]) + _header(END, 1, OK_TRAILERS),
    "none at all": lambda: _header(END, 1, OK_TRAILERS),
    "an end without trailers": lambda: frames.frame(frames.DATA, frames.END_STREAM, 1, message(b"a")),
}


@pytest.mark.parametrize("rest", SPOILT.values(), ids=SPOILT.keys())
async def test_an_answer_that_is_none_spoils_its_call_alone(
    channel: Channel, server: PeerServer, rest: Callable[[], bytes]
) -> None:
    call, peer = await begin(channel, server)
    peer.send(_header(frames.END_HEADERS, 1, OK_HEADERS) + rest())
    with pytest.raises(GrpcError) as raised:
        await call
    assert raised.value.code in {"INTERNAL", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}
    assert raised.value.processed

    again = asyncio.create_task(channel.unary(PATH, b"?", 5))
    await peer.until(frames.DATA, 2)
    peer.send(answer(3, b"well"))
    assert await again == b"well"


class _Sink:
    """A transport that takes everything."""

    closed = False

    def write(self, data: bytes) -> None: ...

    def abort(self) -> None:
        self.closed = True

    close = abort

    def is_closing(self) -> bool:
        return self.closed


_PIECES = st.one_of(
    st.binary(max_size=40),
    st.builds(
        frames.frame, st.integers(0, 11), st.integers(0, 255), st.sampled_from([0, 1, 2, 3, 5, 99]),
        st.one_of(st.binary(max_size=20), st.just(OK_HEADERS), st.just(OK_TRAILERS), st.just(message(b"x"))),
    ),
    st.just(answer(1, b"right")),
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(_PIECES, max_size=12))
def test_whatever_comes_calls_end_in_an_answer_or_a_grpc_error(pieces: list[bytes]) -> None:
    from cluster.machinery.grpc.calls import UnaryCall
    from cluster.machinery.grpc.connection import Connection
    from cluster.machinery.grpc.headers import request_block

    async def play() -> None:
        loop = asyncio.get_running_loop()
        connection = Connection(loop, "test", lambda _: None)
        connection.connection_made(_Sink())  # type: ignore[arg-type]
        connection.data_received(frames.settings({}))
        block = request_block(PATH, "test", secure=False)
        calls = [UnaryCall(block, b"?", loop.time() + 60, 1000, loop) for _ in range(2)]
        for call in calls:
            connection.start(call)
        for piece in pieces:
            connection.data_received(piece)
        connection.connection_lost(None)
        for call in calls:
            assert call.answer.done()
            if call.answer.exception() is None:
                assert isinstance(call.answer.result(), bytes)
            else:
                assert isinstance(call.answer.exception(), GrpcError)

    asyncio.run(play())
