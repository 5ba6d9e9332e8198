"""`provision destroy`: take a cluster away, and nothing else."""

import asyncio
import dataclasses
from collections.abc import Sequence

from inventory.model import HostSpec, Provider
from provisioner import kubeconfig
from provisioner.actions.describe import describe_record
from provisioner.actions.pending_change import read_pending
from provisioner.errors import HostUnreachableError, ProvisionError
from provisioner.phases.clean_hosts import clean_hosts
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
            unreachable = await clean_hosts(run, [*run.spec.hosts, *_coming(run)])
        if unreachable and not forget_unreachable:
            raise _not_cleaned(run, unreachable)
    with run.progress.phase("Remove the machines"):
        await run.provider.destroy(run.progress.line)
    kubeconfig.remove_from_file(kubeconfig.user_file(), kubeconfig.context_name(run.spec.name, run.spec.kind))
    await asyncio.to_thread(run.home.remove)


def _coming(run: Run) -> list[HostSpec]:
    """Hosts that an unfinished change of masters had begun to lay down."""
    pending = read_pending(run.home)
    described = describe_record(run.home, pending.after).hosts if pending else ()
    return [host for host in described if pending and host.name in pending.coming]


def _not_cleaned(run: Run, unreachable: Sequence[ProvisionError]) -> ProvisionError:
    names = ", ".join(error.host for error in unreachable)
    return HostUnreachableError(
        f"{len(unreachable)} of {len(run.spec.hosts)} hosts are not cleaned",
        why="; ".join(f"{error.host}: {error.what}: {error.why}" for error in unreachable),
        next_step=f"The others are. Bring {names} back and run again, or add --forget-unreachable to give them up.",
    )
