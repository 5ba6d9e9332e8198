"""Start what serves a federation's names, and who takes turns in holding its API's address; restart host by host."""

from inventory.model import HostSpec
from provisioner.facts.host_facts import FEDERATION_LATE_UNITS
from provisioner.operations.units import restart_units, start_units
from provisioner.phase_runner import for_each
from provisioner.phases.run import Run
from provisioner.plan import units_to_restart, units_to_start


async def start_name_servers(run: Run) -> None:
    """Returns when each answers. One that is restarted is away alone: the zone's other servers go on."""

    async def start(host: HostSpec) -> None:
        if idle := units_to_start(host, run.facts_of(host), FEDERATION_LATE_UNITS):
            await start_units(run.transport(host), idle)

    await for_each(run.spec.hosts, start)
    for host in run.spec.hosts:
        if stale := units_to_restart(host, run.facts_of(host), FEDERATION_LATE_UNITS):
            run.progress.line(f"restart {', '.join(stale)}", host.name)
            await restart_units(run.transport(host), stale)
