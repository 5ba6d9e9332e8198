"""
What every store must do, the same on a real etcd and on the embedded one, in a file and in memory.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.store import backend
from cluster.store.backend import Backend, StoreError, WatchControl, range_end
from cluster.store.generated import etcd_pb2 as pb
from cluster.store.opening import open_backend

PUT, DELETE = pb.Event.PUT, pb.Event.DELETE


@pytest.fixture(params=["etcd", "file", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    match request.param:
        case "etcd":
            address = request.getfixturevalue("etcd_url")
        case "file":
            address = f"embedded://{tmp_path}/store.db"
        case _:
            address = "embedded://:memory:"
    opened = open_backend([address])
    yield opened
    await opened.close()


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> bytes:
    """The test's own keys: one etcd serves them all."""
    return f"/contract/{request.node.name}/".encode()


async def put(store: Backend, key: bytes, value: bytes = b"v", lease: int = 0) -> int:
    answer = await store.txn([], [backend.put(key, value, lease)])
    return answer.header.revision


async def values(store: Backend, prefix: bytes, revision: int = 0) -> dict[bytes, bytes]:
    answer = await store.range(prefix, range_end(prefix), revision=revision)
    return {kv.key[len(prefix) :]: kv.value for kv in answer.kvs}


def nothing(_control: WatchControl) -> None:
    pass


async def seen(store: Backend, prefix: bytes, start: int, number: int) -> list[tuple[int, bytes, bytes, int]]:
    """The first events from `start` on: type, key, value, revision."""
    found: list[tuple[int, bytes, bytes, int]] = []
    stream = store.watch(prefix, range_end(prefix), start, nothing)
    async with asyncio.timeout(15), contextlib.aclosing(stream):  # type: ignore[type-var]
        async for answer in stream:
            for event in answer.events:
                kv = event.kv
                found.append((event.type, kv.key[len(prefix) :], kv.value, kv.mod_revision))
            if len(found) >= number:
                break
    return found


class Following:
    """A watch in a task, as the cache has one."""

    def __init__(self, store: Backend, prefix: bytes, start: int) -> None:
        self.answers: asyncio.Queue[Any] = asyncio.Queue()
        self.opened = asyncio.Event()
        self.control: WatchControl | None = None
        self._stream = store.watch(prefix, range_end(prefix), start, self._open)
        self.task = asyncio.create_task(self._run())

    def _open(self, control: WatchControl) -> None:
        self.control = control
        self.opened.set()

    async def _run(self) -> None:
        async for answer in self._stream:
            await self.answers.put(answer)

    async def next(self) -> Any:
        async with asyncio.timeout(15):
            return await self.answers.get()

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, StoreError):
            await self.task


@pytest.fixture
async def follow(store: Backend, prefix: bytes) -> AsyncIterator[Callable[[int], Following]]:
    running: list[Following] = []

    def begin(start: int) -> Following:
        running.append(Following(store, prefix, start))
        return running[-1]

    yield begin
    for one in running:
        await one.stop()


async def test_a_transaction_writes_only_when_its_conditions_hold(store: Backend, prefix: bytes) -> None:
    key = prefix + b"a"
    made = await store.txn([backend.compare_mod(key, 0)], [backend.put(key, b"1")], [backend.get(key)])
    assert made.succeeded
    refused = await store.txn([backend.compare_mod(key, 0)], [backend.put(key, b"2")], [backend.get(key)])
    assert not refused.succeeded
    (there,) = refused.responses[0].response_range.kvs
    assert (there.value, there.mod_revision) == (b"1", made.header.revision)
    assert refused.header.revision == made.header.revision


async def test_a_transaction_writes_all_under_one_revision(store: Backend, prefix: bytes) -> None:
    before = await store.current_revision()
    answer = await store.txn([], [backend.put(prefix + b"a", b"1"), backend.put(prefix + b"b", b"2")])
    assert answer.header.revision == before + 1 == await store.current_revision()
    found = await store.range(prefix, range_end(prefix))
    assert [kv.mod_revision for kv in found.kvs] == [before + 1, before + 1]


