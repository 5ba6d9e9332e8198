"""
`provision etcd restore`: the cluster as it was when a snapshot was taken, on the hosts that it has now.

Every member gets the same snapshot while nothing runs. Revisions are bumped far beyond any that was given out, and
what came before is marked compacted: resourceVersions never go back, and watchers are told to list anew.
Source of the flags: etcd 3.5, `etcdutl snapshot restore --bump-revision --mark-compacted`.
"""

import asyncio
import dataclasses
import datetime as dt
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cluster import settings
from inventory.model import ClusterSpec, HostSpec, Role, url_host
from provisioner.actions.lay_as_they_run import are_laid_down, lay_as_they_run
from provisioner.actions.telling import told_by
from provisioner.errors import InventoryError
from provisioner.execution.actions import Action, ActionPlan, Difference
from provisioner.execution.carry_out import Step, carry_out
from provisioner.execution.ledger import Ledger
from provisioner.facts.host_facts import CONTROL_PLANE_UNITS
from provisioner.operations import etcd
from provisioner.operations.units import start_units, stop_units
from provisioner.phase_runner import for_each
from provisioner.phases.connect import connect_hosts, locked_hosts
from provisioner.phases.encryption_keys import read_keys, retired_names, with_retired, write_keys
from provisioner.phases.gather_facts import gather_facts
from provisioner.phases.run import Run
from provisioner.phases.start_control_plane import start_control_plane
from provisioner.snapshots.keep import snapshots_in
from provisioner.snapshots.seal import SealError, label_of, opened
from provisioner.state import ClusterHome, write_atomically

ResultT = TypeVar("ResultT")

BUMP = 1_000_000_000
"""Revisions between the snapshot's and the first after a restore: more than a cluster makes between two snapshots."""
ON_HOST = "/var/lib/hanse/snapshots/restoring.db"
DATA = "/var/lib/etcd"
_MARK = "member/.hanse-restored"
"""Below DATA: which restore the data is from, so that no run does it twice."""
_START = "/run/hanse-etcd-start.env"
"""Read by etcd's unit; gone with the next boot."""
_SAME_DATA = 'echo ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK=false > "$1"'
_SWAP = r"""
set -eu
cd "$1"
rm -rf replaced; [ ! -d member ] || mv member replaced
mv restoring/member member
rm -rf restoring
printf %s "$2" > member/.hanse-restored
chown -R hanse-etcd: member
"""


@dataclass(frozen=True, slots=True)
class Restore:
    """One restore, from its first command to its last, however many runs that takes."""

    id: str
    snapshot: str
    """File name."""
    floor: int = 0
    """No revision that was ever given out is above it; those after the restore are."""
    without: tuple[str, ...] = ()
    """Hosts that are given up: they are members no more."""
    salvaged: str = ""
    """The host whose data the snapshot was made from, if it was."""


def plan_restore(spec: ClusterSpec, snapshot: str, restore_id: str, *, dropped_keys: Sequence[str] = ()) -> ActionPlan:
    """
    Pure.

    Args:
        spec: The cluster, without hosts that are given up (`without_hosts`).
        snapshot: Name of its file.
        restore_id: Of this restore.
        dropped_keys: Names of keys that Secrets were sealed with once: the snapshot may hold values of theirs.
    """
    masters, members = spec.with_role(Role.CONTROL_PLANE), spec.with_role(Role.ETCD)
    change = (Difference("etcd", "as it is", f"{snapshot} (restore {restore_id})"),)
    sends = [Action(f"{host.name}/send", "send the snapshot and check it", host.name) for host in members]
    stop = Action("control-plane/stop", f"stop the control plane on {len(masters)} masters", after=_ids(sends))
    etcd_stop = Action("etcd/stop", f"stop {len(members)} members of etcd", after=(stop.id,))
    swaps = [
        Action(f"{host.name}/restore", "put the snapshot in place of its data", host.name, (etcd_stop.id,), change)
        for host in members
    ]
    start = Action("etcd/start", "start etcd's members together", after=_ids(swaps))
    keys = [
        Action("control-plane/keys", f"let masters open what {', '.join(dropped_keys)} sealed", after=(stop.id,))
        for _ in dropped_keys[:1]
    ]
    serve = Action("control-plane/start", "start the control plane", after=(*_ids(keys), start.id))
    tidy = [Action(f"{host.name}/tidy", "remove the sent snapshot", host.name, (serve.id,)) for host in members]
    return ActionPlan("etcd restore", spec.name, (*sends, stop, etcd_stop, *swaps, start, *keys, serve, *tidy))


