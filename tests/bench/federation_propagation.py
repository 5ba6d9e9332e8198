"""Rows 1, 2, 4, 5 and 6: how soon objects arrive, one by one, many at once, behind a backlog, beside a slow member."""

import asyncio
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import orjson

from cluster.api.resources import CONFIG_MAPS
from cluster.machinery.objects import Object
from federation.api.resources import CLUSTERS
from tests.bench.arrivals import Arrivals, config_map, percentile
from tests.bench.figures import Figures, process_cpu_seconds
from tests.fakes.fake_member import FakeMember
from tests.federations.world import World, world
from tests.histories.servers import Server
from tests.integration.federation_processes import KUBECTL

MEMBERS = 10
PACE = 0.05
"""Seconds between two objects while the federation is idle."""


async def idle(figures: Figures) -> None:
    with tempfile.TemporaryDirectory() as home:
        async with world(Path(home), members=MEMBERS) as federation:
            await settle(federation)
            arrivals = Arrivals(federation.members.values())
            took = await _one_by_one(federation, arrivals, 1000 if figures.full else 100, "idle")
            figures.add("federation 1: one object in 10 members p50", percentile(took, 0.5) * 1000, "ms")
            figures.add("federation 1: one object in 10 members p99", percentile(took, 0.99) * 1000, "ms")
            floor = await kubectl_loop(federation.members.values(), [config_map("k", "1")])
            figures.add("federation 1: floor, kubectl apply in a loop", floor * 1000, "ms")


async def burst(figures: Figures) -> None:
    number = 1000 if figures.full else 200
    with tempfile.TemporaryDirectory() as home:
        async with world(Path(home), members=MEMBERS) as federation:
            await settle(federation)
            arrivals = Arrivals(federation.members.values())
            objects = [config_map(f"b{at}", "1") for at in range(number)]
            manager, apiserver = _cpu(federation.manager), _cpu(federation.apiserver)
            began = time.perf_counter()
            sent = asyncio.gather(*(_create(federation, obj) for obj in objects))
            there = await asyncio.gather(*(arrivals.wait(obj["metadata"]["name"], "1", 300) for obj in objects))
            created = await sent
            took = max(there) - began
            each = [end - start for start, end in zip(created, there, strict=True)]
            figures.add(f"federation 2: {number} objects at once in 10 members", took, "s")
            figures.add("federation 2: writes into members", number * MEMBERS / took, "1/s")
            for what, before, server in (
                ("controller manager", manager, federation.manager),
                ("apiserver", apiserver, federation.apiserver),
            ):
                used = (_cpu(server) - before) * 1000 / (number * MEMBERS)
                figures.add(f"federation 2: CPU of the {what} a write", used, "ms")
            figures.add("federation 2: from create to the last member p99", percentile(each, 0.99), "s")
            await asyncio.sleep(1)
            figures.add("federation 2: writes too many", arrivals.writes - number * MEMBERS, "")
            few = [config_map(f"k{at}", "1") for at in range(50)]
            floor = await kubectl_loop(federation.members.values(), few)
            figures.add("federation 2: floor, kubectl apply in a loop", len(few) * MEMBERS / floor, "1/s")


async def kubectl_loop(members: Iterable[FakeMember], objects: list[Object]) -> float:
    """Seconds that `kubectl apply` of a file takes, one member after the other: what people do without a federation."""
    assert KUBECTL is not None
    text = orjson.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    began = time.perf_counter()
    for member in members:
        process = await asyncio.create_subprocess_exec(
            KUBECTL, f"--server={member.url}", "apply", "--server-side", "--validate=false", "-f", "-",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, env={"HOME": "/nonexistent"},
        )  # fmt: skip
        await process.communicate(text)
        if process.returncode:
            raise RuntimeError(f"kubectl apply to {member.name} ended with {process.returncode}")
    return time.perf_counter() - began


async def backlog(figures: Figures) -> None:
    """A member joins that has everything to get; users change single objects meanwhile."""
    number = 5000 if figures.full else 1000
    with tempfile.TemporaryDirectory() as home:
        async with world(Path(home), members=1) as federation:
            await settle(federation)
            await fill(federation, number)
            late = await federation.add("late")
            arrivals = Arrivals([late])
            await federation.wait_phase("late")
            took = []
            for at in range(20):
                name = f"f{number - 1 - at}"
                began = time.perf_counter()
                patch = {"data": {"value": "edited"}}
                await federation.api.patch(CONFIG_MAPS, name, patch, namespace="default")
                took.append(await arrivals.wait(name, "edited") - began)
            left = number - len(late.objects(CONFIG_MAPS, "default"))
            figures.add(f"federation 4: edit behind a backlog of {number} p50", percentile(took, 0.5) * 1000, "ms")
            figures.add(f"federation 4: edit behind a backlog of {number} p99", percentile(took, 0.99) * 1000, "ms")
            figures.add("federation 4: backlog left after the last edit", left, "")


