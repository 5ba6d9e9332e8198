"""
`provision etcd restore-on-new-hosts`: a cluster on other hosts, from a snapshot and what this machine keeps of it.

The cluster's CAs, the keys that sign tokens and encrypt Secrets, and what it was described as are in its folder below
$HANSE_HOME; all else is in the snapshot. The new hosts first become an empty cluster of the same CAs, which is then
put back to the snapshot; Nodes of hosts that are no more are deleted, so that their Pods are made anew elsewhere.
"""

import asyncio
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cluster.api import resources
from cluster.machinery.status_errors import NotFound
from inventory.model import NetworkSettings, Provider, Role
from inventory.sources.static_file import read_text
from provisioner.actions.apply import apply_cluster
from provisioner.actions.restore_etcd import begun_restore, check_snapshot, restore_etcd, unfinished_restore
from provisioner.actions.telling import admin_client
from provisioner.errors import InventoryError
from provisioner.machines.subnets import choose_subnet
from provisioner.operations.api_probe import operator_tls, readiness
from provisioner.operations.units import restart_units
from provisioner.phase_runner import for_each
from provisioner.phases.connect import connect_hosts
from provisioner.phases.join_nodes import wait_nodes_ready
from provisioner.phases.run import Run
from provisioner.state import ClusterHome, ClusterRecord, write_atomically


@dataclasses.dataclass(frozen=True, slots=True)
class Move:
    """From which hosts to which, with what."""

    before: ClusterRecord
    after: ClusterRecord
    snapshot: str
    """File name."""
    begun: bool
    """By an earlier run that did not come to its end."""


def planned_move(home: ClusterHome, record: ClusterRecord, inventory: Path | None, snapshot: Path) -> Move:
    """
    Reads files; changes nothing. The same command gives the same move until it has come to its end.

    Raises:
        InventoryError: the options do not fit the cluster.
    """
    if (record.provider == Provider.STATIC) != (inventory is not None):
        local = record.provider == Provider.LOCAL
        raise InventoryError(
            "--inventory does not go with local machines" if local else "which hosts?",
            why="their addresses are chosen here" if local else "the new ones are listed in a file",
            next_step="Leave it away." if local else "Give it with --inventory FILE.",
        )  # fmt: skip
    wanted = hashlib.sha256(read_text(inventory).encode()).hexdigest() if inventory else ""
    if (told := _read_note(home)) is not None and (told["snapshot"], told["inventory"]) == (snapshot.name, wanted):
        return Move(_record(told["before"]), _record(told["after"]), snapshot.name, begun=True)
    if inventory is not None:
        after = dataclasses.replace(
            record, inventory=read_text(inventory), inventory_name=str(inventory),
            absent=(), roles={}, quorum_formed=False,
        )  # fmt: skip
    else:
        networks = NetworkSettings()
        taken = (networks.service_cidr, networks.pod_cidr, record.subnet, *home.subnets_of_others())
        after = dataclasses.replace(record, subnet=choose_subnet(taken), quorum_formed=False)
    return Move(record, after, snapshot.name, begun=False)


async def refuse_living(old: Run) -> None:
    """Raises InventoryError when an apiserver of the old hosts still serves: there would be two of one cluster."""
    tls = operator_tls(old.home.pki)
    answers = await asyncio.gather(*(readiness(url, tls) for url in old.spec.api_servers))
    for url, wrong in zip(old.spec.api_servers, answers, strict=True):
        if not wrong:
            raise InventoryError(
                f"cluster {old.spec.name} still serves", why=f"{url} says that it is ready",
                next_step="Restore it where it is (`provision etcd restore`), or stop the old hosts for good first.",
            )  # fmt: skip


def note_move(home: ClusterHome, move: Move, inventory: Path | None) -> None:
    """From here on the same command goes on with it."""
    wanted = hashlib.sha256(read_text(inventory).encode()).hexdigest() if inventory else ""
    note = {
        "snapshot": move.snapshot, "inventory": wanted,
        "before": dataclasses.asdict(move.before), "after": dataclasses.asdict(move.after),
    }  # fmt: skip
    write_atomically(_note(home), json.dumps(note).encode(), mode=0o600)


async def leave_old_hosts(old: Run, move: Move, inventory: Path | None) -> None:
    """
    From here on the cluster is where it goes to. Local machines are removed; of other hosts nothing is asked, they
    are taken for lost.
    """
    home = old.home
    if not move.begun:
        note_move(home, move, inventory)
    if home.read_record() == move.after:
        return
    if move.before.provider == Provider.LOCAL:
        with old.progress.phase("Remove the old machines"):
            await old.provider.destroy(old.progress.line)
    (home.path / "laid_down.json").unlink(missing_ok=True)
    for host in old.spec.hosts:
        await asyncio.to_thread(home.forget_host, host.name)
    home.write_record(move.after)


async def restore_on_new_hosts(run: Run, move: Move, snapshot: Path) -> Sequence[str]:
    """
    The caller holds the cluster's lock. A run that is cut off is gone on with by the same command.

    Args:
        run: Of the new hosts.

    Returns: names of the Nodes that were deleted.
    """
    if unfinished_restore(run.home) is None:
        await apply_cluster(run, move.after)
    await restore_etcd(run, snapshot, begun_restore(run, snapshot))
    with run.progress.phase("Put Nodes right"):
        nodes = run.spec.with_role(Role.NODE)
        await connect_hosts(run, nodes, booting=False)
        # They registered in a cluster that is no more.
        await for_each(nodes, lambda host: restart_units(run.transport(host), ("kubelet", "kube-proxy")))
        gone = await _delete_vanished(run)
    _note(run.home).unlink(missing_ok=True)
    return gone


async def _delete_vanished(run: Run) -> list[str]:
    names = {host.name for host in run.spec.hosts}
    async with admin_client(run) as client:
        listed = await client.list(resources.NODES)
        gone = [node["metadata"]["name"] for node in listed["items"] if node["metadata"]["name"] not in names]
        for name in gone:
            run.progress.line("its Node is deleted: it is no host of the cluster any more", name)
            try:
                await client.delete(resources.NODES, name)
            except NotFound:
                continue
        await wait_nodes_ready(client, run.spec)
    return gone


def check_before(run: Run, snapshot: Path) -> None:
    """All that can be known before anything is changed. Raises InventoryError."""
    check_snapshot(run.home, snapshot)
    if missing := [name for name in ("ca.key", "sa.key") if not (run.home.pki / name).exists()]:
        raise InventoryError(
            "what this machine kept of the cluster is not complete", why=f"{run.home.pki} lacks {', '.join(missing)}",
            next_step="Put back the cluster's whole folder from the operator's backup.",
        )  # fmt: skip


def _note(home: ClusterHome) -> Path:
    return home.path / "moving.json"


def _read_note(home: ClusterHome) -> Mapping[str, Any] | None:
    path = _note(home)
    if not path.exists():
        return None
    told: Mapping[str, Any] = json.loads(path.read_text())
    return told


def _record(told: Mapping[str, Any]) -> ClusterRecord:
    roles = {host: tuple(names) for host, names in (told.get("roles") or {}).items()}
    return ClusterRecord(**{**told, "absent": tuple(told.get("absent") or ()), "roles": roles})
