"""
Start what serves the API: apiserver, controller manager and scheduler on masters, apiserver and controller manager on a
federation's hosts; wait until each apiserver says that it is ready.
"""

from collections.abc import Sequence

from inventory.model import HostSpec, url_host
from provisioner.facts.host_facts import SERVING_UNITS
from provisioner.operations.api_probe import operator_tls, readiness, wait_ready
from provisioner.operations.units import restart_units, start_units
from provisioner.phase_runner import for_each
from provisioner.phases.run import Run
from provisioner.plan import units_to_restart, units_to_start


async def start_control_plane(run: Run) -> None:
    """Afterwards every apiserver is ready. Restarts go master by master, so that the API stays."""
    tls = operator_tls(run.home.pki)
    masters = [host for host in run.spec.hosts if host.serves_api]

    async def start(host: HostSpec) -> None:
        units = units_to_start(host, run.facts_of(host), SERVING_UNITS)
        if units:
            await start_units(run.transport(host), units)
        stale = units_to_restart(host, run.facts_of(host), SERVING_UNITS)
        if stale and await readiness(_url(host), tls):
            # It serves nobody, so waiting for its turn would wait for what the restart cures.
            await restart(host, stale)
        else:
            await wait_ready(_url(host), tls, host.name)

    async def restart(host: HostSpec, units: Sequence[str]) -> None:
        run.progress.line(f"restart {', '.join(units)}", host.name)
        restarted.add(host.name)
        await restart_units(run.transport(host), units)
        await wait_ready(_url(host), tls, host.name)

    restarted: set[str] = set()
    await for_each(masters, start)
    for host in masters:
        stale = units_to_restart(host, run.facts_of(host), SERVING_UNITS)
        if stale and host.name not in restarted:
            await restart(host, stale)


def _url(host: HostSpec) -> str:
    return f"https://{url_host(host.address)}:6443"
