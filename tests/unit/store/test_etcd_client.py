"""How a call that got no answer is judged, and who is asked next."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cluster.machinery.grpc import frames
from cluster.store.backend import StoreError, compare_mod, get, put
from cluster.store.etcd_client import EtcdClient, EtcdError
from cluster.store.generated import etcd_pb2 as pb
from tests.fakes.http2_peer import OK_HEADERS, PeerServer, answer, message, trailers

KEY = b"/registry/things/a"
WRITTEN = pb.TxnResponse(succeeded=True, header=pb.ResponseHeader(revision=7)).SerializeToString()
FOUND = pb.RangeResponse(header=pb.ResponseHeader(revision=7)).SerializeToString()


def commit(client: EtcdClient) -> "asyncio.Task[Any]":
    return asyncio.ensure_future(client.commit([compare_mod(KEY, 0)], [put(KEY, b"{}")], [get(KEY)]))


def refusal(stream: int, status: int, words: str) -> bytes:
    block = OK_HEADERS + trailers(status, words)
    return frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, block)


async def test_a_write_on_a_lost_connection_is_ambiguous(tmp_path: Path) -> None:
    async with PeerServer(tmp_path / "a") as server:
        client = EtcdClient([server.target])
        write = commit(client)
        peer = await server.peer()
        await peer.until(frames.DATA)
        peer.transport.abort()

        with pytest.raises(EtcdError, match="was lost") as raised:
            await write
        assert raised.value.ambiguous
        await client.close()


async def test_a_write_that_found_no_server_is_not_ambiguous(tmp_path: Path) -> None:
    client = EtcdClient([f"unix://{tmp_path}/a", f"unix://{tmp_path}/b"])

    with pytest.raises(EtcdError, match="failed to connect") as raised:
        await commit(client)
    assert not raised.value.ambiguous
    await client.close()


async def test_a_write_stays_ambiguous_when_its_repetition_found_no_server(tmp_path: Path) -> None:
    async with PeerServer(tmp_path / "a") as server:
        client = EtcdClient([server.target, f"unix://{tmp_path}/b"])
        write = commit(client)
        peer = await server.peer()
        await peer.until(frames.DATA)
        peer.transport.abort()

        with pytest.raises(EtcdError, match="failed to connect") as raised:
            await write
        assert raised.value.ambiguous
        await client.close()


async def test_a_conditional_write_is_repeated_elsewhere_and_says_so(tmp_path: Path) -> None:
    async with PeerServer(tmp_path / "a") as first, PeerServer(tmp_path / "b") as second:
        client = EtcdClient([first.target, second.target])
        write = commit(client)
        lost = await first.peer()
        await lost.until(frames.DATA)
        lost.transport.abort()
        peer = await second.peer()
        await peer.until(frames.DATA)
        peer.send(answer(1, WRITTEN))

        answered, repeated = await write
        assert answered.header.revision == 7
        assert repeated
        await client.close()


async def test_an_unconditional_write_is_not_repeated_when_it_may_be_done(tmp_path: Path) -> None:
    async with PeerServer(tmp_path / "a") as first, PeerServer(tmp_path / "b") as second:
        client = EtcdClient([first.target, second.target])
        write = asyncio.create_task(client.txn([], [put(KEY, b"{}")]))
        lost = await first.peer()
        await lost.until(frames.DATA)
        lost.transport.abort()

        with pytest.raises(EtcdError) as raised:
            await write
        assert raised.value.ambiguous
        assert not second.peers
        await client.close()


@pytest.mark.parametrize(
    ("status", "words", "ambiguous"),
    [
        (14, "etcdserver: no leader", False),
        (14, "etcdserver: request timed out", True),
        (4, "context deadline exceeded", True),
        (1, "context canceled", True),
        (13, "some trouble", True),
        (8, "etcdserver: mvcc: database space exceeded", False),
        (8, "etcdserver: too many requests", False),
        (3, "etcdserver: duplicate key given in txn request", False),
        (7, "etcdserver: permission denied", False),
    ],
)
async def test_what_etcd_says_of_a_write(tmp_path: Path, status: int, words: str, ambiguous: bool) -> None:
    async with PeerServer(tmp_path / "a") as server:
        client = EtcdClient([server.target])
        write = commit(client)
        peer = await server.peer()
        await peer.until(frames.DATA)
        peer.send(refusal(1, status, words))

        with pytest.raises(EtcdError, match=words) as raised:
            await write
        assert raised.value.ambiguous is ambiguous
        assert raised.value.full is ("space exceeded" in words)
        await client.close()


async def test_an_answer_that_is_no_message_leaves_a_write_ambiguous(tmp_path: Path) -> None:
    async with PeerServer(tmp_path / "a") as server:
        client = EtcdClient([server.target])
        write = commit(client)
        peer = await server.peer()
        await peer.until(frames.DATA)
        peer.send(answer(1, b"\xff\xff\xff"))

        with pytest.raises(EtcdError, match="no message") as raised:
            await write
        assert raised.value.ambiguous
        await client.close()


async def test_a_read_goes_to_the_next_member_and_stays_there(tmp_path: Path) -> None:
    async with PeerServer(tmp_path / "b") as server:
        client = EtcdClient([f"unix://{tmp_path}/a", server.target])
        for stream in (1, 3):
            read = asyncio.create_task(client.current_revision())
            peer = await server.peer()
            await peer.until(frames.DATA, (stream + 1) // 2)
            peer.send(answer(stream, FOUND))
            assert await read == 7
        await client.close()


async def test_a_watch_that_breaks_says_so_and_the_next_goes_elsewhere(tmp_path: Path) -> None:
    begun = frames.frame(frames.HEADERS, frames.END_HEADERS, 3, OK_HEADERS)
    created = frames.frame(frames.DATA, 0, 3, message(pb.WatchResponse(created=True).SerializeToString()))
    nonsense = frames.frame(frames.DATA, 0, 3, message(b"\xff\xff\xff"))
    async with PeerServer(tmp_path / "a") as first, PeerServer(tmp_path / "b") as second:
        client = EtcdClient([first.target, second.target])
        for server, end in ((first, nonsense), (second, refusal(3, 14, "etcdserver: no leader"))):
            opened: list[object] = []
            watch = client.watch(KEY, b"", 5, opened.append)
            opening = asyncio.ensure_future(anext(watch))
            peer = await server.peer()
            await peer.until(frames.DATA)
            peer.send(answer(1, pb.StatusResponse(version="3.5.16").SerializeToString()))
            await peer.until(frames.DATA, 2)
            peer.send(begun + created)

            assert (await opening).created
            assert len(opened) == 1
            peer.send(end)
            with pytest.raises(StoreError):
                await anext(watch)
            await peer.until_gone()
        await client.close()