async def test_a_transaction_reads_what_it_wrote(store: Backend, prefix: bytes) -> None:
    key = prefix + b"a"
    answer = await store.txn([], [backend.get(key), backend.put(key, b"1"), backend.get(key)])
    before, after = answer.responses[0].response_range, answer.responses[2].response_range
    assert not before.kvs
    assert (after.kvs[0].value, after.kvs[0].mod_revision) == (b"1", answer.header.revision)


@pytest.mark.parametrize("field", ["version", "create_revision", "mod_revision", "lease", "value"])
async def test_conditions_compare_every_field_in_every_way(store: Backend, prefix: bytes, field: str) -> None:
    key = prefix + b"a"
    await put(store, key, b"m")
    (kv,) = (await store.range(key)).kvs
    target = {"version": 0, "create_revision": 1, "mod_revision": 2, "value": 3, "lease": 4}[field]
    have = getattr(kv, field)
    lower, higher = (b"l", b"n") if field == "value" else (have - 1, have + 1)
    holding = [(0, have), (1, lower), (2, higher), (3, lower)]
    failing = [(0, lower), (1, have), (1, higher), (2, have), (2, lower), (3, have)]
    for result, wanted in holding + failing:
        compare = pb.Compare(key=key, target=target, result=result, **{field: wanted})
        assert (await store.txn([compare], [])).succeeded == ((result, wanted) in holding), (result, wanted)


async def test_a_key_that_does_not_exist_has_zeros_and_no_value(store: Backend, prefix: bytes) -> None:
    key = prefix + b"missing"
    assert (await store.txn([backend.compare_version(key, 0), backend.compare_mod(key, 0)], [])).succeeded
    no_value = pb.Compare(key=key, target=pb.Compare.VALUE, result=pb.Compare.NOT_EQUAL, value=b"x")
    assert not (await store.txn([no_value], [])).succeeded


async def test_a_key_counts_its_versions_from_its_creation(store: Backend, prefix: bytes) -> None:
    key = prefix + b"a"
    first = await put(store, key, b"1")
    second = await put(store, key, b"2")
    (kv,) = (await store.range(key)).kvs
    assert (kv.create_revision, kv.mod_revision, kv.version, kv.value) == (first, second, 2, b"2")
    assert (await store.delete(key)).deleted == 1
    again = await put(store, key, b"3")
    (kv,) = (await store.range(key)).kvs
    assert (kv.create_revision, kv.mod_revision, kv.version) == (again, again, 1)


async def test_a_delete_of_nothing_keeps_the_revision(store: Backend, prefix: bytes) -> None:
    before = await store.current_revision()
    assert (await store.delete(prefix, range_end(prefix))).deleted == 0
    assert (await store.txn([], [backend.delete(prefix + b"a")])).header.revision == before
    assert await store.current_revision() == before


async def test_a_key_that_is_written_twice_is_refused_and_nothing_is_written(store: Backend, prefix: bytes) -> None:
    twice = [backend.put(prefix + b"b", b"0"), backend.put(prefix + b"a", b"1"), backend.put(prefix + b"a", b"2")]
    with pytest.raises(StoreError, match="duplicate key given in txn request"):
        await store.txn([], twice)
    with pytest.raises(StoreError, match="duplicate key given in txn request"):
        await store.txn([], [backend.delete(prefix + b"a"), backend.put(prefix + b"a", b"2")])
    assert await values(store, prefix) == {}


async def test_ranges_are_sorted_and_can_be_limited_and_counted(store: Backend, prefix: bytes) -> None:
    for name in (b"c", b"a", b"b", b"d"):
        await put(store, prefix + name, b"v" + name)
    end = range_end(prefix)
    page = await store.range(prefix, end, limit=2)
    assert ([kv.key for kv in page.kvs], page.more, page.count) == ([prefix + b"a", prefix + b"b"], True, 4)
    rest = await store.range(page.kvs[-1].key + b"\0", end, limit=2)
    assert ([kv.value for kv in rest.kvs], rest.more, rest.count) == ([b"vc", b"vd"], False, 2)
    keys = await store.range(prefix, end, keys_only=True)
    assert {(kv.value, kv.version) for kv in keys.kvs} == {(b"", 1)}
    count = await store.range(prefix, end, count_only=True)
    assert (count.count, len(count.kvs), count.more) == (4, 0, False)
    assert (await store.range(prefix + b"c", b"\0", limit=1)).kvs[0].key == prefix + b"c"
    assert not (await store.range(prefix)).kvs


