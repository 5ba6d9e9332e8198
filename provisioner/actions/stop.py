"""`provision federation stop`: the services rest; their files and what they store stay."""

from inventory.model import HostSpec
from provisioner.facts.host_facts import units_of
from provisioner.machines.base import MachineState
from provisioner.operations.units import stop_units
from provisioner.phase_runner import for_each
from provisioner.phases.connect import connect_hosts, locked_hosts
from provisioner.phases.gather_facts import gather_facts
from provisioner.phases.run import Run


async def stop_services(run: Run) -> list[str]:
    """
    Returns `host: unit` for each that ran. The caller holds the lock; machines that are off stay off.

    Raises HostUnreachableError before anything is stopped: half a quorum is neither up nor down.
    """
    machines = run.provider.observe(run.spec.hosts)
    hosts = [host for host in run.spec.hosts if machines[host.name] is MachineState.RUNNING]
    with run.progress.phase("Stop the services"):
        await connect_hosts(run, hosts, booting=False)
        async with locked_hosts(run, hosts):
            await gather_facts(run, hosts)

            async def stop(host: HostSpec) -> list[str]:
                running = [unit for unit in reversed(units_of(host)) if run.facts_of(host).unit(unit).active]
                if running:
                    await stop_units(run.transport(host), running)
                return [f"{host.name}: {unit}" for unit in running]

            stopped = await for_each(hosts, stop)
    return [text for texts in stopped.values() for text in texts]
