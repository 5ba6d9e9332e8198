"""The embedded store's own affairs: its file, its lock, its limits. What it has in common with etcd is in
tests/integration/test_store_contract.py."""

import asyncio
import contextlib
import sqlite3
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.store import backend
from cluster.store.backend import StoreError, range_end
from cluster.store.embedded import store as embedded
from cluster.store.embedded.address import Address, parse_address
from cluster.store.embedded.file import Reserve, StoreFileError
from cluster.store.embedded.store import EmbeddedStore
from cluster.store.opening import open_backend


async def until(met: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while True:
            if await met():
                return
            await asyncio.sleep(0.02)


async def put(store: EmbeddedStore, key: bytes, value: bytes = b"v", lease: int = 0) -> int:
    return int((await store.txn([], [backend.put(key, value, lease)])).header.revision)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


async def test_what_was_written_is_there_after_a_second_opening(path: Path) -> None:
    store = EmbeddedStore(Address(path))
    lease = await store.grant_lease(60)
    await put(store, b"/a", b"1")
    revision = await put(store, b"/a", b"2", lease)
    await store.close()
    store = EmbeddedStore(Address(path))
    (kv,) = (await store.range(b"/a")).kvs
    assert (kv.value, kv.version, kv.mod_revision, kv.lease) == (b"2", 2, revision, lease)
    assert await put(store, b"/b", b"1", lease) == revision + 1
    await store.close()


async def test_a_lease_that_was_running_ends_after_a_second_opening(path: Path) -> None:
    store = EmbeddedStore(Address(path))
    await put(store, b"/a", b"1", await store.grant_lease(1))
    await store.close()
    store = EmbeddedStore(Address(path))

    async def gone() -> bool:
        return not (await store.range(b"/a")).kvs

    await until(gone)
    await store.close()


async def test_a_file_is_open_once(path: Path) -> None:
    store = EmbeddedStore(Address(path))
    with pytest.raises(StoreFileError, match="is in use by another process"):
        EmbeddedStore(Address(path))
    await put(store, b"/a")
    await store.close()
    await EmbeddedStore(Address(path)).close()


async def test_only_the_owner_may_read_the_files(path: Path) -> None:
    store = EmbeddedStore(Address(path))
    await put(store, b"/a")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes.keys() == {"store.db", "store.db-wal", "store.db-reserve"}
    assert set(modes.values()) == {0o600}
    await store.close()


def test_a_file_of_something_else_is_refused_and_kept(path: Path) -> None:
    path.write_bytes(b"these are notes, no database\n" * 100)
    with pytest.raises(StoreFileError, match="is no SQLite file"):
        EmbeddedStore(Address(path))
    assert path.read_bytes().startswith(b"these are notes")


def test_another_programs_database_is_refused_and_kept(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE bookmarks (url TEXT)")
    with pytest.raises(StoreFileError, match="SQLite file of something else"):
        EmbeddedStore(Address(path))
    with contextlib.closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("bookmarks",)]
        assert other.execute("PRAGMA journal_mode").fetchone() == ("delete",)


async def test_a_newer_format_is_refused(path: Path) -> None:
    await EmbeddedStore(Address(path)).close()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreFileError, match="format 99"):
        EmbeddedStore(Address(path))


def damage(path: Path, where: float) -> None:
    """Two pages at this part of the file."""
    whole = path.read_bytes()
    at = int(len(whole) * where) // 4096 * 4096
    path.write_bytes(whole[:at] + b"\xa5" * 8192 + whole[at + 8192 :])


