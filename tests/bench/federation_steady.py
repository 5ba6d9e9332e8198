"""Rows 3, 7 and 24, and a hollow federation: what a federation at rest and its restart cost."""

import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path

from cluster.api.resources import CONFIG_MAPS
from tests.bench.arrivals import Arrivals, config_map
from tests.bench.federation_propagation import fill, revision, settle
from tests.bench.figures import Figures, process_cpu_seconds, resident_memory
from tests.fakes.member.peculiarities import Peculiarities
from tests.federations.world import World, stop, world

HOLLOW_MEMBERS, HOLLOW_NODES = 100, 1000


async def rest_and_restart(figures: Figures) -> None:
    """Everything is in sync; then nothing is written by anybody, also after a restart."""
    number = 10_000 if figures.full else 2_000
    with tempfile.TemporaryDirectory() as home:
        async with world(Path(home), members=3) as federation:
            await settle(federation)
            began = time.perf_counter()
            await fill(federation, number)
            figures.add(
                "federation: objects in 3 members, one hundred at a time", number / (time.perf_counter() - began), "1/s"
            )
            figures.add(f"federation 24: controller manager, {number} objects, 3 members", _memory(federation), "MiB")
            await asyncio.sleep(3)
            seconds = 600.0 if figures.full else 15.0
            before, cpu, version = _writes(federation), _cpu(federation), await revision(federation)
            await asyncio.sleep(seconds)
            figures.add(f"federation 7: idle writes into members, {seconds:g} s", _writes(federation) - before, "")
            figures.add(
                f"federation 7: idle writes to the store, {seconds:g} s", await revision(federation) - version, ""
            )
            figures.add(
                "federation 7: idle CPU of the controller manager", (_cpu(federation) - cpu) / seconds * 100, "%"
            )
            before = _writes(federation)
            took = await _restarted(federation)
            figures.add(f"federation 3: restart with {number} objects until one more arrives", took, "s")
            await asyncio.sleep(5)
            figures.add("federation 3: writes into members but for that one", _writes(federation) - before - 3, "")
            figures.add("federation 24: controller manager after the restart", _memory(federation), "MiB")


async def hollow(figures: Figures) -> None:
    """A hundred members with a thousand nodes each; their lists are made of the same bytes."""
    members = HOLLOW_MEMBERS if figures.full else 20
    with tempfile.TemporaryDirectory() as home:
        behaves = {f"h{at:03d}": Peculiarities(nodes=HOLLOW_NODES) for at in range(members)}
        async with world(Path(home), behaves=behaves) as federation:
            await federation.wait_phase(*federation.members, seconds=120)
            name = f"{members} members of {HOLLOW_NODES} nodes"
            await asyncio.sleep(10)
            figures.add(f"federation, {name}: controller manager", _memory(federation), "MiB")
            cpu = _cpu(federation)
            await asyncio.sleep(15)
            figures.add(f"federation, {name}: its CPU at rest", (_cpu(federation) - cpu) / 15 * 100, "%")
            took = await _restarted(federation)
            figures.add(f"federation, {name}: restart until an object arrives", took, "s")
            await asyncio.sleep(10)
            figures.add(f"federation, {name}: controller manager after it", _memory(federation), "MiB")


async def _restarted(federation: World) -> float:
    """Seconds from the start of a new controller manager until an object that was made meanwhile is everywhere."""
    await stop(federation.manager)
    arrivals = Arrivals(federation.members.values())
    await federation.api.create(CONFIG_MAPS, config_map("after-restart", "1"))
    began = time.perf_counter()
    await federation.start_manager()
    return await arrivals.wait("after-restart", "1", 120) - began


def _pid(federation: World) -> int:
    assert federation.manager.process is not None
    return federation.manager.process.pid


def _memory(federation: World) -> float:
    return resident_memory(_pid(federation))


def _cpu(federation: World) -> float:
    return process_cpu_seconds(_pid(federation))


def _writes(federation: World) -> int:
    total: Counter[tuple[str, str]] = Counter()
    for member in federation.members.values():
        total += member.writes
    return total.total()
