"""From what the command line says to a described cluster: the spec, who makes its machines, how hosts are reached."""

from dataclasses import dataclass
from pathlib import Path

from inventory.load import load_cluster
from inventory.model import ClusterSpec, NetworkSettings, Provider, Role
from inventory.sources.nspawn import local_cluster
from inventory.sources.static_file import read_cluster
from provisioner.errors import InventoryError, ProvisionError
from provisioner.machines.base import MachineProvider
from provisioner.machines.existing import ExistingMachines
from provisioner.machines.local_network import choose_subnet
from provisioner.machines.nspawn import NspawnMachines
from provisioner.machines.programs import require_programs
from provisioner.state import ClusterHome, ClusterRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What `provision cluster` was told; None and empty mean: as before, or the default."""

    nodes: int | None = None
    masters: int | None = None
    etcd_members: int | None = None
    provider: str = ""
    inventory: Path | None = None


def describe_wish(home: ClusterHome, wish: Wish) -> tuple[ClusterSpec, ClusterRecord]:
    """The wished cluster. Raises InventoryError or DescriptionError. Writes nothing."""
    known = home.read_record()
    if known and known.destroying:
        raise ProvisionError(
            f"cluster {home.name} is half removed", why="an earlier `provision destroy` did not come to its end",
            next_step=f"Run `provision destroy {home.name}` again, then make it anew.",
        )  # fmt: skip
    provider = wish.provider or (known.provider if known else "static" if wish.inventory else "local")
    if known and known.provider != provider:
        raise InventoryError(
            f"cluster {home.name} cannot change its provider", why=f"it is {known.provider}, asked for is {provider}",
            next_step=f"Choose another name, or run `provision destroy {home.name}` first.",
        )  # fmt: skip
    record = _static_record(known, wish) if provider == Provider.STATIC else _local_record(home, known, wish)
    spec = describe_record(home, record)
    if known:
        _refuse_other_quorum(describe_record(home, known), spec)
    return spec, record


def _static_record(known: ClusterRecord | None, wish: Wish) -> ClusterRecord:
    if wish.inventory is None:
        if known:
            return known
        raise InventoryError(
            "which hosts?", why="provider static needs an inventory file",
            next_step="Give one with --inventory FILE; `provision schema` describes it.",
        )  # fmt: skip
    if wish.nodes is not None:
        raise InventoryError(
            "--nodes does not go with --inventory", why="the file says which hosts there are",
            next_step="Leave --nodes away.",
        )  # fmt: skip
    read_cluster(wish.inventory, masters=wish.masters, etcd_members=wish.etcd_members)  # faults named with the file
    return ClusterRecord(
        provider=Provider.STATIC,
        masters=wish.masters,
        etcd_members=wish.etcd_members,
        inventory=wish.inventory.read_text(),
        inventory_name=str(wish.inventory),
    )


def _local_record(home: ClusterHome, known: ClusterRecord | None, wish: Wish) -> ClusterRecord:
    if wish.inventory is not None:
        raise InventoryError(
            "--inventory does not go with local machines", why="their addresses are chosen here",
            next_step="Use --nodes N, or --provider static.",
        )  # fmt: skip
    nodes = wish.nodes if wish.nodes is not None else known.nodes if known else 1
    if known is None:
        require_programs()
    networks = NetworkSettings()
    subnet = known.subnet if known else choose_subnet((networks.service_cidr, networks.pod_cidr))
    return ClusterRecord(
        provider=Provider.LOCAL,
        nodes=nodes,
        masters=wish.masters if wish.masters is not None else known.masters if known else None,
        etcd_members=wish.etcd_members if wish.etcd_members is not None else known.etcd_members if known else None,
        subnet=subnet,
    )


def describe_record(home: ClusterHome, record: ClusterRecord) -> ClusterSpec:
    """The cluster that a record describes."""
    if record.provider == Provider.LOCAL:
        return local_cluster(
            home.name,
            record.nodes,
            record.subnet,
            str(home.ssh_key),
            masters=record.masters,
            etcd_members=record.etcd_members,
        )
    return load_cluster(
        record.inventory,
        record.inventory_name,
        name=home.name,
        masters=record.masters,
        etcd_members=record.etcd_members,
    )


def _refuse_other_quorum(have: ClusterSpec, wanted: ClusterSpec) -> None:
    """Members come and go one at a time, by commands of their own; a different list here would split the quorum."""
    for role in (Role.ETCD, Role.CONTROL_PLANE):
        old, new = (sorted(h.name for h in spec.with_role(role)) for spec in (have, wanted))
        if old != new:
            raise InventoryError(
                f"cluster {have.name} exists with other hosts for {role}",
                why=f"it has {', '.join(old)}; asked for are {', '.join(new)}",
                next_step="Keep these numbers, or destroy the cluster and make it anew.",
            )
    gone = sorted({h.name for h in have.hosts} - {h.name for h in wanted.hosts})
    if gone:
        raise InventoryError(
            f"cluster {have.name} would lose {len(gone)} hosts", why=f"{', '.join(gone)} are not asked for any more",
            next_step=f"Use `provision nodes remove {have.name} {' '.join(gone)}`, which drains them first.",
        )  # fmt: skip


def machine_provider(home: ClusterHome, record: ClusterRecord) -> MachineProvider:
    return NspawnMachines(home, record.subnet) if record.provider == Provider.LOCAL else ExistingMachines()