async def test_old_revisions_can_be_read(store: Backend, prefix: bytes) -> None:
    first = await put(store, prefix + b"a", b"1")
    second = await put(store, prefix + b"b", b"1")
    await put(store, prefix + b"a", b"2")
    deleted = (await store.delete(prefix + b"b")).header.revision
    assert await values(store, prefix, first) == {b"a": b"1"}
    assert await values(store, prefix, second) == {b"a": b"1", b"b": b"1"}
    assert await values(store, prefix, deleted - 1) == {b"a": b"2", b"b": b"1"}
    assert await values(store, prefix) == {b"a": b"2"}
    answer = await store.range(prefix + b"a", revision=first)
    assert answer.header.revision == deleted
    with pytest.raises(StoreError, match="future revision"):
        await store.range(prefix, revision=deleted + 1000)


async def test_what_is_compacted_can_be_read_no_more(store: Backend, prefix: bytes) -> None:
    first = await put(store, prefix + b"a", b"1")
    await put(store, prefix + b"gone", b"1")
    await store.delete(prefix + b"gone")
    kept = await put(store, prefix + b"a", b"2")
    last = await put(store, prefix + b"a", b"3")
    await store.compact(kept)
    with pytest.raises(StoreError, match="has been compacted") as refused:
        await store.range(prefix, range_end(prefix), revision=first)
    assert refused.value.compacted
    assert await values(store, prefix, kept) == {b"a": b"2"}
    assert await values(store, prefix, last) == await values(store, prefix) == {b"a": b"3"}
    with pytest.raises(StoreError, match="has been compacted"):
        await store.compact(kept)
    with pytest.raises(StoreError, match="future revision"):
        await store.compact(last + 1000)


async def test_a_watch_from_a_compacted_revision_says_so(store: Backend, prefix: bytes) -> None:
    first = await put(store, prefix + b"a", b"1")
    last = await put(store, prefix + b"a", b"2")
    await store.compact(last)
    with pytest.raises(StoreError) as refused:
        await seen(store, prefix, first, 1)
    assert refused.value.compacted
    assert await seen(store, prefix, last, 1) == [(PUT, b"a", b"2", last)]


async def test_a_watch_tells_history_and_then_what_happens(
    store: Backend, prefix: bytes, follow: Callable[[int], Following]
) -> None:
    await put(store, prefix + b"a", b"0")
    first = await put(store, prefix + b"a", b"1")
    deleted = (await store.delete(prefix + b"a")).header.revision
    await put(store, b"/contract/elsewhere", b"x")
    watch = follow(first)
    await asyncio.wait_for(watch.opened.wait(), 10)
    last = await put(store, prefix + b"b", b"2")
    events: list[Any] = []
    while len(events) < 3:
        events += [(e.type, e.kv.value, e.kv.mod_revision) for e in (await watch.next()).events]
    assert events == [(PUT, b"1", first), (DELETE, b"", deleted), (PUT, b"2", last)]


async def test_all_changes_of_a_revision_come_together_and_in_order(
    store: Backend, prefix: bytes, follow: Callable[[int], Following]
) -> None:
    start = await store.current_revision() + 1
    live = follow(start)
    await asyncio.wait_for(live.opened.wait(), 10)
    names = [b"%03d" % number for number in range(300)]
    await asyncio.gather(
        *(
            store.txn([], [backend.put(prefix + name, b"1"), backend.put(prefix + name + b"-twin", b"2")])
            for name in names[:100]
        )
    )
    await store.delete(prefix, range_end(prefix))
    for watch in (live, follow(start)):
        revisions: list[int] = []
        while len(revisions) < 400:
            answer = await watch.next()
            if answer.events and not answer.fragment:
                # The next answer begins with another revision than this one ends with.
                assert not revisions or answer.events[0].kv.mod_revision > revisions[-1]
            revisions += [event.kv.mod_revision for event in answer.events]
        assert revisions == sorted(revisions)
        assert len(set(revisions)) == 101


