"""Who gets a seat, who waits, who is turned away."""

import asyncio

import pytest

from cluster.apiserver.flow_control.level import Level, Rejected, Seat
from cluster.apiserver.flow_control.limits import LevelSettings


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def level(seats: int, *, queues: int = 16, hand: int = 2, length: int = 50, exempt: bool = False) -> Level:
    made = Level(LevelSettings("test", "", exempt, 10, 0, None, queues, hand, length), Clock())
    made.set_limit(seats)
    return made


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_free_seat_is_taken_at_once_and_given_back_once() -> None:
    one = level(1)
    seat = one.try_enter(1)
    assert seat is not None
    assert one.try_enter(1) is None
    seat.leave()
    seat.leave()
    assert one.used == 0
    assert one.try_enter(1) is not None


async def test_a_level_without_queues_turns_away() -> None:
    one = level(1, queues=0)
    one.try_enter(1)
    with pytest.raises(Rejected, match="concurrency-limit"):
        await one.wait(7, 1, 1)


async def test_who_waits_gets_the_seat_that_becomes_free() -> None:
    one = level(1)
    first = one.try_enter(1)
    assert first is not None
    waiting = asyncio.create_task(one.wait(7, 1, 5))
    await settle()
    assert one.waiting == 1
    first.leave()
    assert (await waiting).width == 1
    assert (one.waiting, one.used) == (0, 1)


async def test_a_full_queue_and_a_long_wait_turn_away() -> None:
    one = level(1, queues=1, hand=1, length=1)
    one.try_enter(1)
    waiting = asyncio.create_task(one.wait(1, 1, 0.05))
    await settle()
    with pytest.raises(Rejected, match="queue-full"):
        await one.wait(2, 1, 1)
    with pytest.raises(Rejected, match="time-out"):
        await waiting
    assert one.waiting == 0


async def test_a_cancelled_wait_keeps_no_seat() -> None:
    one = level(1)
    first = one.try_enter(1)
    assert first is not None
    waiting = asyncio.create_task(one.wait(1, 1, 5))
    await settle()
    first.leave()  # the seat is on its way to the task
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (one.used, one.waiting) == (0, 0)


async def test_what_is_wider_than_the_level_runs_alone() -> None:
    one = level(4)
    small = one.try_enter(1)
    assert small is not None
    assert one.try_enter(10) is None
    small.leave()
    wide = one.try_enter(10)
    assert wide is not None
    assert one.try_enter(1) is None


async def test_exempt_requests_never_wait() -> None:
    one = level(1, exempt=True)
    assert all(one.try_enter(1) for _ in range(100))


async def test_a_greedy_flow_does_not_starve_another() -> None:
    one = level(2, queues=64, hand=6, length=50)
    clock = one._clock
    assert isinstance(clock, Clock)
    order: list[str] = []

    async def run(name: str, flow: int) -> None:
        seat: Seat = await one.wait(flow, 1, 60)
        order.append(name)
        await asyncio.sleep(0)
        clock.now += 0.01
        seat.leave()

    greedy = [asyncio.create_task(run("greedy", 123456789)) for _ in range(200)]
    await settle()
    modest = [asyncio.create_task(run("modest", 987654321987)) for _ in range(5)]
    await asyncio.gather(*greedy, *modest)
    # Two hundred stood before them, and yet they all ran among the first few dozens.
    assert max(at for at, name in enumerate(order) if name == "modest") < 60


async def test_demand_is_what_ran_and_waited_over_the_time() -> None:
    one = level(1)
    clock = one._clock
    assert isinstance(clock, Clock)
    seat = one.try_enter(1)
    assert seat is not None
    waiting = asyncio.create_task(one.wait(1, 1, 60))
    await settle()
    clock.now += 5
    seat.leave()
    (await waiting).leave()
    clock.now += 5
    average, _, high = one.take_demand()
    assert (average, high) == (1.0, 2.0)