async def slow_member(figures: Figures) -> None:
    """In turns, so that whatever else the machine does falls on all of them; in between the slow one catches up."""
    turns, number = (10, 100) if figures.full else (4, 30)
    took: dict[str, list[float]] = {"none": [], "2 s late": [], "hung": []}
    with tempfile.TemporaryDirectory() as home:
        async with world(Path(home), members=MEMBERS) as federation:
            await settle(federation)
            slow = federation.members["m0"]
            others = Arrivals([member for member in federation.members.values() if member is not slow])
            all_of_them = Arrivals(federation.members.values())
            for turn in range(turns):
                for what, times in took.items():
                    slow.behaves.latency = 2.0 if what == "2 s late" else 0.0
                    if what == "hung":
                        slow.hang()
                    prefix = f"{what.replace(' ', '-')}-{turn}"
                    times += await _one_by_one(federation, others, number, prefix)
                    slow.behaves.latency = 0.0
                    slow.resume()
                    await asyncio.gather(*(all_of_them.wait(f"{prefix}-{at}", "1") for at in range(number)))
    for share in (0.5, 0.99):
        before = percentile(took["none"], share)
        for what, times in took.items():
            found = percentile(times, share)
            name = f"federation 5: the others' p{share * 100:g}, slow member: {what}"
            figures.add(name, found * 1000, "ms")
            if what != "none":
                figures.add(f"{name}, growth", (found / before - 1) * 100, "%")


async def store_writes(figures: Figures) -> None:
    """The store's revision counts writes; what an idle federation writes is taken off."""
    changes = 10
    with tempfile.TemporaryDirectory() as home:
        async with world(Path(home), members=50) as federation:
            await settle(federation)
            arrivals = Arrivals(federation.members.values())
            await asyncio.sleep(2)
            before, began = await revision(federation), time.monotonic()
            await asyncio.sleep(3)
            idle_rate = (await revision(federation) - before) / (time.monotonic() - began)
            before, began = await revision(federation), time.monotonic()
            for at in range(changes):
                await federation.api.create(CONFIG_MAPS, config_map(f"w{at}", "1"))
                await arrivals.wait(f"w{at}", "1")
                await asyncio.sleep(1.5)
            written = await revision(federation) - before - idle_rate * (time.monotonic() - began)
            figures.add("federation 6: store writes a change, 50 members", written / changes, "")


async def settle(federation: World) -> None:
    """Everybody is Ready and one object has gone everywhere."""
    await federation.wait_phase(*federation.members)
    arrivals = Arrivals(federation.members.values())
    await federation.api.create(CONFIG_MAPS, config_map("first", "1"))
    await arrivals.wait("first", "1")


def _cpu(server: Server) -> float:
    assert server.process is not None
    return process_cpu_seconds(server.process.pid)


async def _create(federation: World, obj: Object) -> float:
    began = time.perf_counter()
    await federation.api.create(CONFIG_MAPS, obj)
    return began


async def _one_by_one(federation: World, arrivals: Arrivals, number: int, prefix: str) -> list[float]:
    took = []
    for at in range(number):
        began = time.perf_counter()
        await federation.api.create(CONFIG_MAPS, config_map(f"{prefix}-{at}", "1"))
        took.append(await arrivals.wait(f"{prefix}-{at}", "1") - began)
        await asyncio.sleep(PACE)
    return took


async def fill(federation: World, number: int) -> None:
    """Objects that are in every member when this returns."""
    arrivals = Arrivals(federation.members.values())
    for start in range(0, number, 100):
        names = [f"f{at}" for at in range(start, min(start + 100, number))]
        await asyncio.gather(*(federation.api.create(CONFIG_MAPS, config_map(name, "1")) for name in names))
        await asyncio.gather(*(arrivals.wait(name, "1", 120) for name in names))


async def revision(federation: World) -> int:
    return int((await federation.api.list(CLUSTERS, limit=1))["metadata"]["resourceVersion"])
