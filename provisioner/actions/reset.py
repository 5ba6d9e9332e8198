"""`provision destroy`: take a cluster away, and nothing else."""

import asyncio
import dataclasses
import inspect
from collections.abc import Sequence

from inventory.model import HostSpec, Provider
from provisioner import kubeconfig
from provisioner.ansible_runs import run_playbook_until_cancelled
from provisioner.errors import HostUnreachableError, ProvisionError
from provisioner.facts.host_facts import units_of
from provisioner.operations import clean_host
from provisioner.operations.units import stop_units
from provisioner.phase_runner import failures_in, for_each
from provisioner.phases.connect import connect_hosts, disconnect, locked_hosts
from provisioner.phases.gather_facts import gather_facts
from provisioner.phases.lay_down import export_inventory
from provisioner.phases.run import Run


async def destroy_cluster(run: Run, *, forget_unreachable: bool = False) -> None:
    """
    The caller holds the cluster's lock. Afterwards hosts, this machine and the user's kubeconfig forgot it.

    Hosts that cannot be reached keep no other from being cleaned. They are named in the error, and what is needed to
    clean them later stays, unless `forget_unreachable` says that they are gone for good.
    """
    if record := run.home.read_record():
        run.home.write_record(dataclasses.replace(record, destroying=True))
    if run.spec.provider is Provider.STATIC:
        with run.progress.phase("Take everything off the hosts"):
            unreachable = await _clean_hosts(run)
        if unreachable and not forget_unreachable:
            raise _not_cleaned(run, unreachable)
    with run.progress.phase("Remove the machines"):
        await run.provider.destroy(run.progress.line)
    kubeconfig.remove_from_file(kubeconfig.user_file(), kubeconfig.context_name(run.spec.name, run.spec.kind))
    await asyncio.to_thread(run.home.remove)


def _not_cleaned(run: Run, unreachable: Sequence[ProvisionError]) -> ProvisionError:
    names = ", ".join(error.host for error in unreachable)
    return HostUnreachableError(
        f"{len(unreachable)} of {len(run.spec.hosts)} hosts are not cleaned",
        why="; ".join(f"{error.host}: {error.what}: {error.why}" for error in unreachable),
        next_step=f"The others are. Bring {names} back and run again, or add --forget-unreachable to give them up.",
    )


async def _clean_hosts(run: Run) -> list[ProvisionError]:
    """Returns an error for each host that cannot be reached."""
    unreachable: list[ProvisionError] = []
    try:
        await connect_hosts(run, run.spec.hosts, booting=False)
    except ProvisionError as error:
        unreachable = failures_in(error)
    hosts = [host for host in run.spec.hosts if host.name in run.transports]
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
    await disconnect(run)
    return unreachable


async def _clean(run: Run, host: HostSpec, step: str) -> None:
    argv = ["python3", "-I", "-", step, run.spec.control_plane.virtual_address]
    result = await run.transport(host).run(argv, stdin=inspect.getsource(clean_host).encode())
    if result.exit_code != 0:
        raise ProvisionError(
            "the host could not be cleaned", why=result.stderr.strip()[-300:] or f"exit code {result.exit_code}",
            next_step="Run again; what is gone already is no hindrance.", host=host.name,
        )  # fmt: skip
