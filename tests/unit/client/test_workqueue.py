"""Keys wait once, come back later, and are never worked on twice at once."""

import asyncio

import pytest

from cluster.client.workqueue import ShutDown, WorkQueue


async def test_a_key_waits_only_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.add("a")

    assert await queue.get() == "a"
    assert len(queue) == 0


async def test_a_key_added_while_it_is_worked_on_comes_back_afterwards() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await queue.get()
    queue.add("a")
    assert len(queue) == 0

    queue.done("a")

    assert await queue.get() == "a"


async def test_failures_wait_longer_each_time_until_forgotten() -> None:
    queue: WorkQueue[str] = WorkQueue(base_backoff=0.005)
    loop = asyncio.get_running_loop()
    started = loop.time()
    for _ in range(3):
        queue.add_rate_limited("a")
        queue.done(await queue.get())
    assert loop.time() - started >= 0.03
    assert queue.failures("a") == 3

    queue.forget("a")

    assert queue.failures("a") == 0


async def test_of_two_delays_the_earlier_counts() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 60)
    queue.add_after("a", 0.01)

    async with asyncio.timeout(1):
        assert await queue.get() == "a"


async def test_a_cancelled_worker_hands_its_wake_up_on() -> None:
    queue: WorkQueue[str] = WorkQueue()
    first, second = asyncio.create_task(queue.get()), asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()

    async with asyncio.timeout(1):
        assert await second == "a"


async def test_shutting_down_ends_the_workers() -> None:
    queue: WorkQueue[str] = WorkQueue()
    worker = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.shut_down()

    with pytest.raises(ShutDown):
        await worker
