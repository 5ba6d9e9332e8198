"""
What a turn of the event loop brings for watchers, written at its end: several events in one piece.

The store tells changes in bunches. A piece of several events costs a client's connection little more than one event,
and watchers of the same things get the same pieces, which are joined once. With many watchers writing takes long
itself; then the next turn's end waits as long as the last one took, so that more comes together: the delay is a few
milliseconds when there is much to write, and nothing that could be felt when there is little.
"""

import asyncio
import time
from typing import Protocol

from cluster.store.resource_cache import Change

LONGEST_WAIT = 0.02
"""Seconds."""


class Stream(Protocol):
    out: list[bytes]

    def write(self, data: bytes) -> None: ...


class Turns:
    def __init__(self) -> None:
        self._streams: list[Stream] = []
        self._changes: list[Change] = []
        self._not_before = 0.0
        """Loop time of the next writing."""

    def add(self, stream: Stream) -> None:
        """`stream.out` is no longer empty; it is written and emptied at the end of this turn."""
        if not self._streams:
            loop = asyncio.get_running_loop()
            if loop.time() < self._not_before:
                loop.call_at(self._not_before, self._end, loop)
            else:
                loop.call_soon(self._end, loop)
        self._streams.append(stream)

    def encoded(self, change: Change) -> None:
        """The change's frames are needed until the turn ends; kept longer, they would double what the ring holds."""
        self._changes.append(change)

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        began = time.monotonic()
        streams, self._streams = self._streams, []
        changes, self._changes = self._changes, []
        joined: dict[tuple[int, ...], bytes] = {}
        for stream in streams:
            out = stream.out
            if not out:
                continue  # written meanwhile, before something else that goes the same way
            stream.out = []
            if len(out) == 1:
                stream.write(out[0])
                continue
            # Frames live until all is written, so their identities are theirs alone.
            key = tuple(map(id, out))
            data = joined.get(key)
            if data is None:
                data = joined[key] = b"".join(out)
            stream.write(data)
        for change in changes:
            change.frames.clear()
        self._not_before = loop.time() + min(time.monotonic() - began, LONGEST_WAIT)