def _ids(actions: list[Action]) -> tuple[str, ...]:
    return tuple(action.id for action in actions)


def without_hosts(spec: ClusterSpec, names: Sequence[str]) -> ClusterSpec:
    """The cluster as it is restored. Raises InventoryError when nobody is left, or a name is nobody's."""
    if strange := sorted(set(names) - {host.name for host in spec.hosts}):
        known = ", ".join(host.name for host in spec.hosts)
        raise InventoryError(
            f"{strange[0]} is no host of cluster {spec.name}", why=f"its hosts are {known}",
            next_step="Name one of them with --without.",
        )  # fmt: skip
    left = dataclasses.replace(spec, hosts=tuple(host for host in spec.hosts if host.name not in names))
    if not left.with_role(Role.ETCD) or not left.with_role(Role.CONTROL_PLANE):
        raise InventoryError(
            "nobody would be left", why=f"without {', '.join(names)} there is no master with a member of etcd",
            next_step=f"Restore on new hosts: `provision etcd restore-on-new-hosts {spec.name}`.",
        )  # fmt: skip
    return left


def bump(snapshot_revision: int, floor: int) -> int:
    """
    How far revisions are raised, so that the first after the restore is above all that were given out. Pure.

    A second restore of the same snapshot is the case in which BUMP alone would go back.
    """
    return max(BUMP, floor - snapshot_revision + BUMP)


def unfinished_restore(home: ClusterHome) -> Restore | None:
    """What an earlier run has begun and not ended."""
    note = home.path / "restoring.json"
    if not note.exists():
        return None
    told = json.loads(note.read_text())
    return Restore(**{**told, "without": tuple(told.get("without", ()))})


def begun_restore(run: Run, snapshot: Path, *, without: Sequence[str] = (), salvaged: str = "") -> Restore:
    """The restore of this snapshot that did not come to its end, else a new one. Raises InventoryError."""
    if not snapshot.exists() and not salvaged:
        raise InventoryError(
            f"there is no snapshot {snapshot}", why="no such file",
            next_step=f"`provision etcd snapshots {run.spec.name}` lists those that were taken.",
        )  # fmt: skip
    begun = unfinished_restore(run.home)
    if begun is not None and (begun.snapshot, begun.without) == (snapshot.name, tuple(without)):
        return begun
    now = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    new_id = f"{now}-{hashlib.sha256(snapshot.name.encode()).hexdigest()[:6]}"
    return Restore(new_id, snapshot.name, highest_revision(run.home), tuple(without), salvaged)


def highest_revision(home: ClusterHome) -> int:
    """As far as is remembered here: of snapshots, and of the beginnings after restores."""
    file = _highest(home)
    remembered = int(file.read_text()) if file.exists() else 0
    return max([remembered, *(one.revision for one in snapshots_in(home.snapshots))])


def _highest(home: ClusterHome) -> Path:
    return home.path / "highest-revision"


async def restore_etcd(run: Run, snapshot: Path, restore: Restore) -> ActionPlan:
    """
    The caller holds the cluster's lock. A run that is cut off is gone on with by the same command.

    Args:
        run: Its description has no hosts that are given up.
    """
    plan = plan_restore(run.spec, snapshot.name, restore.id, dropped_keys=retired_names(run.home.pki))
    await asyncio.to_thread(check_snapshot, run.home, snapshot)
    key = (run.home.pki / "snapshot.key").read_bytes()
    hosts = [host for host in run.spec.hosts if host.has(Role.ETCD) or host.has(Role.CONTROL_PLANE)]
    await connect_hosts(run, hosts, booting=False)
    restore = await _with_living_floor(run, restore)
    write_atomically(_note(run), json.dumps(dataclasses.asdict(restore)).encode(), mode=0o600)
    steps = _Restoring(run, snapshot, key, restore).steps()
    ledger = Ledger(run.home.ledger, plan.verb)
    async with locked_hosts(run, hosts):
        with run.progress.phase("Restore etcd"), ledger.running(f"restore {snapshot.name}"):
            await carry_out(plan, steps, ledger, tell=told_by(run))
    _note(run).unlink()
    return plan


