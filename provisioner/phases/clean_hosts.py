"""Take everything of ours off hosts: stop it, remove the files that the roles' records name, and what ran beside."""

import inspect
from collections.abc import Sequence

from inventory.model import HostSpec
from provisioner.ansible_runs import run_playbook_until_cancelled
from provisioner.errors import ProvisionError
from provisioner.facts.host_facts import units_of
from provisioner.operations import clean_host
from provisioner.operations.units import stop_units
from provisioner.phase_runner import failures_in, for_each
from provisioner.phases.connect import connect_hosts, disconnect, locked_hosts
from provisioner.phases.gather_facts import gather_facts
from provisioner.phases.lay_down import export_inventory
from provisioner.phases.run import Run


async def clean_hosts(run: Run, wanted: Sequence[HostSpec]) -> list[ProvisionError]:
    """Returns an error for each host that cannot be reached; the others are clean, and disconnected."""
    unreachable: list[ProvisionError] = []
    try:
        await connect_hosts(run, wanted, booting=False)
    except ProvisionError as error:
        unreachable = failures_in(error)
    hosts = [host for host in wanted if host.name in run.transports]
    if not hosts:
        return unreachable
    async with locked_hosts(run, hosts):
        await gather_facts(run, hosts)

        async def stop(host: HostSpec) -> None:
            await stop_units(run.transport(host), tuple(reversed(units_of(host))))
            await _clean(run, host, "end")

        await for_each(hosts, stop)
        inventory = export_inventory(run, hosts, "")
        await run_playbook_until_cancelled(
            "reset.yml", inventory, on_line=lambda host, text: run.progress.line(text, host)
        )

        await for_each(hosts, lambda host: _clean(run, host, "remove"))
    await disconnect(run, hosts)
    return unreachable


async def _clean(run: Run, host: HostSpec, step: str) -> None:
    argv = ["python3", "-I", "-", step, run.spec.control_plane.virtual_address]
    result = await run.transport(host).run(argv, stdin=inspect.getsource(clean_host).encode())
    if result.exit_code != 0:
        raise ProvisionError(
            "the host could not be cleaned", why=result.stderr.strip()[-300:] or f"exit code {result.exit_code}",
            next_step="Run again; what is gone already is no hindrance.", host=host.name,
        )  # fmt: skip
