"""`provision etcd defragment`: one member after the other, each only while all others are healthy."""

from inventory.model import Role
from provisioner.errors import ProvisionError
from provisioner.operations import etcd
from provisioner.phase_runner import for_each
from provisioner.phases.connect import connect_hosts, locked_hosts
from provisioner.phases.run import Run


async def defragment_etcd(run: Run) -> int:
    """
    Returns how many bytes the members' files shrank by, and takes back alarms about space.

    Raises:
        ProvisionError: a member is not healthy; nothing more is touched then.
    """
    members = run.spec.with_role(Role.ETCD)
    await connect_hosts(run, members, booting=False)
    freed = 0
    async with locked_hosts(run, members):
        with run.progress.phase("Defragment etcd"):
            for host in members:
                health = await for_each(members, lambda one: etcd.is_healthy(run.transport(one)))
                # An alarm makes a member say that it is not healthy, and space is what it waits for.
                starving = bool(await etcd.alarms(run.transport(host)))
                if not starving and (ill := sorted(name for name, well in health.items() if not well)):
                    raise ProvisionError(
                        "etcd is not defragmented", why=f"{', '.join(ill)} is not healthy, and another would be away",
                        next_step="Bring it back first (`provision etcd status`), then run again.", host=host.name,
                    )  # fmt: skip
                before = await etcd.state(run.transport(host))
                await etcd.defragment(run.transport(host))
                after = await etcd.state(run.transport(host))
                shrunk = before.db_bytes - after.db_bytes if before and after else 0
                freed += max(0, shrunk)
                run.progress.line(f"{shrunk / 1e6:.1f} MB smaller", host.name)
            await etcd.disarm(run.transport(members[0]))
    return freed
