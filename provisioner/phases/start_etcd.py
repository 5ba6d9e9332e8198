"""
Start etcd: all members that do not run at once, since a lone one waits for its quorum; then restart, one after the
other, those that run from files that have changed, each only while all others are healthy.
"""

from inventory.model import HostSpec, Role
from provisioner.errors import ProvisionError
from provisioner.operations import etcd
from provisioner.operations.units import restart_units, start_units
from provisioner.phase_runner import for_each
from provisioner.phases.run import Run
from provisioner.plan import units_to_restart, units_to_start

UNITS = ("etcd",)


async def start_etcd(run: Run) -> None:
    """Afterwards every member is healthy."""
    members = run.spec.with_role(Role.ETCD)
    idle = [host for host in members if units_to_start(host, run.facts_of(host), UNITS)]

    async def start(host: HostSpec) -> None:
        await start_units(run.transport(host), UNITS)
        await etcd.wait_healthy(run.transport(host))

    await for_each(idle, start, at_once=max(len(idle), 1))
    for host in members:
        if units_to_restart(host, run.facts_of(host), UNITS):
            await restart_member(run, host)


async def restart_member(run: Run, host: HostSpec) -> None:
    """Quorum first: with this member away, more than half must still answer."""
    members = run.spec.with_role(Role.ETCD)
    others = [other for other in members if other is not host]
    health = await for_each(others, lambda other: etcd.is_healthy(run.transport(other)))
    alive = sum(health.values())
    if others and alive < len(members) // 2 + 1:
        raise ProvisionError(
            "etcd cannot be restarted on this host", host=host.name,
            why=f"{alive} of the {len(others)} other members are healthy, {len(members) // 2 + 1} are needed",
            next_step="Bring the others back first (`provision status`), then run again.",
        )  # fmt: skip
    run.progress.line("restart etcd", host.name)
    await restart_units(run.transport(host), UNITS)
    await etcd.wait_healthy(run.transport(host))
