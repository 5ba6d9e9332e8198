"""
Trouble, one at a time: apiservers killed and paused, etcd killed and paused, all started again.
"""

import asyncio
import random
import signal

from tests.histories.servers import Server, Servers


class Nemesis:
    def __init__(self, servers: Servers, seed: int, told: list[str], interval: float) -> None:
        """`interval`: seconds between two troubles, on average."""
        self._interval = interval
        self._servers = servers
        self._random = random.Random(f"nemesis {seed}")
        self._told = told

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._random.uniform(0.5, 1.5) * self._interval)
            victim = self._random.choice([*self._servers.apiservers, *self._servers.apiservers, self._servers.etcd])
            if self._random.random() < 0.5:
                await self._kill(victim)
            else:
                await self._pause(victim)

    async def heal(self) -> None:
        """Everything runs when this returns."""
        for server in (self._servers.etcd, *self._servers.apiservers):
            server.signal(signal.SIGCONT)
            if server.process is None or server.process.returncode is not None:
                await server.start()
        for server in self._servers.apiservers:
            await self._servers.wait_ready(server)

    async def _kill(self, victim: Server) -> None:
        self._told.append(f"killed {victim.name}")
        await victim.kill()
        await asyncio.sleep(self._random.uniform(0.1, 1.5))
        await victim.start()

    async def _pause(self, victim: Server) -> None:
        seconds = self._random.uniform(0.2, 4.0)
        self._told.append(f"paused {victim.name} for {seconds:.1f} s")
        victim.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            victim.signal(signal.SIGCONT)
