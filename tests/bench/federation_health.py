"""Rows 8, 10 and 25: how soon a lost member is known, that being cut off is no loss, how long a join takes."""

import asyncio
import tempfile
import time
from pathlib import Path

from cluster.client.kubeconfig import ClientConfig
from cluster.machinery.objects import Object
from federation.api.resources import CLUSTERS
from federation.membership.join import join
from tests.bench.figures import Figures
from tests.fakes.fake_member import FakeMember
from tests.fakes.member.peculiarities import Peculiarities
from tests.federations.proxy import PASS, REFUSE, SWALLOW
from tests.federations.world import World, world

LOSS = 0.05
OUTAGE = 20.0
"""Seconds: more than twice as long as it takes to give a member up."""


async def detection(figures: Figures) -> None:
    with tempfile.TemporaryDirectory() as home:
        async with world(Path(home), members=10) as federation:
            await federation.wait_phase(*federation.members)
            for mode, what in ((REFUSE, "that refuses"), (SWALLOW, "that is silent")):
                victim = f"m{[REFUSE, SWALLOW].index(mode)}"
                began = time.perf_counter()
                federation.to_members[victim].turn(mode)
                await federation.wait_phase(victim, phase="Unreachable")
                figures.add(f"federation 8: member {what} is Unreachable", time.perf_counter() - began, "s")
                began = time.perf_counter()
                federation.to_members[victim].turn(PASS)
                await federation.wait_phase(victim)
                figures.add("federation 8: and Ready again", time.perf_counter() - began, "s")
    seconds = 600.0 if figures.full else 20.0
    figures.add(f"federation 8: falsely Unreachable, 5 % loss, {seconds:g} s", await _false_alarms(seconds), "")


async def _false_alarms(seconds: float) -> int:
    with tempfile.TemporaryDirectory() as home:
        async with world(Path(home)) as federation:
            for at in range(10):
                await federation.add(f"m{at}", loss=LOSS)
            await federation.wait_phase(*federation.members)
            alarms, until = 0, time.monotonic() + seconds
            lost: set[str] = set()
            while time.monotonic() < until:
                now = {name for name, phase in (await federation.phases()).items() if phase == "Unreachable"}
                alarms += len(now - lost)
                lost = now
                await asyncio.sleep(0.5)
            return alarms


async def isolation(figures: Figures) -> None:
    """Every member is cut off at once: the federation has to take itself to be the one that is."""
    with tempfile.TemporaryDirectory() as home:
        async with world(Path(home), members=10) as federation:
            await federation.wait_phase(*federation.members)
            for proxy in federation.to_members.values():
                proxy.turn(SWALLOW)
            began = time.perf_counter()
            await asyncio.sleep(OUTAGE)
            clusters = (await federation.api.list(CLUSTERS))["items"]
            isolated = sum(1 for one in clusters if _is_true(one, "Isolated"))
            figures.add(f"federation 10: members known to be cut off, of 10, {OUTAGE:g} s", isolated, "")
            figures.add("federation 10: deletes in members", _deletes(federation), "")
            for proxy in federation.to_members.values():
                proxy.turn(PASS)
            began = time.perf_counter()
            await federation.wait_phase(*federation.members)
            figures.add("federation 10: all Ready again", time.perf_counter() - began, "s")


def _is_true(cluster: Object, condition: str) -> bool:
    conditions = (cluster.get("status") or {}).get("conditions") or ()
    return any(one["type"] == condition and one["status"] == "True" for one in conditions)


def _deletes(federation: World) -> int:
    return sum(
        number
        for member in federation.members.values()
        for (verb, _), number in member.writes.items()
        if verb.startswith("delete")
    )


async def joining(figures: Figures) -> None:
    """From the command's first request to a Ready Cluster with APIs, zones and capacity."""
    tries = 10 if figures.full else 3
    with tempfile.TemporaryDirectory() as home:
        async with world(Path(home)) as federation:
            took = []
            for at in range(tries):
                behaves = Peculiarities(token="joins", nodes=1000)
                async with FakeMember(f"j{at}", behaves) as member:
                    began = time.perf_counter()
                    await join(federation.api, f"j{at}", ClientConfig(servers=(member.url,), token="joins"))
                    async with asyncio.timeout(30):
                        while not _is_known(await federation.api.get(CLUSTERS, f"j{at}")):  # noqa: ASYNC110
                            await asyncio.sleep(0.02)
                    took.append(time.perf_counter() - began)
            figures.add("federation 25: join until Ready and known, best", min(took), "s")
            figures.add("federation 25: join until Ready and known, worst", max(took), "s")


def _is_known(cluster: Object) -> bool:
    status = cluster.get("status") or {}
    return bool(
        status.get("phase") == "Ready" and status.get("apis") and status.get("zones") and status.get("resources")
    )
