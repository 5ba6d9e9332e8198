"""
A snapshot from the data of one member whose cluster has no quorum any more.

The data are copied, and the copy is opened as a cluster of one behind the host's own address: what the member's log
says is committed is applied, and nothing of the member itself changes. What the others acknowledged and this member
never heard of (its last fifth of a second, unless it lagged) is not in it.
Source of the flag: etcd 3.5, `etcd --force-new-cluster`.
"""

import asyncio
import datetime as dt
from collections.abc import Sequence

from inventory.model import HostSpec
from provisioner.actions.snapshot_etcd import fetch_snapshot
from provisioner.errors import InventoryError, ProvisionError
from provisioner.operations import etcd
from provisioner.operations.scratch_etcd import scratch_etcd
from provisioner.operations.units import end_unit
from provisioner.phases.connect import connect_hosts, locked_hosts
from provisioner.phases.run import Run
from provisioner.snapshots.keep import Snapshot

CONNECT_PATIENCE = 8.0  # seconds for a host that may be dead
_FOLDER = "/var/lib/etcd/salvage"
_TAKEN = "/var/lib/hanse/snapshots/salvaged.db"
_COPY = r"""
set -eu
cd /var/lib/etcd
[ -d member/snap ] && [ -d member/wal ] || { echo "there is no member below /var/lib/etcd" >&2; exit 3; }
rm -rf salvage; mkdir -m 0700 salvage
cp -a --reflink=auto member salvage/member
"""


async def salvage(run: Run, host: HostSpec, others: Sequence[HostSpec]) -> Snapshot:
    """
    The host's member is stopped afterwards. A run that was cut off is begun anew.

    Args:
        others: The hosts whose members may still answer: if they have a quorum, nothing has to be salvaged.

    Raises:
        InventoryError: there is a quorum.
        ProvisionError: the data cannot be opened, or do not fit on the disk a second time.
    """
    await connect_hosts(run, [host], booting=False)
    await _refuse_quorum(run, [host, *others])
    transport = run.transport(host)
    async with locked_hosts(run, [host]):
        with run.progress.phase("Salvage etcd's data"):
            await end_unit(transport, "etcd")
            try:
                await etcd.must(transport, ["sh", "-c", _COPY], "copy the member's data")
                alone = scratch_etcd(
                    transport, _FOLDER, quota_bytes=2 * run.spec.etcd.quota_bytes, flags=["--force-new-cluster"]
                )
                async with alone as endpoint:
                    facts = await etcd.save_snapshot(transport, _TAKEN, endpoint=endpoint)
                    objects = await etcd.count_objects(transport, facts.revision, endpoint=endpoint)
                told = f"revision {facts.revision}, {objects} objects, {facts.bytes / 1e6:.1f} MB"
                run.progress.line(f"its data are {told}", host.name)
                return await fetch_snapshot(run, transport, _TAKEN, facts, objects, dt.datetime.now(dt.UTC))
            finally:
                await transport.run(["rm", "-rf", _FOLDER, _TAKEN])


async def _refuse_quorum(run: Run, hosts: Sequence[HostSpec]) -> None:
    """The first host is the survivor. Members that lost their data may have begun anew: those are no quorum of it."""

    async def in_quorum(host: HostSpec) -> etcd.EtcdState | None:
        try:
            async with asyncio.timeout(CONNECT_PATIENCE):
                await connect_hosts(run, [host], booting=False)
        except (ProvisionError, TimeoutError):
            return None
        return await etcd.state(run.transport(host)) if await etcd.takes_part(run.transport(host)) else None

    own = await etcd.state(run.transport(hosts[0]))
    found = await asyncio.gather(*(in_quorum(host) for host in hosts))
    for host, state in zip(hosts, found, strict=True):
        if state is not None and (own is None or state.revision >= own.revision):
            raise InventoryError(
                "etcd has not lost its quorum", why=f"the member on {host.name} answers as one of a quorum",
                next_step=f"`provision etcd replace {run.spec.name} HOST` mends one member; to go back in time, "
                "restore a snapshot. If what it has is worthless, stop its etcd first.",
            )  # fmt: skip
