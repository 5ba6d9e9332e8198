"""Row 23: Pods of ten members as one list, a hundred thousand of them."""

import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson

from tests.bench.figures import Figures, process_cpu_seconds, resident_memory
from tests.fakes.member.generated import pods
from tests.federations.proxy import SWALLOW
from tests.federations.world import world

MEMBERS, PODS = 10, 10_000


async def merged_lists(figures: Figures) -> None:
    turns = 20 if figures.full else 5
    with tempfile.TemporaryDirectory() as home:
        async with world(Path(home), members=MEMBERS) as federation:
            for name, member in federation.members.items():
                member.api.store.fill(*pods(PODS, name))
            await federation.wait_phase(*federation.members)
            pid = federation.apiserver.process.pid if federation.apiserver.process is not None else 0
            before, cpu = resident_memory(pid), process_cpu_seconds(pid)

            async def ask(path: str) -> bytes:
                return await federation.api.request("GET", path)

            path = "/api/v1/namespaces/default/pods"
            await ask(f"{path}/m3-000007")
            got = await _times(20 * turns, lambda: ask(f"{path}/m3-000007"))
            figures.add("federation 23: merged GET p50", statistics.median(got) * 1000, "ms")
            for limit in (100, 10_000):
                answer = await ask(f"{path}?limit={limit}")
                assert len(orjson.loads(answer)["items"]) == limit
                got = await _times(turns, lambda limit=limit: ask(f"{path}?limit={limit}"))  # type: ignore[misc]
                figures.add(f"federation 23: merged LIST of {limit} p50", statistics.median(got) * 1000, "ms")
            began = time.perf_counter()
            everything = await ask(path)
            figures.add("federation 23: merged LIST of 100000", time.perf_counter() - began, "s")
            figures.add("federation 23: its size", len(everything) / 2**20, "MiB")
            del everything
            grown = max(0.0, resident_memory(pid) - before) * 1024 / (MEMBERS * PODS)
            figures.add("federation 23: memory of the apiserver per Pod", grown, "KiB")
            figures.add("federation 23: CPU of the apiserver", process_cpu_seconds(pid) - cpu, "s")
            federation.to_members["m4"].turn(SWALLOW)
            began = time.perf_counter()
            await ask(f"{path}?limit=100")
            figures.add("federation 23: LIST of 100 with a silent member", (time.perf_counter() - began) * 1000, "ms")


async def _times(number: int, what: Callable[[], Awaitable[object]]) -> list[float]:
    found = []
    for _ in range(number):
        began = time.perf_counter()
        await what()
        found.append(time.perf_counter() - began)
    return found
