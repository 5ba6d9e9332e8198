"""Rows 9, 15 and 16: replicas of a lost member elsewhere, drift undone, statuses up."""

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cluster.api.resources import CONFIG_MAPS, DEPLOYMENTS
from cluster.machinery.objects import Object
from federation.api.kinds import VERSION
from federation.api.resources import PROPAGATION_POLICIES
from tests.bench.arrivals import Arrivals, config_map, deployment, percentile
from tests.bench.federation_propagation import settle
from tests.bench.figures import Figures
from tests.federations.proxy import REFUSE
from tests.federations.world import World, world

REPLICAS = 9


async def failover(figures: Figures) -> None:
    with tempfile.TemporaryDirectory() as home:
        async with world(Path(home), members=3) as federation:
            await settle(federation)
            selectors = [{"apiVersion": "apps/v1", "kind": "Deployment"}]
            policy: Object = {
                "apiVersion": VERSION,
                "kind": "PropagationPolicy",
                "metadata": {"name": "at-once", "namespace": "default"},
                "spec": {"resourceSelectors": selectors, "failover": {"tolerationSeconds": 0}},
            }
            await federation.api.create(PROPAGATION_POLICIES, policy)
            await federation.api.create(DEPLOYMENTS, deployment("web", REPLICAS))
            await _until(lambda: sum(_replicas(federation).values()) == REPLICAS)
            least = dict(_replicas(federation))
            reduced = 0

            def moved() -> bool:
                nonlocal reduced
                now = _replicas(federation)
                reduced += sum(1 for name in ("m1", "m2") if now[name] < least[name])
                return now["m1"] + now["m2"] == REPLICAS

            began = time.perf_counter()
            federation.to_members["m0"].turn(REFUSE)
            await _until(moved)
            figures.add("federation 9: replicas of a dead member elsewhere", time.perf_counter() - began, "s")
            figures.add("federation 9: times that survivors were seen reduced", reduced, "")


async def drift(figures: Figures) -> None:
    times = 200 if figures.full else 40
    with tempfile.TemporaryDirectory() as home:
        async with world(Path(home), members=3) as federation:
            await settle(federation)
            member = federation.members["m1"]
            took = []
            for at in range(times):
                name = f"drift-{at}"
                arrivals = Arrivals([member])
                await federation.api.create(CONFIG_MAPS, config_map(name, "ours"))
                await arrivals.wait(name, "ours")
                there = member.get(CONFIG_MAPS, name, "default")
                assert there is not None
                again = Arrivals([member])
                began = time.perf_counter()
                member.put(CONFIG_MAPS, {**there, "data": {**there["data"], "value": "theirs"}})
                took.append(await again.wait(name, "ours") - began)
            figures.add("federation 15: drift undone p50", percentile(took, 0.5) * 1000, "ms")
            figures.add("federation 15: drift undone p99", percentile(took, 0.99) * 1000, "ms")


async def statuses(figures: Figures) -> None:
    """From a change in a member to the template's status, read by a watch as `kubectl wait` does."""
    times = 100 if figures.full else 20
    with tempfile.TemporaryDirectory() as home:
        async with world(Path(home), members=3) as federation:
            await settle(federation)
            await federation.api.create(DEPLOYMENTS, deployment("web", REPLICAS))
            await _status(federation, REPLICAS)
            member = federation.members["m0"]
            there = member.get(DEPLOYMENTS, "web", "default")
            assert there is not None
            mine = there["status"]["readyReplicas"]
            member.behaves.ready = False  # from here on it is us who writes statuses
            took = []
            for at in range(times):
                ready = at % 2 * mine
                present = member.get(DEPLOYMENTS, "web", "default")
                assert present is not None
                present["status"] = {**present["status"], "readyReplicas": ready, "availableReplicas": ready}
                began = time.perf_counter()
                member.api.store.put(DEPLOYMENTS, present)
                await _status(federation, REPLICAS - mine + ready)
                took.append(time.perf_counter() - began)
                await asyncio.sleep(0.3)
            figures.add("federation 16: status up p50", percentile(took, 0.5) * 1000, "ms")
            figures.add("federation 16: status up p99", percentile(took, 0.99) * 1000, "ms")


async def _status(federation: World, ready: int) -> None:
    async with asyncio.timeout(30):
        async for event in federation.api.watch(
            DEPLOYMENTS, namespace="default", field_selector="metadata.name=web", send_initial_events=True
        ):
            status = event.object.get("status") or {}
            if event.type != "BOOKMARK" and (status.get("readyReplicas") or 0) == ready:
                return


def _replicas(federation: World) -> dict[str, int]:
    found = {}
    for name, member in federation.members.items():
        copy = member.get(DEPLOYMENTS, "web", "default")
        found[name] = copy["spec"]["replicas"] if copy is not None else 0
    return found


async def _until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  (of fakes' stores)
            await asyncio.sleep(0.02)
