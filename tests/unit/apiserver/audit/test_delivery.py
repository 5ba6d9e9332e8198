"""Events reach their backend in order, whole or not at all; a full or slow backend holds nobody up who did not ask."""

import asyncio
import contextlib
import gzip
import json
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from cluster.apiserver.audit.log_file import LogFile, LogSettings
from cluster.apiserver.audit.queue import BATCH, BLOCKING, STRICT, AuditQueue, QueueSettings


def settings(mode: str = BLOCKING, *, buffer: int = 100, batch: int = 10, limit: int = 0) -> QueueSettings:
    return QueueSettings(mode, buffer, batch, 0.0, 0.0, 0, limit, limit * 10)


class Backend:
    """Keeps what it gets; closed, it keeps everybody waiting; broken, it raises."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.broken = False

    async def deliver(self, events: Sequence[bytes]) -> None:
        await self.open.wait()
        if self.broken:
            raise OSError("no space left on device")
        self.batches.append(list(events))


@contextlib.asynccontextmanager
async def running(backend: Backend, given: QueueSettings) -> AsyncIterator[AuditQueue]:
    queue = AuditQueue("test", given, backend.deliver)
    task = asyncio.create_task(queue.run())
    yield queue
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_whoever_blocks_waits_until_the_event_is_written() -> None:
    backend = Backend()
    backend.open.clear()
    async with running(backend, settings()) as queue:
        done = queue.put({"a": 1})
        assert done is not None
        await asyncio.sleep(0)
        assert not done.done()
        backend.open.set()
        assert await done
        assert backend.batches == [[b'{"a":1}']]


@pytest.mark.parametrize("mode", [BLOCKING, STRICT])
async def test_a_broken_backend_is_told_to_whoever_waits(mode: str) -> None:
    backend = Backend()
    backend.broken = True
    async with running(backend, settings(mode)) as queue:
        done = queue.put({"a": 1})
        assert done is not None
        assert not await done
        assert (queue.strict, queue.lost, queue.delivered) == (mode == STRICT, 1, 0)


async def test_a_full_buffer_drops_events_and_nobody_waits() -> None:
    backend = Backend()
    backend.open.clear()
    async with running(backend, settings(BATCH, buffer=3)) as queue:
        assert [queue.put({"n": number}) for number in range(5)] == [None] * 5
        assert queue.lost == 2
        backend.open.set()
    await queue.drain()
    assert [json.loads(event)["n"] for batch in backend.batches for event in batch] == [0, 1, 2]


async def test_batches_are_limited_in_number_and_bytes() -> None:
    backend = Backend()
    given = QueueSettings(BATCH, 100, 3, 0.0, 0.0, 0, 30, 30)
    queue = AuditQueue("test", given, backend.deliver)
    for number in range(7):
        queue.put({"event": number})
    await queue.drain()
    assert [len(batch) for batch in backend.batches] == [2, 2, 2, 1]


async def test_a_large_event_loses_its_bodies_before_it_is_lost_itself() -> None:
    backend = Backend()
    queue = AuditQueue("test", settings(BATCH, limit=120), backend.deliver)
    queue.put({"level": "Request", "requestObject": {"data": "x" * 200}})
    queue.put({"level": "Metadata", "requestURI": "x" * 200})
    await queue.drain()
    (event,) = [json.loads(event) for batch in backend.batches for event in batch]
    assert event == {"level": "Request", "annotations": {"audit.k8s.io/truncated": "true"}}
    assert queue.lost == 1


def log_file(path: Path, *, age: int = 0, backups: int = 0, compress: bool = False) -> LogFile:
    return LogFile(LogSettings(str(path), age, backups, 1, compress))


def parts(directory: Path, pattern: str) -> list[Path]:
    return list(directory.glob(pattern))


async def test_lines_are_appended_to_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "audit.log"
    file = log_file(path)
    file.check()
    await file.deliver([b'{"a":1}', b'{"b":2}'])
    await file.deliver([b'{"c":3}'])
    assert path.read_text().splitlines() == ['{"a":1}', '{"b":2}', '{"c":3}']
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("compress", [False, True])
async def test_a_full_file_is_set_aside_and_no_line_is_cut(tmp_path: Path, *, compress: bool) -> None:
    path = tmp_path / "audit.log"
    file = log_file(path, compress=compress)
    line = b"x" * 700_000
    await file.deliver([line])
    await file.deliver([line])
    (old,) = parts(tmp_path, "audit-*.log*")
    assert old.name.endswith(".gz") is compress
    assert (gzip.decompress(old.read_bytes()) if compress else old.read_bytes()) == line + b"\n"
    assert path.read_bytes() == line + b"\n"
    assert old.stat().st_mode & 0o777 == 0o600


async def test_old_parts_go_by_number_and_age_and_other_files_stay(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    (tmp_path / "audit-notes.log").write_text("mine")
    for year in (2019, 2020, 2021):
        (tmp_path / f"audit-{year}-01-01T00-00-00.000.log").write_text(str(year))
    line = b"x" * 700_000
    file = log_file(path, backups=2)
    await file.deliver([line])
    await file.deliver([line])
    kept = sorted(part.name[:10] for part in parts(tmp_path, "audit-2*"))
    assert [name for name in kept if name < "audit-2022"] == ["audit-2021"]
    assert (tmp_path / "audit-notes.log").exists()
    aged = log_file(path, age=30)
    await aged.deliver([line])
    assert not parts(tmp_path, "audit-2021-*")


async def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    file = log_file(path)
    await file.deliver([b"1"])
    path.rename(tmp_path / "moved")
    await file.deliver([b"2"])
    assert path.read_bytes() == b"2\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
async def test_a_full_disk_is_an_error_of_the_batch(tmp_path: Path) -> None:
    (tmp_path / "audit.log").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        await log_file(tmp_path / "audit.log").deliver([b"1"])
