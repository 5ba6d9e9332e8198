"""From a DNSPolicy to what clients are answered, and what they are answered while members come and go."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from tests.fakes.member.peculiarities import Peculiarities
from tests.federations.names import ZONE, Names, address, named_world
from tests.federations.proxy import PASS, REFUSE, SWALLOW

A, B, C = (address(at) for at in range(3))
GEO = [{"cluster": "m0", "networks": ["198.51.100.0/24"]}, {"cluster": "m1", "networks": ["203.0.113.0/24"]}]


async def test_each_strategy_answers_what_its_policy_says(tmp_path: Path) -> None:
    async with named_world(tmp_path, 3) as names:
        await names.policy(strategy="RoundRobin", ttl=7)
        await eventually_ttl(names, 7)
        assert await names.ask() == [A, B, C]

        weights = [{"cluster": "m0", "weight": 3}, {"cluster": "m1", "weight": 1}, {"cluster": "m2", "weight": 0}]
        await names.policy(strategy="Weighted", weights=weights)
        await eventually_one(names)
        counted = Counter([(await names.ask())[0] for _ in range(400)])
        assert set(counted) == {A, B}
        assert 240 <= counted[A] <= 360  # three of four, give or take five standard deviations

        await names.policy(strategy="Failover", order=["m1", "m0", "m2"], failbackSeconds=2)
        await names.until([B])
        names.endpoints("m1", ready=False)
        await names.until([A], seconds=5)
        names.endpoints("m1", ready=True)
        await asyncio.sleep(1)
        assert await names.ask() == [A]
        await names.until([B], seconds=5)

        await names.policy(strategy="Geo", geo=GEO)
        await names.until([A], client="198.51.100.0/24")
        assert await names.ask(client="203.0.113.77/32") == [B]
        assert await names.ask(client="192.0.2.0/24") == [C]

        for member, region, zone in (("m0", "eu", "eu-1"), ("m1", "eu", "eu-2"), ("m2", "us", "us-1")):
            await names.place(member, region, zone)
        await names.policy(strategy="Locality", hosts=["www"])
        near = f"web.shop.fed.svc.eu-1.eu.{ZONE}"
        await names.until([A], near)
        await names.until([A, B], f"web.shop.fed.svc.eu.{ZONE}")
        await names.until([C], f"web.shop.fed.svc.us.{ZONE}")
        await names.until([A, B, C], f"www.{ZONE}")
        names.endpoints("m0", ready=False)  # the zone has nobody: its region answers
        await names.until([B], near, seconds=5)
        names.endpoints("m1", ready=False)  # nor has the region
        await names.until([C], near, seconds=5)
        await names.until([C], f"www.{ZONE}", seconds=5)


async def eventually_ttl(names: Names, ttl: int) -> None:
    async with asyncio.timeout(10):
        while (await names.reply())[1] != ttl:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def eventually_one(names: Names) -> None:
    async with asyncio.timeout(10):
        while len(await names.ask()) != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def watched(names: Names) -> AsyncIterator[list[list[str]]]:
    """Every answer that differs from the one before; none may be empty."""
    seen: list[list[str]] = []

    async def look() -> None:
        while True:
            found = await names.ask()
            if not seen or found != seen[-1]:
                seen.append(found)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(look())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not [one for one in seen if one[0] in ("NXDOMAIN", "NODATA", "SERVFAIL")], seen


async def test_lost_members_leave_the_answer_and_it_is_never_empty_while_one_lives(tmp_path: Path) -> None:
    old = Peculiarities(without_groups=("discovery.k8s.io",))  # it tells of endpoints by Endpoints
    async with named_world(tmp_path, 3, behaves={"m2": old}) as names:
        federation = names.world
        await names.policy(failbackSeconds=4)
        async with watched(names) as seen:
            # One that flaps changes the answer once, and is let in again when it has stayed well.
            for _ in range(4):
                for ready in (False, True):
                    names.endpoints("m2", ready=ready)
                    await asyncio.sleep(0.7)
            assert seen == [[A, B, C], [A, B]]
            await names.until([A, B, C], seconds=10)
            # One that is cut off.
            federation.to_members["m0"].turn(SWALLOW)
            await names.until([B, C], seconds=25)
            assert (await federation.phases())["m0"] == "Unreachable"
            federation.to_members["m0"].turn(PASS)
            await names.until([A, B, C], seconds=20)
            # The last ones alive are answered, however lately they were lost.
            names.endpoints("m0", ready=False)
            names.endpoints("m1", ready=False)
            await names.until([C], seconds=5)
            names.endpoints("m0", ready=True)
            await asyncio.sleep(0.5)
            names.endpoints("m2", ready=False)
            await names.until([A], seconds=5)
            for member in ("m1", "m2"):
                names.endpoints(member, ready=True)
            await names.until([A, B, C], seconds=15)
            # All at once, and a controller manager that starts anew meanwhile: it is the federation that is cut off.
            await asyncio.sleep(0.5)  # whoever watches has seen that, too
            changes = len(seen)
            for proxy in federation.to_members.values():
                proxy.turn(REFUSE)
            await asyncio.sleep(3)
            await federation.manager.kill()
            await federation.start_manager()
            await asyncio.sleep(13)
            for proxy in federation.to_members.values():
                proxy.turn(PASS)
            await federation.wait_phase("m0", "m1", "m2")
            await asyncio.sleep(1)
            assert len(seen) == changes, seen[changes:]
            assert await names.ask() == [A, B, C]
