"""A cluster with more hosts than it has: the description, the record, and who is new. Reads files; changes nothing."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from inventory.model import ClusterSpec, HostSpec, Provider
from inventory.sources.static_file import read_text
from provisioner.actions.describe import describe_record
from provisioner.actions.plan_nodes import roles_of
from provisioner.errors import InventoryError
from provisioner.state import ClusterHome, ClusterRecord


def grown(
    home: ClusterHome, count: int | None, inventory: Path | None
) -> tuple[ClusterSpec, ClusterRecord, Sequence[HostSpec]]:
    """
    Args:
        home: Of a cluster that exists.
        count: More local machines; None: one.
        inventory: The file of a cluster of other hosts, with the new ones in it.

    Raises:
        InventoryError, DescriptionError: the options do not fit the cluster, or the file is wrong.
    """
    record = home.read_record()
    assert record is not None  # noqa: S101 - the command line asked for it
    known = describe_record(home, record)
    if record.provider == Provider.LOCAL:
        if inventory is not None:
            raise InventoryError(
                "--inventory does not go with local machines", why="their addresses are chosen here",
                next_step="Say how many more with --count.",
            )  # fmt: skip
        wider = dataclasses.replace(record, nodes=record.nodes + (count or 1))
    else:
        if count is not None or inventory is None:
            raise InventoryError(
                "which hosts?", why="hosts that exist already are listed in a file",
                next_step="Add them to the inventory, and give it with --inventory FILE.",
            )  # fmt: skip
        wider = dataclasses.replace(record, inventory=read_text(inventory), inventory_name=str(inventory))
    # Who was there keeps its roles, whatever the table for so many hosts says; who is new is a worker.
    kept = roles_of(known)
    described = describe_record(home, dataclasses.replace(wider, roles=kept))
    if gone := sorted(kept.keys() - {host.name for host in described.hosts}):
        raise InventoryError(
            f"{', '.join(gone)} would be gone", why=f"{wider.inventory_name} does not list them any more",
            next_step=f"Keep them there, or use `provision nodes remove {home.name} {' '.join(gone)}` first.",
        )  # fmt: skip
    new = [host for host in described.hosts if host.name not in kept]
    roles = {**kept, **{host.name: ("node",) for host in new}}
    final = dataclasses.replace(wider, roles=roles)
    spec = describe_record(home, final)
    names = {host.name for host in new}
    return spec, final, [host for host in spec.hosts if host.name in names]