async def _with_living_floor(run: Run, restore: Restore) -> Restore:
    """Members that still answer know best which revisions were given out."""
    states = await for_each(run.spec.with_role(Role.ETCD), lambda host: etcd.state(run.transport(host)))
    known = [state.revision for state in states.values() if state is not None]
    if unfinished_restore(run.home) == restore:
        return restore  # they may run with what is restored already
    return dataclasses.replace(restore, floor=max([restore.floor, *known]))


def check_snapshot(home: ClusterHome, snapshot: Path) -> None:
    """All of it is read, before anything is stopped. Raises InventoryError."""
    key_file = home.pki / "snapshot.key"
    if not key_file.exists():
        raise InventoryError(
            "the snapshot cannot be opened", why=f"there is no {key_file}",
            next_step="Put back the file that it was sealed with; it lay beside the cluster's CAs.",
        )  # fmt: skip
    key = key_file.read_bytes()
    try:
        label = label_of(snapshot, key)
        for _ in opened(snapshot, key):
            continue
    except SealError as error:
        raise InventoryError(
            "the snapshot cannot be used", why=str(error), next_step="Take another one; nothing was changed."
        ) from error
    if label.cluster != home.name:
        raise InventoryError(
            f"{snapshot.name} is of another cluster", why=f"it was taken of {label.cluster}, and this is {home.name}",
            next_step=f"`provision etcd snapshots {home.name}` lists those of this one; nothing was changed.",
        )  # fmt: skip


def _note(run: Run) -> Path:
    return run.home.path / "restoring.json"


