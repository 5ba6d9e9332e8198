"""
Members of etcd come, vote and go; asked of any member that answers. What may be done, and when: `membership`.

Each call may be repeated: what holds already is not done again.
"""

import asyncio
import json
from collections.abc import Collection, Sequence
from typing import NamedTuple

from cluster import settings
from inventory.model import HostSpec, url_host
from provisioner.errors import ProvisionError
from provisioner.operations import etcd
from provisioner.operations.membership import Member
from provisioner.transports.base import CommandResult, Transport

CATCH_UP_PATIENCE = 300.0  # seconds for a learner to have everything; a database of some gigabytes takes minutes
SETTLE_PATIENCE = 30.0  # seconds; etcd wants its members to have been connected for 5 before the next one comes
_ASK_AGAIN = 0.2  # seconds

# What etcd says when the time has not come yet. Source: api/v3rpc/rpctypes/error.go.
_NOT_YET = ("unhealthy cluster", "can only promote a learner member which is in sync with leader", "too many requests",
            "leader changed", "no leader", "re-configuration failed due to not enough started members",
            "request timed out", "context deadline exceeded")  # fmt: skip


class Quorum(NamedTuple):
    """The members, by host: who has come and not started yet has no name of its own, but its address."""

    members: tuple[Member, ...]
    ids: dict[str, str]
    """Name -> id in hexadecimal."""
    urls: dict[str, str]
    """Name -> where clients reach it."""
    leader: str
    """Name; empty when nobody leads."""


def peer_url(host: HostSpec) -> str:
    return f"https://{url_host(host.address)}:{settings.ETCD_PEER_PORT}"


def client_url(host: HostSpec) -> str:
    return f"https://{url_host(host.address)}:{settings.ETCD_CLIENT_PORT}"


async def find_quorum(
    asked: Sequence[Transport], hosts: Sequence[HostSpec], *, health: bool = True
) -> tuple[Quorum, Transport]:
    """
    The members and their health, and who was asked.

    Args:
        asked: Hosts with members that may be alive, in the order in which they are asked.
        hosts: All that are, or will be, members: their addresses say who is who.
        health: Whether to ask each for it, which takes seconds when one is dead; else all are taken for healthy.

    Raises:
        ProvisionError: nobody has a quorum.
    """
    for transport in asked:
        if listed := await etcd.members(transport):
            return await _quorum(transport, listed, hosts, health=health), transport
    raise ProvisionError(
        "etcd has no quorum", why=f"{', '.join(one.host for one in asked) or 'nobody'} was asked for its members",
        next_step="Start what is stopped (`provision cluster`); when most members are lost for good, "
        "`provision etcd restore` goes on from a snapshot.",
    )  # fmt: skip


async def _quorum(
    transport: Transport, listed: Sequence[etcd.EtcdMember], hosts: Sequence[HostSpec], *, health: bool
) -> Quorum:
    by_peer = {peer_url(host): host for host in hosts}
    names: dict[str, etcd.EtcdMember] = {}
    urls: dict[str, str] = {}
    for one in listed:
        host = next((by_peer[url] for url in one.peer_urls if url in by_peer), None)
        name = host.name if host else one.name or one.id
        names[name] = one
        address = one.peer_urls[0] if one.peer_urls else ""
        urls[name] = client_url(host) if host else address.replace(
            f":{settings.ETCD_PEER_PORT}", f":{settings.ETCD_CLIENT_PORT}"
        )  # fmt: skip
    voting = [urls[name] for name, one in names.items() if not one.is_learner]
    healthy = await _healthy(transport, voting) if health else set(voting)
    ids = {name: one.id for name, one in names.items()}
    members = tuple(Member(name, urls[name] in healthy, not one.is_learner) for name, one in names.items())
    leader = await _leader(transport)
    return Quorum(members, ids, urls, next((name for name, known in ids.items() if known == leader), ""))


async def _healthy(transport: Transport, urls: Collection[str]) -> set[str]:
    """Those that answer a read that needs the quorum; asked all at once."""
    result = await etcd.etcdctl(transport, f"--endpoints={','.join(urls)}", "endpoint", "health", "-w", "json")
    try:
        told = json.loads(result.stdout)
    except ValueError:
        return set()  # it says nothing when all are silent
    return {one["endpoint"] for one in told if one.get("health")}


async def _leader(transport: Transport) -> str:
    """Its id in hexadecimal; empty when nobody leads, as far as this member knows."""
    result = await etcd.etcdctl(transport, "endpoint", "status", "-w", "json")
    if result.exit_code != 0:
        return ""
    [told] = json.loads(result.stdout)
    return f"{told['Status'].get('leader') or 0:x}"


async def add_learner(transport: Transport, host: HostSpec) -> None:
    """It has no vote, and whether it ever starts does not matter to the others. Raises ProvisionError."""
    argv = ["member", "add", host.name, "--learner", f"--peer-urls={peer_url(host)}"]
    await _when_it_may(transport, argv, f"take {host.name} in", SETTLE_PATIENCE, done="Peer URLs already exists")


async def promote(transport: Transport, member_id: str, name: str) -> None:
    """Returns when it votes, which is when it has caught up. Raises ProvisionError."""
    done = "can only promote a learner member"
    await _when_it_may(transport, ["member", "promote", member_id], f"promote {name}", CATCH_UP_PATIENCE, done=done)


async def remove(transport: Transport, member_id: str, name: str) -> None:
    """Its process, if it runs, ends by itself. Raises ProvisionError."""
    await _when_it_may(
        transport, ["member", "remove", member_id], f"remove {name}", SETTLE_PATIENCE, done="member not found"
    )


async def move_leader(transport: Transport, quorum: Quorum, to: str) -> None:
    """From whoever leads. Raises ProvisionError."""
    argv = [f"--endpoints={quorum.urls[quorum.leader]}", "move-leader", quorum.ids[to]]
    result = await etcd.etcdctl(transport, *argv)
    if result.exit_code != 0:
        raise _failed(transport, f"make {to} its leader", result)


async def _when_it_may(transport: Transport, argv: Sequence[str], what: str, patience: float, *, done: str) -> None:
    """`done` is what etcd says when it is so already."""
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        result = await etcd.etcdctl(transport, "--command-timeout=10s", *argv)
        said = result.stderr + result.stdout
        not_yet = any(mark in said for mark in _NOT_YET)
        if result.exit_code == 0 or (done in said and not not_yet):
            return
        if not not_yet or asyncio.get_running_loop().time() > deadline:
            raise _failed(transport, what, result)
        await asyncio.sleep(_ASK_AGAIN)


def _failed(transport: Transport, what: str, result: CommandResult) -> ProvisionError:
    said = [line for line in (result.stderr + result.stdout).splitlines() if line.strip() and not line.startswith("{")]
    return ProvisionError(
        f"etcd does not {what}", why=" ".join(said)[-300:] or f"exit code {result.exit_code}",
        next_step="Look at `provision etcd status`, correct the cause, then run the same command again.",
        host=transport.host,
    )  # fmt: skip
