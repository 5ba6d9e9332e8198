"""
Reads container logs as the runtime writes them: `TIME stdout|stderr F|P text`, a line each.

Source: the CRI's log format; options are those of pods/log.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

BLOCK = 64 * 1024
FOLLOW_SECONDS = 0.25
ROTATION_TRIES, ROTATION_SECONDS = 20, 0.05


@dataclass(frozen=True, slots=True)
class LogOptions:
    follow: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since: datetime | None = None
    stream: str = ""
    """stdout or stderr alone; empty for both."""


@dataclass(frozen=True, slots=True)
class LogLine:
    time: str
    stream: str
    text: bytes
    """With its newline when the line is whole, without for a part of a long line."""


def parse_line(raw: bytes) -> LogLine | None:
    """None for a line that is not in the format: it is left out."""
    parts = raw.rstrip(b"\n").split(b" ", 3)
    if len(parts) < 3 or parts[1] not in (b"stdout", b"stderr"):
        return None
    text = parts[3] if len(parts) > 3 else b""
    partial = parts[2].split(b":")[0] == b"P"
    return LogLine(parts[0].decode("latin-1"), parts[1].decode(), text if partial else text + b"\n")


def parse_time(text: str) -> datetime:
    """RFC 3339 with nanoseconds, cut to microseconds."""
    head, dot, tail = text.partition(".")
    if dot:
        digits = tail.rstrip("Zz").partition("+")[0].partition("-")[0]
        text = f"{head}.{digits[:6]}{tail[len(digits) :]}"
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def tail_offset(file: BinaryIO, lines: int) -> int:
    """Where the last `lines` lines begin. Blocking."""
    end = file.seek(0, os.SEEK_END)
    if lines <= 0:
        return end
    position, found = end, 0
    while position > 0:
        size = min(BLOCK, position)
        position -= size
        file.seek(position)
        block = file.read(size)
        index = len(block)
        while (index := block.rfind(b"\n", 0, index)) >= 0:
            if position + index == end - 1:
                continue
            found += 1
            if found >= lines:
                return position + index + 1
    return 0


async def open_log(path: Path) -> BinaryIO:
    """In the middle of a rotation the name is gone for a moment: wait for it. Raises FileNotFoundError."""
    for _ in range(ROTATION_TRIES):
        with contextlib.suppress(FileNotFoundError):
            return path.open("rb")
        await asyncio.sleep(ROTATION_SECONDS)
    return path.open("rb")


async def read_log(path: Path, options: LogOptions, is_running: Callable[[], bool]) -> AsyncIterator[bytes]:
    """
    The log as `kubectl logs` shows it.

    Follows a rotation: when another file appears under the name, it goes on there. Ends when the container
    does (`is_running`), or at the end of the file without `follow`. Raises FileNotFoundError.
    """
    left = options.limit_bytes
    file = await open_log(path)
    try:
        if options.tail_lines is not None:
            file.seek(await asyncio.to_thread(tail_offset, file, options.tail_lines))
        rest = b""
        replaced = False
        while True:
            ending = not options.follow or not is_running()
            block = await asyncio.to_thread(file.read, BLOCK)
            if not block:
                if replaced:
                    file.close()
                    file, rest, replaced = await open_log(path), b"", False
                    continue
                if _is_replaced(file.fileno(), path):
                    replaced = True  # what was written between our read and the rotation is still to be read
                    continue
                if ending:
                    return
                await asyncio.sleep(FOLLOW_SECONDS)
                continue
            replaced = False
            *lines, rest = (rest + block).split(b"\n")
            out = b"".join(filter(None, (_shown(line, options) for line in lines)))
            if left is not None:
                out, left = out[:left], left - len(out)
            if out:
                yield out
            if left is not None and left <= 0:
                return
    finally:
        file.close()


def _is_replaced(descriptor: int, path: Path) -> bool:
    try:
        return os.fstat(descriptor).st_ino != path.stat().st_ino
    except FileNotFoundError:
        return False


def _shown(raw: bytes, options: LogOptions) -> bytes:
    line = parse_line(raw)
    if line is None or (options.stream and line.stream != options.stream):
        return b""
    if options.since is not None and parse_time(line.time) < options.since:
        return b""
    return line.time.encode() + b" " + line.text if options.timestamps else line.text