@pytest.mark.parametrize("where", [0.3, 0.7])
async def test_a_damaged_file_is_refused(path: Path, where: float) -> None:
    store = EmbeddedStore(Address(path))
    for number in range(200):
        await put(store, b"/%d" % number, b"x" * 500)
    await store.close()
    damage(path, where)
    with pytest.raises(StoreFileError, match="is damaged"):
        EmbeddedStore(Address(path))


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreFileError, match="the folder must exist"):
        EmbeddedStore(Address(tmp_path / "missing" / "store.db"))
    with pytest.raises(StoreFileError, match="is no file"):
        EmbeddedStore(Address(tmp_path))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("embedded://relative.db", "no absolute path"),
        ("embedded:///folder/", "no absolute path"),
        ("embedded://", "no absolute path"),
        ("embedded:///a.db?synchronous=off", "synchronous is 'off'"),
        ("embedded:///a.db?quota=2G", "quota is '2G'"),
        ("embedded:///a.db?speed=1", "speed is no setting"),
    ],
)
def test_a_wrong_address_is_explained(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_address(text)


def test_an_address_says_where_and_how() -> None:
    assert parse_address("embedded:///x/a%20b.db?synchronous=normal&quota=4096") == Address(
        Path("/x/a b.db"), "normal", 4096
    )
    assert parse_address("embedded://:memory:").path is None


def test_an_embedded_store_has_no_members() -> None:
    with pytest.raises(ValueError, match="an embedded store is alone"):
        open_backend(["embedded://:memory:", "http://127.0.0.1:2379"])


async def fill(store: EmbeddedStore, name: str) -> list[bytes]:
    """Put until the store is full; `name` gets a number. The keys that were taken."""
    taken: list[bytes] = []
    refused: StoreError | None = None
    while refused is None:
        key = (name % len(taken)).encode() if "%" in name else name.encode()
        try:
            await put(store, key, b"x" * 2000)
            taken.append(key)
        except StoreError as fault:
            refused = fault
    assert refused.full
    assert not refused.ambiguous
    return taken


async def takes(store: EmbeddedStore) -> bool:
    with contextlib.suppress(StoreError):
        await put(store, b"/new")
        return True
    return False


async def test_a_full_store_takes_deletes_and_then_writes_again(path: Path) -> None:
    store = EmbeddedStore(Address(path, quota=400_000))
    taken = await fill(store, "/%05d")
    assert len((await store.range(b"/", b"0")).kvs) == len(taken) > 50
    for key in taken[:40]:
        assert (await store.txn([backend.compare_version(key, 1)], [backend.delete(key)])).succeeded
    await store.compact(await store.current_revision())
    await until(lambda: takes(store))
    await store.close()


async def test_a_full_store_gives_up_its_history_by_itself(path: Path) -> None:
    store = EmbeddedStore(Address(path, quota=400_000))
    assert len(await fill(store, "/same")) > 50
    await until(lambda: takes(store))
    await store.close()


async def test_the_reserve_is_given_up_when_the_disk_is_full(path: Path) -> None:
    """The largest number of pages stands for the end of the disk: SQLite says the same."""
    store = EmbeddedStore(Address(path))
    connection = store._database._connection
    await store._call(lambda _: connection.execute("PRAGMA max_page_count = 80").fetchall())
    taken = await fill(store, "/%05d")
    assert not path.with_name("store.db-reserve").exists()
    await store._call(lambda _: connection.execute("PRAGMA max_page_count = 100000").fetchall())
    assert (await store.delete(taken[0])).deleted == 1
    store._writer._looked_for_space = 0.0
    await put(store, b"/again")
    assert path.with_name("store.db-reserve").exists()
    await store.close()


def test_a_reserve_that_finds_no_room_does_not_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reserve, "SIZE", 1 << 60)
    assert not Reserve(tmp_path / "store.db").stands
    assert list(tmp_path.iterdir()) == []


async def test_compaction_forgets_rows_of_the_past_and_no_others(path: Path) -> None:
    store = EmbeddedStore(Address(path))
    for number in range(30):
        await put(store, b"/a", b"%d" % number)
        await put(store, b"/b-%d" % number)
    await store.delete(b"/b-", range_end(b"/b-"))
    middle = await put(store, b"/a", b"middle")
    await put(store, b"/a", b"last")
    await store.compact(middle)

    async def purged() -> bool:
        return bool(await store._call(lambda database: database._number("SELECT count(*) FROM history")) == 2)

    await until(purged)
    assert (await store.range(b"/a", revision=middle)).kvs[0].value == b"middle"
    await store.close()


async def test_a_watch_that_is_not_read_falls_back_to_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_MAX_BACKLOG", 10)
    store = EmbeddedStore(Address(None))
    stream: Any = store.watch(b"/", b"0", await store.current_revision() + 1, lambda _: None)
    assert (await anext(stream)).created
    await put(store, b"/0")
    found = list((await anext(stream)).events)
    for number in range(1, 500):
        await put(store, b"/%d" % number)
    while len(found) < 500:
        found += (await anext(stream)).events
    assert [event.kv.key for event in found] == [b"/%d" % number for number in range(500)]
    await stream.aclose()
    await store.close()


async def test_closing_does_what_was_asked_before_and_nothing_after(path: Path) -> None:
    store = EmbeddedStore(Address(path))
    writes = [asyncio.create_task(put(store, b"/%d" % number)) for number in range(50)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*writes)
    with pytest.raises(StoreError, match="the store is closed"):
        await put(store, b"/late")
    with pytest.raises(StoreError, match="the store is closed"):
        await store.current_revision()
    store = EmbeddedStore(Address(path))
    assert (await store.range(b"/", b"0", count_only=True)).count == 50
    await store.close()


async def test_one_bad_request_does_not_spoil_the_others_of_its_batch(path: Path) -> None:
    store = EmbeddedStore(Address(path))

    def broken(database: Any) -> None:
        database._write(b"/half", b"", create_revision=1, version=1, lease=0)
        raise KeyError("half-way")

    results = await asyncio.gather(put(store, b"/a"), store._call(broken), put(store, b"/b"), return_exceptions=True)
    assert isinstance(results[1], StoreError)
    assert [kv.key for kv in (await store.range(b"/", b"0")).kvs] == [b"/a", b"/b"]
    await store.close()
