"""`provision etcd snapshot`: what the cluster knows, in one sealed file on the operator's side."""

import asyncio
import datetime as dt
import queue
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from inventory.model import Role
from provisioner.errors import ProvisionError
from provisioner.operations import etcd
from provisioner.phases.connect import connect_hosts
from provisioner.phases.run import Run
from provisioner.snapshots.keep import Snapshot, file_name, snapshots_in, surplus
from provisioner.snapshots.seal import SnapshotLabel, ensure_key, sealed
from provisioner.transports.base import Transport

Seal = Callable[[Iterable[bytes]], Iterator[bytes]]

ON_HOST = "/var/lib/hanse/snapshots/taking.db"


async def take_snapshot(run: Run, *, keep: int) -> Snapshot:
    """
    From the first member that is healthy. It is checked on its host, sealed on the way, and whole under its name.

    Args:
        keep: How many of this cluster's snapshots stay; the oldest beyond go once the new one is there.
    """
    transport = await healthy_member(run)
    facts = await etcd.save_snapshot(transport, ON_HOST)
    objects = await etcd.count_objects(transport, facts.revision)
    told = f"took revision {facts.revision}, {objects} objects, {facts.bytes / 1e6:.1f} MB"
    run.progress.line(told, transport.host)
    try:
        taken = await fetch_snapshot(run, transport, ON_HOST, facts, objects, dt.datetime.now(dt.UTC))
    finally:
        await transport.run(["rm", "-f", ON_HOST])
    for old in surplus(snapshots_in(run.home.snapshots), keep):
        old.path.unlink()
        run.progress.line(f"{old.name} is thrown away")
    return taken


async def fetch_snapshot(
    run: Run, transport: Transport, path: str, facts: etcd.SnapshotFacts, objects: int, taken: dt.datetime
) -> Snapshot:
    """From a host to this machine, sealed on the way. Raises ProvisionError when it does not arrive whole."""
    target = run.home.snapshots / file_name(run.spec.name, taken, facts.revision)
    key = await asyncio.to_thread(ensure_key, run.home.pki / "snapshot.key")
    label = SnapshotLabel(run.spec.name, facts.revision, objects, taken.isoformat(timespec="seconds"))
    await _fetch(transport, path, target, facts.bytes, lambda pieces: sealed(pieces, key, label))
    return Snapshot(target, run.spec.name, taken, facts.revision)


async def healthy_member(run: Run) -> Transport:
    """The first, connected. Raises ProvisionError."""
    members = run.spec.with_role(Role.ETCD)
    why: list[str] = []
    for host in members:
        try:
            await connect_hosts(run, [host], booting=False)
        except ProvisionError as error:
            why.append(str(error))
            continue
        if await etcd.is_healthy(run.transport(host)):
            return run.transport(host)
        why.append(f"{host.name}: its member is not healthy")
    raise ProvisionError(
        "no member of etcd can be asked for a snapshot", why="; ".join(why),
        next_step="`provision etcd status` says more; the data of a stopped member can be restored from all the same.",
    )  # fmt: skip


async def _fetch(transport: Transport, path: str, target: Path, size: int, seal: Seal) -> None:
    """Stream, seal and write; the file has its name only when it is whole and on the disk."""
    pieces: queue.Queue[bytes | None] = queue.Queue(maxsize=16)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    writing = asyncio.create_task(asyncio.to_thread(_write, target, seal, pieces))
    arrived = 0

    def take(piece: bytes) -> None:
        nonlocal arrived
        arrived += len(piece)
        pieces.put(piece)

    whole = False
    try:
        result = await transport.stream_out(["cat", path], take)
        whole = result.exit_code == 0 and arrived == size
    finally:
        pieces.put(None if whole else b"")
        partial = await writing
    if not whole:
        partial.unlink(missing_ok=True)
        raise ProvisionError(
            "the snapshot did not arrive whole", why=f"{arrived} of {size} bytes came; {result.stderr.strip()[-200:]}",
            next_step="Run it again.", host=transport.host,
        )  # fmt: skip
    partial.rename(target)


def _write(target: Path, seal: Seal, pieces: "queue.Queue[bytes | None]") -> Path:
    """In a thread of its own. Returns the file under its provisional name."""
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
        for part in seal(_until_end(pieces)):
            file.write(part)
        file.flush()
    return Path(file.name)


def _until_end(pieces: "queue.Queue[bytes | None]") -> Iterator[bytes]:
    while piece := pieces.get():
        yield piece
