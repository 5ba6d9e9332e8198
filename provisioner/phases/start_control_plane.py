"""Start apiserver, controller manager and scheduler on the masters; wait until each apiserver says that it is ready."""

from inventory.model import HostSpec, Role
from provisioner.facts.host_facts import CONTROL_PLANE_UNITS
from provisioner.operations.api_probe import operator_tls, wait_ready
from provisioner.operations.units import restart_units, start_units
from provisioner.phase_runner import for_each
from provisioner.phases.run import Run
from provisioner.plan import units_to_restart, units_to_start


async def start_control_plane(run: Run) -> None:
    """Afterwards every apiserver is ready. Restarts go master by master, so that the API stays."""
    tls = operator_tls(run.home.pki)
    masters = run.spec.with_role(Role.CONTROL_PLANE)

    async def start(host: HostSpec) -> None:
        units = units_to_start(host, run.facts_of(host), CONTROL_PLANE_UNITS)
        if units:
            await start_units(run.transport(host), units)
        await wait_ready(_url(host), tls, host.name)

    await for_each(masters, start)
    for host in masters:
        if units := units_to_restart(host, run.facts_of(host), CONTROL_PLANE_UNITS):
            run.progress.line(f"restart {', '.join(units)}", host.name)
            await restart_units(run.transport(host), units)
            await wait_ready(_url(host), tls, host.name)


def _url(host: HostSpec) -> str:
    address = f"[{host.address}]" if ":" in host.address else host.address
    return f"https://{address}:6443"
