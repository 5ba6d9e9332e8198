"""
The audit log: one JSON line an event, in a file rotated by size, whose old parts go by age and number.

All of it blocks and runs in a thread; queue.py sees that there is only one at a time.
Source: kube-apiserver's --audit-log-* flags; names of old parts as lumberjack gives them.
"""

import asyncio
import contextlib
import datetime as dt
import gzip
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

_MEGABYTE = 1024 * 1024
_DEFAULT_SIZE = 100 * _MEGABYTE
_STAMP = "%Y-%m-%dT%H-%M-%S"


@dataclass(frozen=True, slots=True)
class LogSettings:
    path: str
    """`-` is standard output."""
    max_age: int
    """Days that old parts are kept; 0 for ever."""
    max_backups: int
    """How many old parts are kept; 0 for all."""
    max_size: int
    """Megabytes before the file is rotated; 0 for 100."""
    compress: bool


class LogFile:
    def __init__(self, settings: LogSettings) -> None:
        self._settings = settings
        self._path = Path(settings.path)
        self._limit = settings.max_size * _MEGABYTE or _DEFAULT_SIZE

    def check(self) -> None:
        """Raises OSError when the file cannot be written, before anybody relies on it."""
        if self._settings.path != "-":
            self._path.parent.mkdir(parents=True, exist_ok=True)
            os.close(self._open())

    async def deliver(self, events: Sequence[bytes]) -> None:
        """Raises OSError, and then none of the events is in the file."""
        await asyncio.to_thread(self._write, events)

    def _write(self, events: Sequence[bytes]) -> None:
        data = b"\n".join(events) + b"\n"
        if self._settings.path == "-":
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        # Opened for each batch: whoever moves the file away or removes it gets a new one.
        descriptor = self._open()
        try:
            size = os.fstat(descriptor).st_size
            if size and size + len(data) > self._limit:
                os.close(descriptor)
                self._rotate()
                descriptor = self._open()
                size = os.fstat(descriptor).st_size
            try:
                _write_all(descriptor, data)
            except OSError:
                with contextlib.suppress(OSError):  # a pipe or device cannot
                    os.ftruncate(descriptor, size)  # no half line
                raise
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _rotate(self) -> None:
        now = dt.datetime.now(dt.UTC)
        stamp = f"{now.strftime(_STAMP)}.{now.microsecond // 1000:03d}"
        old = self._path.with_name(f"{self._path.stem}-{stamp}{self._path.suffix}")
        self._path.rename(old)
        if self._settings.compress:
            _compress(old)
        self._remove_old(now)

    def _remove_old(self, now: dt.datetime) -> None:
        parts = sorted(self._path.parent.glob(f"{self._path.stem}-*{self._path.suffix}*"), reverse=True)
        dated = [(part, stamp) for part in parts if (stamp := self._stamp(part)) is not None]
        for number, (part, stamp) in enumerate(dated, 1):
            too_many = self._settings.max_backups and number > self._settings.max_backups
            too_old = self._settings.max_age and now - stamp > dt.timedelta(days=self._settings.max_age)
            if too_many or too_old:
                part.unlink(missing_ok=True)

    def _stamp(self, part: Path) -> dt.datetime | None:
        """When it was rotated; None for a file of somebody else."""
        name = part.name.removesuffix(".gz").removesuffix(self._path.suffix)
        try:
            text = name.removeprefix(f"{self._path.stem}-").rpartition(".")[0]
            return dt.datetime.strptime(text, _STAMP).replace(tzinfo=dt.UTC)
        except ValueError:
            return None


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _compress(part: Path) -> None:
    packed = part.with_name(part.name + ".gz")
    descriptor = os.open(packed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with part.open("rb") as source, os.fdopen(descriptor, "wb") as target, gzip.GzipFile("", "wb", 6, target) as zipped:
        shutil.copyfileobj(source, zipped)
    part.unlink()
