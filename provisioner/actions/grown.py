"""
A cluster with other hosts than it has: the description and the record afterwards, and who is new. Reads files; changes
nothing.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from inventory.model import ClusterSpec, HostSpec, Provider, Role
from inventory.sources.static_file import read_text
from provisioner.actions.describe import describe_record
from provisioner.actions.plan_nodes import roles_of
from provisioner.errors import InventoryError
from provisioner.state import ClusterHome, ClusterRecord

WORKER = (Role.NODE.value,)
MASTER = (Role.CONTROL_PLANE.value, Role.ETCD.value, Role.NODE.value)

Roles = tuple[str, ...]


def grown(
    home: ClusterHome, count: int | None, inventory: Path | None, *, control_plane: bool = False
) -> tuple[ClusterSpec, ClusterRecord, Sequence[HostSpec]]:
    """
    Args:
        home: Of a cluster that exists.
        count: More local machines; None: one.
        inventory: The file of a cluster of other hosts, with the new ones in it. Roles that it gives them hold.
        control_plane: Who comes becomes a master with a member of etcd.

    Raises:
        InventoryError, DescriptionError: the options do not fit the cluster, or the file is wrong.
    """
    wider = _wider(home, count or 1 if inventory is None else count, inventory)
    new, kept = _new_hosts(home, wider, {})
    roles: dict[str, Roles]
    if control_plane:
        roles = {host.name: MASTER for host in new}
    elif _gives_roles(wider):
        roles = {host.name: tuple(sorted(host.roles)) for host in new}
    else:
        roles = {host.name: WORKER for host in new}
    return _final(home, wider, kept, roles)


def replaced(
    home: ClusterHome, old: Sequence[HostSpec], inventory: Path | None
) -> tuple[ClusterSpec, ClusterRecord, Sequence[HostSpec]]:
    """
    As many new hosts as old ones, with the roles of these.

    Args:
        home: Of a cluster that exists.
        old: Who leaves.
        inventory: The file of a cluster of other hosts, with the new ones in it; the old ones may be left out.

    Raises:
        InventoryError, DescriptionError: as `grown`, or the file has another number of new hosts.
    """
    wider = _wider(home, len(old) if inventory is None else None, inventory)
    leaving = {host.name: tuple(sorted(host.roles)) for host in old}
    new, kept = _new_hosts(home, wider, leaving)
    if len(new) != len(old):
        raise InventoryError(
            f"{len(old)} hosts are to be replaced, {len(new)} are new",
            why=f"{wider.inventory_name} lists {', '.join(host.name for host in new) or 'no new host'}",
            next_step="List one new host for each that is replaced.",
        )  # fmt: skip
    roles = {host.name: had for host, had in zip(new, leaving.values(), strict=True)}
    without = dataclasses.replace(wider, absent=tuple(sorted({*wider.absent, *leaving})))
    return _final(home, without, {name: had for name, had in kept.items() if name not in leaving}, roles)


def _wider(home: ClusterHome, count: int | None, inventory: Path | None) -> ClusterRecord:
    record = home.read_record()
    assert record is not None  # noqa: S101 - the command line asked for it
    if record.provider == Provider.LOCAL:
        if inventory is not None:
            raise InventoryError(
                "--inventory does not go with local machines", why="their addresses are chosen here",
                next_step="Say how many more with --count.",
            )  # fmt: skip
        return dataclasses.replace(record, nodes=record.nodes + (count or 1))
    if count is not None and inventory is not None:
        raise InventoryError(
            "--count does not go with --inventory", why="the file says which hosts come", next_step="Leave it away.",
        )  # fmt: skip
    if inventory is None:
        raise InventoryError(
            "which hosts?", why="hosts that exist already are listed in a file",
            next_step="Add them to the inventory, and give it with --inventory FILE.",
        )  # fmt: skip
    return dataclasses.replace(record, inventory=read_text(inventory), inventory_name=str(inventory))


def _new_hosts(
    home: ClusterHome, wider: ClusterRecord, leaving: Mapping[str, Roles]
) -> tuple[Sequence[HostSpec], dict[str, Roles]]:
    """Who is new, as described; and the roles of who was there: they hold, whatever the table for so many says."""
    record = home.read_record()
    assert record is not None  # noqa: S101 - the command line asked for it
    kept = roles_of(describe_record(home, record))
    described = describe_record(home, dataclasses.replace(wider, roles=kept))
    names = {host.name for host in described.hosts}
    if gone := sorted(kept.keys() - names - leaving.keys()):
        raise InventoryError(
            f"{', '.join(gone)} would be gone", why=f"{wider.inventory_name} does not list them any more",
            next_step=f"Keep them there, or use `provision nodes remove {home.name} {' '.join(gone)}` first.",
        )  # fmt: skip
    return [host for host in described.hosts if host.name not in kept], kept


def _gives_roles(record: ClusterRecord) -> bool:
    """Whether the file says itself what hosts do."""
    if record.provider == Provider.LOCAL:
        return False
    return any("roles" in host for host in yaml.safe_load(record.inventory)["hosts"])


def _final(
    home: ClusterHome, wider: ClusterRecord, kept: Mapping[str, Roles], new: Mapping[str, Roles]
) -> tuple[ClusterSpec, ClusterRecord, Sequence[HostSpec]]:
    joined = any(Role.ETCD in roles for roles in new.values())
    record = dataclasses.replace(
        wider, roles={**kept, **new}, quorum_formed=wider.quorum_formed or joined
    )  # fmt: skip
    spec = describe_record(home, record)
    return spec, record, [host for host in spec.hosts if host.name in new]
