"""Signed dynamic updates against real BIND and Knot: one owner a name, no foreign record touched, no empty moment."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import dns.asyncquery
import dns.asyncresolver
import dns.message
import dns.name
import dns.rcode
import dns.tsig
import dns.update
import pytest

from federation.controllers.hostnames import Hostnames
from federation.dns.key_files import TsigSecret
from federation.dns.ownership import Owner, owner_name
from federation.dns.plan import Change, Desired, plan_changes
from federation.dns.providers.followers import Server
from federation.dns.providers.provider import ProviderError
from federation.dns.providers.rfc2136 import Rfc2136Provider, Rfc2136Settings, update_message
from federation.dns.recordsets import Group, RecordSet, Target
from tests.integration.interleaved_zone import interleaved
from tests.integration.name_servers import SECRET, ZONE, missing, name_server

SERVERS = [pytest.param(name, marks=pytest.mark.skipif(bool(missing(name)), reason=missing(name) or "installed"))
           for name in ("bind", "knot")]  # fmt: skip


@pytest.fixture(params=SERVERS)
async def port(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[int]:
    async with name_server(request.param, tmp_path) as port:
        yield port


def federation(port: int, uid: str = "a", *, epoch: int = 1, secret: bytes = SECRET) -> Rfc2136Provider:
    key = TsigSecret(f"fed-{uid}", "hmac-sha256", secret)
    return Rfc2136Provider(Rfc2136Settings((Server("127.0.0.1", port),), ZONE, lambda: key, uid, epoch))


def group(name: str, *values: str, rtype: str = "A") -> Group:
    return {rtype: RecordSet(name, rtype, 5, tuple(map(Target, values)))}


async def put(provider: Rfc2136Provider, uid: str, wanted: dict[str, Group]) -> dict[str, str]:
    """Bring names to a content (empty: away) as the controller does: observe, plan, apply. Returns what was refused."""
    desired = {name: Desired(content, f"shop/{name.split('.')[0]}") for name, content in wanted.items()}
    plan = plan_changes(desired, await provider.observe(wanted), uid, synced=True)
    return {**plan.refused, **await provider.apply(plan.changes)}


async def values(port: int, name: str, rtype: str = "A") -> list[str]:
    answer = await dns.asyncquery.udp(dns.message.make_query(name, rtype), "127.0.0.1", port=port, timeout=5)
    return sorted(rdata.to_text() for rrset in answer.answer for rdata in rrset)


async def test_names_are_made_changed_and_taken_away_with_their_owner_records(port: int) -> None:
    provider, name = federation(port), f"web.{ZONE}"
    assert await put(provider, "a", {name: group(name, "192.0.2.1", "192.0.2.2")}) == {}
    assert await values(port, name) == ["192.0.2.1", "192.0.2.2"]
    assert "owner=a" in (await values(port, owner_name(name), "TXT"))[0]
    for content in (group(name, f"ns1.{ZONE}", rtype="CNAME"), group(name, "192.0.2.3")):
        assert await put(provider, "a", {name: content}) == {}
    assert await values(port, name) == ["192.0.2.3"]
    assert await put(provider, "a", {name: {}}) == {}
    assert await provider.observe([name]) == {}
    assert await values(port, owner_name(name), "TXT") == []


async def test_foreign_names_are_never_touched(port: int) -> None:
    ours, theirs, name = federation(port), federation(port, "b"), f"web.{ZONE}"
    assert await put(theirs, "b", {name: group(name, "192.0.2.1")}) == {}
    hand = f"foreign.{ZONE}"
    refused = await put(ours, "a", {name: group(name, "192.0.2.7"), hand: group(hand, "192.0.2.7")})
    assert set(refused) == {name, hand}
    # and not by the server's prerequisites either, when the plan was wrong
    lost = await ours.apply([Change(one, group(one, "192.0.2.7"), "shop/web") for one in (name, hand)])
    assert set(lost) == {name, hand}
    assert await values(port, name) == ["192.0.2.1"]
    assert await values(port, hand) == ["192.0.2.99"]


async def test_of_two_writers_of_a_new_name_one_wins(port: int) -> None:
    names = [f"n{index}.{ZONE}" for index in range(20)]
    first, second = await asyncio.gather(
        *(federation(port, uid).apply([Change(name, group(name, address), "shop/x") for name in names])
          for uid, address in (("a", "192.0.2.1"), ("b", "192.0.2.2")))
    )  # fmt: skip
    assert sorted([*first, *second]) == sorted(names)
    for name in names:
        assert await values(port, name) == (["192.0.2.2"] if name in first else ["192.0.2.1"])


async def test_whoever_led_before_cannot_write_any_more(port: int) -> None:
    name = f"web.{ZONE}"
    old, new = federation(port, epoch=1), federation(port, epoch=2)
    assert await put(old, "a", {name: group(name, "192.0.2.1")}) == {}
    seen_by_old = await old.observe([name])
    assert await put(new, "a", {name: group(name, "192.0.2.2")}) == {}
    # what it saw before the other took over
    assert name in await old.apply([Change(name, group(name, "192.0.2.3"), "shop/web", seen_by_old[name])])
    # and what it sees now
    assert "later leader" in (await put(old, "a", {name: group(name, "192.0.2.3")}))[name]
    assert await values(port, name) == ["192.0.2.2"]


async def test_a_replayed_update_does_nothing(port: int) -> None:
    name, zone = f"web.{ZONE}", dns.name.from_text(ZONE)
    provider = federation(port)
    assert await put(provider, "a", {name: group(name, "192.0.2.1")}) == {}
    seen = (await provider.observe([name]))[name]
    assert seen.owner is not None
    key = dns.tsig.Key(dns.name.from_text("fed-a"), SECRET, dns.tsig.HMAC_SHA256)
    change = Change(name, group(name, "192.0.2.2"), "shop/web", seen)
    message = update_message(zone, change, seen.owner, Owner("a", seen.owner.generation + 1, "shop/web"), key)
    captured = message.to_wire()
    rcodes = []
    for _ in range(2):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(len(captured).to_bytes(2, "big") + captured)
        size = int.from_bytes(await reader.readexactly(2), "big")
        rcodes.append((await reader.readexactly(size))[3] & 0x0F)
        writer.close()
        await writer.wait_closed()
    assert rcodes == [dns.rcode.NOERROR, dns.rcode.NXRRSET]


async def test_a_swap_between_address_and_alias_is_never_seen_as_nothing(port: int) -> None:
    provider, name = federation(port), f"web.{ZONE}"
    await put(provider, "a", {name: group(name, "192.0.2.1")})
    answers, done = [], False

    async def ask() -> None:
        while not done:
            answers.append(await values(port, name))
            await asyncio.sleep(0)

    asking = asyncio.create_task(ask())
    for turn in range(30):
        content = group(name, "192.0.2.1") if turn % 2 else group(name, f"ns1.{ZONE}", rtype="CNAME")
        assert await put(provider, "a", {name: content}) == {}
    done = True
    await asking
    assert answers
    assert all(answers)


async def test_a_key_that_is_not_known_gets_nowhere_and_nothing_is_concluded(port: int) -> None:
    stranger, name = federation(port, secret=b"x" * 32), f"web.{ZONE}"
    with pytest.raises(ProviderError):
        await stranger.observe([name])
    with pytest.raises(ProviderError):
        await stranger.apply([Change(name, group(name, "192.0.2.1"), "shop/web")])
    assert await values(port, name) == []


async def test_two_federations_share_a_zone_without_touching_each_others_names(port: int) -> None:
    counted = await interleaved(port, 200, seed=7)
    assert counted.faults == []
    assert counted.crashes
    assert counted.looks


async def test_hostnames_of_load_balancers_are_looked_up_and_again_when_their_ttl_is_over(port: int) -> None:
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], port
    told, now = asyncio.Event(), 0.0
    hostnames = Hostnames(told.set, lambda: now, resolver)
    name, provider = f"lb.{ZONE}", federation(port)
    assert await put(provider, "a", {name: group(name, "192.0.2.1")}) == {}
    task = asyncio.create_task(hostnames.run())
    try:
        for address in ("192.0.2.1", "192.0.2.2"):
            assert await put(provider, "a", {name: group(name, address)}) == {}
            hostnames.addresses(name)
            async with asyncio.timeout(10):
                await told.wait()
            told.clear()
            assert hostnames.addresses(name) == (address,)
            now += 5.0
    finally:
        task.cancel()
