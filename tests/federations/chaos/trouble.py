"""What breaks, and how all of it becomes whole again."""

import asyncio
import signal
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from tests.fakes.fake_member import FakeMember
from tests.federations.chaos.schedule import Step
from tests.federations.proxy import PASS
from tests.federations.world import World
from tests.histories.servers import Server


class Trouble:
    def __init__(self, world: World) -> None:
        self._world = world
        self._tasks: set[asyncio.Task[None]] = set()
        self._dying: dict[str, asyncio.subprocess.Process] = {}
        """Processes that were sent SIGKILL, and may not have ended yet, by part."""
        self._starting: dict[str, asyncio.Task[None]] = {}
        """By part; never cancelled: half a start would leave a process that nobody knows."""
        self.done: Counter[str] = Counter()

    def begin(self, step: Step) -> None:
        """It goes on beside what else happens, and ends by itself."""
        self.done[step.what] += 1
        task = asyncio.create_task(self._made(step), name=f"{step.what} {step.target}")
        self._tasks.add(task)

    def _made(self, step: Step) -> Coroutine[Any, Any, None]:
        world, member = self._world, self._world.members[step.target]
        match step.what.split():
            case ["kill", part]:
                return self._kill(part, step.seconds)
            case ["pause", part]:
                return self._pause(part, step.seconds)
            case ["cut", "manager"]:
                return self._cut([world.to_api], step)
            case ["cut", "member"]:
                return self._cut([world.to_members[step.target]], step)
            case ["crash", "member"]:
                return self._crash(member, step.seconds)
            case ["hang", "member"]:
                return self._hang(member, step.seconds)
            case _:
                return self._misbehave(member, step)

    def _server(self, part: str) -> Server:
        return self._world.manager if part == "manager" else self._world.apiserver

    async def _kill(self, part: str, seconds: float) -> None:
        server = self._server(part)
        if server.process is not None:
            self._dying[part] = server.process
        await server.kill()
        await asyncio.sleep(seconds / 2)
        await self._run(part)

    async def _pause(self, part: str, seconds: float) -> None:
        server = self._server(part)
        server.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        server.signal(signal.SIGCONT)

    async def _run(self, part: str) -> None:
        """Unless another trouble has started it meanwhile."""
        server = self._server(part)
        if server.process is not None and server.process is self._dying.get(part):
            await server.process.wait()
        starting = self._starting.get(part)
        ended = server.process is None or server.process.returncode is not None
        if ended and (starting is None or starting.done()):
            starting = self._starting[part] = asyncio.create_task(server.start(), name=f"start {part}")
        if starting is not None:
            await asyncio.shield(starting)

    async def _cut(self, proxies: list[Any], step: Step) -> None:
        for proxy in proxies:
            proxy.turn(step.details["mode"])
        await asyncio.sleep(step.seconds)
        for proxy in proxies:
            proxy.turn(PASS)

    async def _crash(self, member: FakeMember, seconds: float) -> None:
        await member.crash()
        await asyncio.sleep(seconds)
        await member.come_back()

    async def _hang(self, member: FakeMember, seconds: float) -> None:
        member.hang()
        await asyncio.sleep(seconds)
        member.resume()

    async def _misbehave(self, member: FakeMember, step: Step) -> None:
        if step.what == "lose answers":
            member.behaves.losing_answers = 0.5
            await asyncio.sleep(step.seconds)
            member.behaves.losing_answers = 0.0
        elif step.what == "fail":
            member.behaves.error_burst = 20
        elif step.what == "throttle":
            member.behaves.throttled = 0.7
            await asyncio.sleep(step.seconds)
            member.behaves.throttled = 0.0
        elif step.what == "forget":
            member.forget_history()
        else:
            raise ValueError(f"{step.what!r} is no trouble")

    async def heal(self) -> None:
        """Everything runs and answers when this returns, or is about to. Raises what a trouble failed with."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
        world = self._world
        for proxy in (world.to_api, *world.to_members.values()):
            proxy.turn(PASS)
        for member in world.members.values():
            member.resume()
            member.behaves.losing_answers = member.behaves.throttled = 0.0
            member.behaves.error_burst = 0
            await member.come_back()
        for server in (world.apiserver, world.manager):
            server.signal(signal.SIGCONT)
        await self._run("apiserver")
        await self._run("manager")