class _Restoring:
    """How each action is done and seen to be done."""

    def __init__(self, run: Run, snapshot: Path, key: bytes, restore: Restore) -> None:
        self._run = run
        self._snapshot = snapshot
        self._key = key
        self._id = restore.id
        self._floor = restore.floor
        self._members = run.spec.with_role(Role.ETCD)
        self._masters = run.spec.with_role(Role.CONTROL_PLANE)

    def steps(self) -> dict[str, Step]:
        found = {
            "control-plane/stop": Step(self._stop_masters, self._masters_stopped),
            "etcd/stop": Step(self._stop_members, self._members_stopped),
            "etcd/start": Step(self._start_members, self._members_healthy),
            "control-plane/keys": Step(self._give_keys, self._have_keys),
            "control-plane/start": Step(self._start_masters, self._masters_serve),
        }
        for host in self._members:
            found |= {
                f"{host.name}/send": Step(_of(self._send, host), _of(self._has_snapshot, host)),
                f"{host.name}/restore": Step(_of(self._restore, host), _of(self._is_restored, host)),
                f"{host.name}/tidy": Step(_of(self._tidy, host), _of(self._is_tidy, host)),
            }
        return found

    async def _all_restored(self) -> bool:
        """From then on everything before is done, and running services are no reason to stop them again."""
        return all((await for_each(self._members, self._is_restored)).values())

    async def _send(self, host: HostSpec) -> None:
        await etcd.receive_snapshot(self._run.transport(host), ON_HOST, self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        return opened(self._snapshot, self._key)

    async def _has_snapshot(self, host: HostSpec) -> bool:
        if await self._is_restored(host):
            return True
        there = await self._run.transport(host).run(["test", "-f", ON_HOST])
        return there.exit_code == 0

    async def _stop_masters(self) -> None:
        await for_each(self._masters, lambda host: stop_units(self._run.transport(host), CONTROL_PLANE_UNITS))

    async def _masters_stopped(self) -> bool:
        return await self._all_restored() or not await self._any_active(self._masters, CONTROL_PLANE_UNITS)

    async def _stop_members(self) -> None:
        await for_each(self._members, lambda host: stop_units(self._run.transport(host), ("etcd",)))

    async def _members_stopped(self) -> bool:
        return await self._all_restored() or not await self._any_active(self._members, ("etcd",))

    async def _any_active(self, hosts: tuple[HostSpec, ...], units: tuple[str, ...]) -> bool:
        await gather_facts(self._run, hosts)
        return any(self._run.facts_of(host).unit(unit).active for host in hosts for unit in units)

    async def _restore(self, host: HostSpec) -> None:
        transport = self._run.transport(host)
        await etcd.must(transport, ["rm", "-rf", f"{DATA}/restoring"], "clear what an earlier run left")
        revision = (await etcd.snapshot_facts(transport, ON_HOST)).revision
        raised = bump(revision, self._floor)
        write_atomically(_highest(self._run.home), str(revision + raised).encode(), mode=0o600)
        peers = ",".join(f"{one.name}=https://{url_host(one.address)}:2380" for one in self._members)
        argv = [
            str(settings.CURRENT_RELEASE / "bin" / "etcdutl"), "snapshot", "restore", ON_HOST,
            f"--data-dir={DATA}/restoring", f"--name={host.name}", f"--initial-cluster={peers}",
            f"--initial-cluster-token=hanse-{self._run.spec.name}-{self._id}",
            f"--initial-advertise-peer-urls=https://{url_host(host.address)}:2380",
            f"--bump-revision={raised}", "--mark-compacted",
        ]  # fmt: skip
        await etcd.must(transport, argv, "restore the snapshot")
        await etcd.must(transport, ["sh", "-c", _SWAP, "sh", DATA, self._id], "put the snapshot in place")

    async def _is_restored(self, host: HostSpec) -> bool:
        mark = await self._run.transport(host).run(["cat", f"{DATA}/{_MARK}"])
        return mark.exit_code == 0 and mark.stdout == self._id

    async def _give_keys(self) -> None:
        """Behind the one that seals; `provision secrets rotate-key` drops them again."""
        pki = self._run.home.pki
        write_keys(pki, with_retired(pki, read_keys(pki)))
        await gather_facts(self._run, self._masters)
        await lay_as_they_run(self._run, self._masters)

    async def _have_keys(self) -> bool:
        pki = self._run.home.pki
        if not set(retired_names(pki)) <= {key.name for key in read_keys(pki)}:
            return False
        await gather_facts(self._run, self._masters)
        return are_laid_down(self._run, self._masters)

    async def _start_members(self) -> None:
        async def start(host: HostSpec) -> None:
            transport = self._run.transport(host)
            await etcd.must(transport, ["sh", "-c", _SAME_DATA, "sh", _START], "say that all have the same data")
            await start_units(transport, ("etcd",))
            await etcd.wait_healthy(transport)
            await transport.run(["rm", "-f", _START])

        await for_each(self._members, start, at_once=len(self._members))

    async def _members_healthy(self) -> bool:
        if await self._any_stopped(self._members, ("etcd",)):
            return False
        return all((await for_each(self._members, lambda host: etcd.is_healthy(self._run.transport(host)))).values())

    async def _start_masters(self) -> None:
        await gather_facts(self._run, self._masters)
        await start_control_plane(self._run)
        await gather_facts(self._run, self._masters)

    async def _masters_serve(self) -> bool:
        return not await self._any_stopped(self._masters, CONTROL_PLANE_UNITS)

    async def _any_stopped(self, hosts: tuple[HostSpec, ...], units: tuple[str, ...]) -> bool:
        await gather_facts(self._run, hosts)
        return any(not self._run.facts_of(host).unit(unit).active for host in hosts for unit in units)

    async def _tidy(self, host: HostSpec) -> None:
        await etcd.must(self._run.transport(host), ["rm", "-f", ON_HOST], "remove the sent snapshot")

    async def _is_tidy(self, host: HostSpec) -> bool:
        return (await self._run.transport(host).run(["test", "-e", ON_HOST])).exit_code != 0


def _of(do: Callable[[HostSpec], Awaitable[ResultT]], host: HostSpec) -> Callable[[], Awaitable[ResultT]]:
    return lambda: do(host)