async def test_a_watch_that_goes_on_where_the_last_one_ended_misses_nothing(store: Backend, prefix: bytes) -> None:
    start = await store.current_revision() + 1

    async def write() -> None:
        for number in range(60):
            await put(store, prefix + b"a", b"%d" % number)

    writing = asyncio.create_task(write())
    found: list[tuple[int, bytes, bytes, int]] = []
    while len(found) < 60:
        found += await seen(store, prefix, found[-1][3] + 1 if found else start, 1)
    await writing
    assert [int(value) for _, _, value, _ in found] == list(range(60))


async def test_a_watch_says_how_far_it_is_when_asked(
    store: Backend, prefix: bytes, follow: Callable[[int], Following]
) -> None:
    watch = follow(await store.current_revision() + 1)
    await asyncio.wait_for(watch.opened.wait(), 10)
    revision = await put(store, b"/contract/elsewhere", b"1")
    assert watch.control is not None
    reached = 0
    while reached < revision:
        # etcd may answer with less while the watch is not yet level with the store.
        await watch.control.ask_progress()
        answer = await watch.next()
        assert not answer.events
        reached = answer.header.revision if not answer.created else 0


async def test_a_watch_that_is_given_up_ends_with_an_error(
    store: Backend, prefix: bytes, follow: Callable[[int], Following]
) -> None:
    watch = follow(await store.current_revision() + 1)
    assert (await watch.next()).created
    await asyncio.wait_for(watch.opened.wait(), 10)
    assert watch.control is not None
    watch.control.abandon()
    with pytest.raises(StoreError):
        await asyncio.wait_for(watch.task, 10)


async def test_keys_go_with_their_lease_and_the_watch_tells(store: Backend, prefix: bytes) -> None:
    lease = await store.grant_lease(1)
    first = await put(store, prefix + b"a", b"1", lease)
    await put(store, prefix + b"kept", b"1", lease)
    await put(store, prefix + b"kept", b"2")
    await put(store, prefix + b"b", b"1", lease)
    assert (await store.range(prefix + b"a")).kvs[0].lease == lease
    events = await seen(store, prefix, first, 6)
    assert sorted(key for kind, key, _, _ in events if kind == DELETE) == [b"a", b"b"]
    assert await values(store, prefix) == {b"kept": b"2"}


async def test_a_lease_that_nobody_granted_is_refused(store: Backend, prefix: bytes) -> None:
    with pytest.raises(StoreError, match="requested lease not found"):
        await put(store, prefix + b"a", b"1", 123)
    assert await values(store, prefix) == {}


async def test_large_values_are_kept_and_too_large_ones_refused(store: Backend, prefix: bytes) -> None:
    value = bytes(range(256)) * 4096
    start = await put(store, prefix + b"a", value)
    assert await values(store, prefix) == {b"a": value}
    assert (await seen(store, prefix, start, 1))[0][2] == value
    with pytest.raises(StoreError, match="request is too large") as refused:
        await put(store, prefix + b"b", value + value[:700_000])
    assert not refused.value.ambiguous
    assert await values(store, prefix) == {b"a": value}


async def test_of_writers_at_the_same_moment_one_wins(store: Backend, prefix: bytes) -> None:
    key = prefix + b"a"
    creates = [store.commit([backend.compare_mod(key, 0)], [backend.put(key, b"%d" % n)], []) for n in range(40)]
    answers = [answer for answer, _ in await asyncio.gather(*creates)]
    (winner,) = [n for n, answer in enumerate(answers) if answer.succeeded]
    assert await values(store, prefix) == {b"a": b"%d" % winner}


async def test_no_change_of_concurrent_writers_is_lost(store: Backend, prefix: bytes) -> None:
    key = prefix + b"a"
    start = await put(store, key, b"0")

    async def add() -> None:
        while True:
            (kv,) = (await store.range(key)).kvs
            change = [backend.put(key, b"%d" % (int(kv.value) + 1))]
            answer, _ = await store.commit([backend.compare_mod(key, kv.mod_revision)], change, [])
            if answer.succeeded:
                return

    await asyncio.gather(*(add() for _ in range(20)))
    assert await values(store, prefix) == {b"a": b"20"}
    assert [int(value) for _, _, value, _ in await seen(store, prefix, start, 21)] == list(range(21))


async def test_whoever_was_answered_is_in_the_current_revision(store: Backend, prefix: bytes) -> None:
    revision = await put(store, prefix + b"a")
    assert await store.current_revision() >= revision
    assert (await store.status()).db_size > 0
