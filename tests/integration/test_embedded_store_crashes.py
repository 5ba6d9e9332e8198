"""The embedded store when its process is killed in the middle of writes, and when its disk is full."""

import asyncio
import contextlib
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.store import backend
from cluster.store.backend import StoreError, range_end
from cluster.store.embedded.address import Address
from cluster.store.embedded.store import EmbeddedStore
from tests.integration.conftest import serving

ROOT = Path(__file__).parents[2]

WRITER = """
import asyncio, sys
from pathlib import Path
from cluster.store import backend
from cluster.store.embedded.address import Address
from cluster.store.embedded.store import EmbeddedStore

async def write(store, writer, begin):
    for number in range(begin, begin + 1_000_000):
        puts = [backend.put(b"/w/%d" % writer, b"%d" % number), backend.put(b"/twin/%d" % writer, b"%d" % number)]
        answer = await store.txn([], puts)
        sys.stdout.write(f"{writer} {number} {answer.header.revision}\\n")
        sys.stdout.flush()

async def main():
    store = EmbeddedStore(Address(Path(sys.argv[1])))
    await asyncio.gather(*(write(store, writer, int(sys.argv[2])) for writer in range(8)))

asyncio.run(main())
"""


def written_until_killed(path: Path, begin: int, seconds: float) -> dict[int, tuple[int, int]]:
    """Newest acknowledged number and revision of each writer; the process gets SIGKILL `seconds` after the first."""
    argv = [sys.executable, "-c", WRITER, str(path), str(begin)]
    acknowledged: dict[int, tuple[int, int]] = {}
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        timer = threading.Timer(seconds, process.kill)
        for line in process.stdout:
            if not acknowledged:
                timer.start()
            if line.endswith("\n"):
                writer, number, revision = map(int, line.split())
                acknowledged[writer] = number, revision
        timer.join()
    assert process.returncode == -9
    return acknowledged


async def test_killed_at_any_moment_it_keeps_every_acknowledged_write(tmp_path: Path) -> None:
    chance = random.Random(7)
    path, last_revision = tmp_path / "store.db", 0
    for turn in range(6):
        acknowledged = await asyncio.to_thread(written_until_killed, path, turn * 1_000_000, chance.uniform(0.01, 0.4))
        store = EmbeddedStore(Address(path))  # checks the whole file
        stored = {kv.key: kv for kv in (await store.range(b"/w/", range_end(b"/w/"))).kvs}
        twins = {kv.key: kv.value for kv in (await store.range(b"/twin/", range_end(b"/twin/"))).kvs}
        assert acknowledged
        for writer, (number, revision) in acknowledged.items():
            kv = stored[b"/w/%d" % writer]
            assert int(kv.value) >= number
            assert kv.mod_revision >= revision > last_revision
            assert twins[b"/twin/%d" % writer] == kv.value
        last_revision = await store.current_revision()
        events, last = await store._call(_all_events)
        assert last == last_revision
        assert [event.kv.mod_revision for event in events[::2]] == list(range(2, last_revision + 1))
        await store.close()


def _all_events(database: object) -> object:
    from cluster.store.generated import etcd_pb2 as pb

    everything = pb.RangeRequest(key=b"\0", range_end=b"\0", revision=1)
    return database.changes(everything, 1 << 30)  # type: ignore[attr-defined]


async def test_a_full_store_is_told_to_clients_who_may_still_delete(tmp_path: Path) -> None:
    async with serving(f"embedded://{tmp_path}/store.db?quota=4000000", tmp_path) as api:
        maps, taken, status = f"{await api.namespace('t-full')}/configmaps", -1, 201
        while status == 201:
            taken += 1
            body = {"metadata": {"name": f"c{taken}"}, "data": {"text": "x" * 200_000}}
            status, answer = await api.call("POST", maps, body)
        assert (status, answer["code"]) == (507, 507)
        assert "database space exceeded" in answer["message"]
        assert taken > 3
        for number in range(taken):
            assert (await api.call("DELETE", f"{maps}/c{number}"))[0] == 200
        assert (await api.call("GET", maps))[1]["items"] == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """24 MB, of which the store keeps 8 in reserve."""
    mount = tmp_path / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", mount], check=True)
    yield mount
    subprocess.run(["umount", "--lazy", mount], check=True)


@pytest.mark.needs_root
async def test_on_a_full_disk_deletes_work_and_make_room(small_disk: Path) -> None:
    store = EmbeddedStore(Address(small_disk / "store.db"))
    fill = small_disk / "of-somebody-else"
    taken: list[bytes] = []
    refused: StoreError | None = None
    while refused is None:
        key = b"/%05d" % len(taken)
        try:
            await store.txn([], [backend.put(key, b"x" * 100_000)])
            taken.append(key)
        except StoreError as fault:
            refused = fault
    assert refused.full
    with contextlib.suppress(OSError), fill.open("wb") as file:  # even when others leave nothing over
        while True:
            file.write(b"\0" * 4096)
            file.flush()
    for key in taken[1:]:
        assert (await store.delete(key)).deleted == 1
    assert (await store.range(b"/", b"0", count_only=True)).count == 1
    fill.unlink()
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(StoreError):
                await store.txn([], [backend.put(b"/again", b"x" * 100_000)])
                break
            await asyncio.sleep(0.1)
    await store.close()
    store = EmbeddedStore(Address(small_disk / "store.db"))
    assert [kv.key for kv in (await store.range(b"/", b"0")).kvs] == [taken[0], b"/again"]
    await store.close()
