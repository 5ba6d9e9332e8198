"""Events of one turn reach watchers in one piece."""

import asyncio

from cluster.apiserver.watch_turns import Turns
from cluster.store.encoding import Entry
from cluster.store.resource_cache import ADDED, Change


class Watching:
    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.out: list[bytes] = []
        self.written: list[bytes] = []

    def tell(self, frame: bytes) -> None:
        self.out.append(frame)
        if len(self.out) == 1:
            self.turns.add(self)

    def write(self, data: bytes) -> None:
        self.written.append(data)


async def test_what_comes_in_one_turn_is_written_once_and_joined_once() -> None:
    turns = Turns()
    first, second, third = Watching(turns), Watching(turns), Watching(turns)
    frames = [b"one ", b"two "]
    for frame in frames:
        first.tell(frame)
        second.tell(frame)
    third.tell(frames[1])
    await asyncio.sleep(0.05)
    assert first.written == second.written == [b"one two "]
    assert first.written[0] is second.written[0]
    assert third.written == [b"two "]
    first.tell(b"three")
    await asyncio.sleep(0.05)
    assert first.written == [b"one two ", b"three"]


async def test_frames_are_let_go_when_the_turn_ends() -> None:
    turns = Turns()
    entry = Entry(b'{"kind":"A","apiVersion":"v1","metadata":{"name":"a"}}', 3)
    change = Change(ADDED, entry, None)
    change.frames["form"] = b"frame"
    turns.encoded(change)
    Watching(turns).tell(b"frame")
    await asyncio.sleep(0.05)
    assert not change.frames
