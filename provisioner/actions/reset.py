"""`provision destroy`: take a cluster away, and nothing else."""

import asyncio
import dataclasses

from inventory.model import HostSpec, Provider
from provisioner import kubeconfig
from provisioner.ansible_runs import run_playbook
from provisioner.errors import ProvisionError
from provisioner.facts.host_facts import units_of
from provisioner.operations.units import stop_units
from provisioner.phase_runner import for_each
from provisioner.phases.connect import connect_hosts, disconnect, locked_hosts
from provisioner.phases.gather_facts import gather_facts
from provisioner.phases.lay_down import export_inventory
from provisioner.phases.run import Run

_CLEAN_HOST = r"""
set -u
# Containers first: their shims outlive containerd on purpose.
for shim in $(pgrep -x containerd-shim || true) $(pgrep -f '^/opt/hanse/.*/containerd-shim' || true); do
  kill -9 "$shim" 2>/dev/null || true
done
awk '$2 ~ "^/(var/lib/kubelet|run/containerd|var/lib/containerd)/" {print $2}' /proc/mounts | sort -r |
  while read -r mount; do umount -l "$mount" || true; done
rm -rf /opt/hanse /var/lib/hanse /run/containerd /run/hanse-provision.lock
for folder in /var/lib/etcd /var/lib/kubelet /var/lib/containerd; do
  if [ -d "$folder" ]; then find "$folder" -mindepth 1 -delete; rmdir "$folder" 2>/dev/null || true; fi
done
"""


async def destroy_cluster(run: Run) -> None:
    """The caller holds the cluster's lock. Afterwards hosts, this machine and the user's kubeconfig forgot it."""
    if record := run.home.read_record():
        run.home.write_record(dataclasses.replace(record, destroying=True))
    if run.spec.provider is Provider.STATIC:
        with run.progress.phase("Take everything off the hosts"):
            await _clean_hosts(run)
    with run.progress.phase("Remove the machines"):
        await run.provider.destroy(run.progress.line)
    kubeconfig.remove_from_file(kubeconfig.user_file(), run.spec.name)
    await asyncio.to_thread(run.home.remove)


async def _clean_hosts(run: Run) -> None:
    try:
        await connect_hosts(run, run.spec.hosts, booting=False)
    except ProvisionError as error:
        raise ProvisionError(
            "the cluster is not removed", why=str(error),
            next_step="Bring the host back, then run again; what is gone already is no hindrance.",
        ) from error  # fmt: skip
    async with locked_hosts(run):
        await gather_facts(run, run.spec.hosts)

        async def stop(host: HostSpec) -> None:
            await stop_units(run.transport(host), tuple(reversed(units_of(host))))

        await for_each(run.spec.hosts, stop)
        inventory = export_inventory(run, run.spec.hosts, "")
        await asyncio.to_thread(run_playbook, "reset.yml", inventory, on_line=lambda h, t: run.progress.line(t, h))

        async def clean(host: HostSpec) -> None:
            result = await run.transport(host).run(["sh", "-c", _CLEAN_HOST])
            if result.exit_code != 0:
                raise ProvisionError(
                    "the host could not be cleaned", why=result.stderr.strip()[-300:],
                    next_step="Run again.", host=host.name,
                )  # fmt: skip

        await for_each(run.spec.hosts, clean)
    await disconnect(run)
