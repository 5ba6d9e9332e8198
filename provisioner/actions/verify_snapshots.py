"""
`provision etcd snapshots --verify`: each snapshot is restored on a member's host, away from the member's own data,
opened by an etcd of its own, and its objects are counted. Nothing of the cluster changes.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from cluster import settings
from provisioner.actions.snapshot_etcd import healthy_member
from provisioner.errors import InventoryError, ProvisionError
from provisioner.operations import etcd
from provisioner.operations.scratch_etcd import PEERS, scratch_etcd
from provisioner.phases.run import Run
from provisioner.snapshots.keep import Snapshot
from provisioner.snapshots.seal import SealError, SnapshotLabel, label_of, opened
from provisioner.transports.base import Transport

_FOLDER = "/var/lib/etcd/verifying"
_FILE = "/var/lib/hanse/snapshots/verifying.db"


@dataclass(frozen=True, slots=True)
class Verified:
    """What became of one; `wrong` is empty for one that can be restored from."""

    name: str
    label: SnapshotLabel | None = None
    wrong: str = ""


async def verify_snapshots(run: Run, snapshots: Sequence[Snapshot]) -> list[Verified]:
    """In the same order, one after the other. Raises ProvisionError when there is no member to do it beside."""
    key_file = run.home.pki / "snapshot.key"
    if not key_file.exists():
        raise InventoryError(
            "no snapshot can be opened", why=f"there is no {key_file}",
            next_step="Put back the file that they were sealed with; it lay beside the cluster's CAs.",
        )  # fmt: skip
    key = await asyncio.to_thread(key_file.read_bytes)
    transport = await healthy_member(run)
    found = []
    with run.progress.phase("Verify snapshots"):
        for one in snapshots:
            verified = await _verify(run, transport, one, key)
            told = verified.wrong or f"good: {verified.label.objects if verified.label else 0} objects"
            run.progress.line(f"{one.name}: {told}")
            found.append(verified)
    return found


async def _verify(run: Run, transport: Transport, snapshot: Snapshot, key: bytes) -> Verified:
    try:
        label = await asyncio.to_thread(label_of, snapshot.path, key)
        if label.cluster != run.spec.name:
            return Verified(snapshot.name, label, f"it is of cluster {label.cluster}")
        await asyncio.to_thread(_read_through, snapshot, key)
        objects = await _objects(run, transport, snapshot, key)
    except SealError as error:
        return Verified(snapshot.name, None, str(error))
    except ProvisionError as error:
        return Verified(snapshot.name, None, f"{error.what}: {error.why}")
    if objects != label.objects:
        return Verified(snapshot.name, label, f"{objects} objects come out of it, and {label.objects} went in")
    return Verified(snapshot.name, label)


def _read_through(snapshot: Snapshot, key: bytes) -> None:
    """Before anything is sent. Raises SealError."""
    for _ in opened(snapshot.path, key):
        continue


async def _objects(run: Run, transport: Transport, snapshot: Snapshot, key: bytes) -> int:
    try:
        await etcd.receive_snapshot(transport, _FILE, opened(snapshot.path, key))
        await transport.run(["rm", "-rf", _FOLDER])
        argv = [
            str(settings.CURRENT_RELEASE / "bin" / "etcdutl"), "snapshot", "restore", _FILE, f"--data-dir={_FOLDER}",
            f"--initial-cluster=default={PEERS}", f"--initial-advertise-peer-urls={PEERS}",
        ]  # fmt: skip
        await etcd.must(transport, argv, "restore the snapshot")
        async with scratch_etcd(transport, _FOLDER, quota_bytes=2 * run.spec.etcd.quota_bytes) as endpoint:
            return await etcd.count_objects(transport, endpoint=endpoint)
    finally:
        await transport.run(["rm", "-rf", _FILE, _FOLDER])
