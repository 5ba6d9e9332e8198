"""`provision etcd status`: every member's health, size and lag. Reads only."""

import asyncio
from dataclasses import dataclass

from inventory.model import HostSpec, Role
from provisioner.errors import ProvisionError
from provisioner.operations import etcd
from provisioner.operations.etcd import EtcdState
from provisioner.phases.connect import connect_hosts
from provisioner.phases.run import Run


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """One host's member; `why` says what is wrong where there is no state."""

    host: str
    state: EtcdState | None
    healthy: bool
    why: str = ""


async def read_members(run: Run) -> list[MemberStatus]:
    """In the order of the description."""
    members = run.spec.with_role(Role.ETCD)
    return list(await asyncio.gather(*(_member(run, host) for host in members)))


async def _member(run: Run, host: HostSpec) -> MemberStatus:
    try:
        await connect_hosts(run, [host], booting=False)
    except ProvisionError as error:
        return MemberStatus(host.name, None, False, f"{error.what}: {error.why}")
    state, healthy = await asyncio.gather(etcd.state(run.transport(host)), etcd.is_healthy(run.transport(host)))
    return MemberStatus(host.name, state, healthy, "" if state else "its member does not answer")


def lag(members: list[MemberStatus]) -> dict[str, int]:
    """Host -> entries of the log that it has yet to apply, as far as those know that answer. Pure."""
    newest = max((one.state.applied for one in members if one.state), default=0)
    return {one.host: newest - one.state.applied for one in members if one.state}


def as_json(members: list[MemberStatus], quota: int) -> list[dict[str, object]]:
    """One object a member. Pure."""
    behind = lag(members)
    return [
        {
            "host": one.host,
            "healthy": one.healthy,
            "leader": bool(one.state and one.state.is_leader),
            "behind": behind.get(one.host),
            "quota_bytes": quota,
            "state": one.state._asdict() if one.state else None,
            "why": one.why,
        }
        for one in members
    ]


def lines(members: list[MemberStatus], quota: int) -> list[str]:
    """For people. Pure."""
    behind = lag(members)
    found = []
    for one in members:
        if one.state is None:
            found.append(f"{one.host:<16}{one.why}")
            continue
        said = one.state
        parts = [
            "leader" if said.is_leader else "learner" if said.is_learner else "follower",
            "healthy" if one.healthy else "NOT healthy",
            f"etcd {said.version}",
            f"{said.db_bytes / 1e6:.1f} MB ({said.db_in_use / 1e6:.1f} in use, of {quota / 1e6:.0f})",
            f"revision {said.revision}",
            f"{behind[one.host]} behind",
            *(f"alarm {alarm}" for alarm in said.alarms),
        ]
        found.append(f"{one.host:<16}{', '.join(parts)}")
    return found
