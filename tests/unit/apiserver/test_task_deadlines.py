"""One timer for many tasks: each is cancelled when its own time is over, and the last leaves no timer behind."""

import asyncio

from cluster.apiserver.front_door.deadlines import Deadlines


async def test_each_task_has_its_own_time_and_one_that_ends_is_left_alone() -> None:
    deadlines = Deadlines(0.05)
    ended: list[str] = []

    async def work(name: str, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            if not deadlines.passed(task):
                raise
            ended.append(f"{name} was late")
        else:
            ended.append(name)

    tasks: list[asyncio.Task[None]] = []
    for name, seconds in (("slow", 60), ("quick", 0), ("slower", 60)):
        task = asyncio.create_task(work(name, seconds))
        deadlines.begin(task)
        task.add_done_callback(deadlines.end)
        tasks.append(task)
        await asyncio.sleep(0.01)
    await asyncio.wait(tasks, timeout=10)
    assert ended == ["quick", "slow was late", "slower was late"]
    again = asyncio.create_task(work("again", 60))
    deadlines.begin(again)
    await asyncio.sleep(0)
    again.cancel()
    await asyncio.wait([again], timeout=10)
    assert again.cancelled()
