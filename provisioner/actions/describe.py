"""From what the command line says to a described cluster: the spec, who makes its machines, how hosts are reached."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from cluster.settings import REGION_LABEL, ZONE_LABEL
from inventory import topology
from inventory.faults import DescriptionError
from inventory.load import load_cluster
from inventory.model import ClusterSpec, FederationSettings, NetworkSettings, Provider, Role
from inventory.sources.nspawn import local_cluster, local_federation
from inventory.sources.static_file import read_text
from inventory.validate import zone_faults
from provisioner.actions.pending_change import refuse_half_done
from provisioner.errors import InventoryError, ProvisionError
from provisioner.machines.base import MachineProvider
from provisioner.machines.existing import ExistingMachines
from provisioner.machines.nspawn import NspawnMachines
from provisioner.machines.programs import require_programs
from provisioner.machines.subnets import choose_subnet
from provisioner.state import FEDERATION, ClusterHome, ClusterRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What `provision cluster` was told; None and empty mean: as before, or the default."""

    nodes: int | None = None
    masters: int | None = None
    etcd_members: int | None = None
    provider: str = ""
    inventory: Path | None = None
    region: str = ""
    zone: str = ""
    """Of local machines: what their Nodes are labelled with."""
    hosts: tuple[str, ...] = ()
    """Addresses of a federation's hosts, where there is no file."""
    dns_zone: str = ""
    """Of a federation."""


def describe_wish(home: ClusterHome, wish: Wish) -> tuple[ClusterSpec, ClusterRecord]:
    """The wished cluster. Raises InventoryError or DescriptionError. Writes nothing."""
    known = home.read_record()
    if known and known.destroying:
        raise ProvisionError(
            f"{home.kind} {home.name} is half removed", why="an earlier run that destroys it did not come to its end",
            next_step=f"Run `{destroying(home)}` again, then make it anew.",
        )  # fmt: skip
    refuse_half_done(home)
    provider = wish.provider or (known.provider if known else "static" if wish.inventory or wish.hosts else "local")
    if known and known.provider != provider:
        raise InventoryError(
            f"{home.kind} {home.name} cannot change its provider",
            why=f"it is {known.provider}, asked for is {provider}",
            next_step=f"Choose another name, or run `{destroying(home)}` first.",
        )  # fmt: skip
    record = _static_record(home, known, wish) if provider == Provider.STATIC else _local_record(home, known, wish)
    if home.kind == FEDERATION:
        record = dataclasses.replace(record, dns_zone=_dns_zone(home, known, wish))
    spec = describe_record(home, record)
    if known:
        _refuse_other_quorum(home, describe_record(home, known), spec)
    return spec, record


def destroying(home: ClusterHome) -> str:
    """The command that takes it away."""
    return f"provision {'federation ' if home.kind == FEDERATION else ''}destroy {home.name}"


def _dns_zone(home: ClusterHome, known: ClusterRecord | None, wish: Wish) -> str:
    wanted = wish.dns_zone.lower().removesuffix(".")
    if known is None:
        if not wanted:
            raise InventoryError(
                f"federation {home.name} needs a DNS zone", why="names of its Services are made in it",
                next_step="Name one, as in --dns-zone=fed.example.com.",
            )  # fmt: skip
        if faults := zone_faults(wanted):
            raise DescriptionError("command line", faults)
        return wanted
    if wanted and wanted != known.dns_zone:
        raise InventoryError(
            f"federation {home.name} cannot change its zone", why=f"it is {known.dns_zone}, asked for is {wanted}",
            next_step=f"Choose another name, or run `{destroying(home)}` first.",
        )  # fmt: skip
    return known.dns_zone


def _static_record(home: ClusterHome, known: ClusterRecord | None, wish: Wish) -> ClusterRecord:
    if wish.region or wish.zone:
        raise InventoryError(
            "--region and --zone go with local machines", why="of other hosts the file says where each is",
            next_step="Write `labels: {topology.kubernetes.io/region: …, topology.kubernetes.io/zone: …}` there.",
        )  # fmt: skip
    if wish.nodes is not None:
        raise InventoryError(
            "--nodes does not go with hosts that exist already", why="which these are is said elsewhere",
            next_step="Leave --nodes away.",
        )  # fmt: skip
    if wish.inventory is not None and wish.hosts:
        raise InventoryError(
            "--hosts does not go with --inventory", why="both say which hosts there are", next_step="Leave one away.",
        )  # fmt: skip
    if wish.hosts:
        return ClusterRecord(
            provider=Provider.STATIC, inventory=_listed(home.name, wish.hosts), inventory_name="command line"
        )
    if wish.inventory is None:
        if known:
            return known
        other = ", or addresses with --hosts" if home.kind == FEDERATION else ""
        raise InventoryError(
            "which hosts?", why="provider static needs an inventory file",
            next_step=f"Give one with --inventory FILE{other}; `provision schema` describes it.",
        )  # fmt: skip
    text = read_text(wish.inventory)
    return ClusterRecord(
        absent=known.absent if known else (),
        roles=known.roles if known else {},
        quorum_formed=known.quorum_formed if known else False,
        provider=Provider.STATIC,
        masters=wish.masters,
        etcd_members=wish.etcd_members,
        inventory=text,
        inventory_name=str(wish.inventory),
    )


def _local_record(home: ClusterHome, known: ClusterRecord | None, wish: Wish) -> ClusterRecord:
    if wish.inventory is not None or wish.hosts:
        raise InventoryError(
            "--inventory and --hosts do not go with local machines", why="their addresses are chosen here",
            next_step="Use --nodes N, or --provider static.",
        )  # fmt: skip
    nodes = wish.nodes if wish.nodes is not None else known.nodes if known else 1
    if wish.nodes is not None and known and known.absent:
        nodes += len(known.absent)  # machines are numbered on; the numbers of those that left are not given again
    if known is None:
        require_programs()
    networks = NetworkSettings()
    taken = (networks.service_cidr, networks.pod_cidr, *home.subnets_of_others())
    subnet = known.subnet if known else choose_subnet(taken)
    return ClusterRecord(
        provider=Provider.LOCAL,
        nodes=nodes,
        masters=wish.masters if wish.masters is not None else known.masters if known else None,
        etcd_members=wish.etcd_members if wish.etcd_members is not None else known.etcd_members if known else None,
        subnet=subnet,
        region=wish.region or (known.region if known else ""),
        zone=wish.zone or (known.zone if known else ""),
        absent=known.absent if known else (),
        roles=known.roles if known else {},
        quorum_formed=known.quorum_formed if known else False,
    )


def _listed(name: str, addresses: Sequence[str]) -> str:
    """The description of hosts of which nothing is known but where they are."""
    hosts = [{"name": f"{name}-{number}", "address": address} for number, address in enumerate(addresses, 1)]
    return yaml.safe_dump({"hosts": hosts})


def describe_record(home: ClusterHome, record: ClusterRecord) -> ClusterSpec:
    """The cluster, or federation, that a record describes."""
    described = dataclasses.replace(_as_described(home, record), quorum_formed=record.quorum_formed)
    if not record.absent and not record.roles:
        return described
    return topology.with_changes(described, record.absent, record.roles)


def _as_described(home: ClusterHome, record: ClusterRecord) -> ClusterSpec:
    federation = FederationSettings(zone=record.dns_zone) if home.kind == FEDERATION else None
    if federation and record.provider == Provider.LOCAL:
        return local_federation(home.name, record.nodes, record.subnet, str(home.ssh_key), federation)
    if record.provider == Provider.LOCAL:
        return local_cluster(
            home.name,
            record.nodes,
            record.subnet,
            str(home.ssh_key),
            masters=record.masters,
            etcd_members=record.etcd_members,
            labels=_place(record),
        )
    return load_cluster(
        record.inventory,
        record.inventory_name,
        name=home.name,
        masters=record.masters,
        etcd_members=record.etcd_members,
        federation=federation,
    )


def _place(record: ClusterRecord) -> dict[str, str]:
    labels = {REGION_LABEL: record.region, ZONE_LABEL: record.zone}
    return {key: value for key, value in labels.items() if value}


def _refuse_other_quorum(home: ClusterHome, have: ClusterSpec, wanted: ClusterSpec) -> None:
    """Members come and go one at a time, by commands of their own; a different list here would split the quorum."""
    for role in (Role.FEDERATION, Role.ETCD, Role.CONTROL_PLANE):
        old, new = (sorted(h.name for h in spec.with_role(role)) for spec in (have, wanted))
        if old != new:
            raise InventoryError(
                f"{home.kind} {have.name} exists with other hosts for {role}",
                why=f"it has {', '.join(old)}; asked for are {', '.join(new)}",
                next_step=_other_members(home, role),
            )
    gone = sorted({h.name for h in have.hosts} - {h.name for h in wanted.hosts})
    if gone:
        raise InventoryError(
            f"cluster {have.name} would lose {len(gone)} hosts", why=f"{', '.join(gone)} are not asked for any more",
            next_step=f"Use `provision nodes remove {have.name} {' '.join(gone)}`, which drains them first.",
        )  # fmt: skip


def _other_members(home: ClusterHome, role: Role) -> str:
    if role is Role.FEDERATION or home.kind == FEDERATION:
        return f"Keep these, or run `{destroying(home)}` and make it anew."
    verbs = f"`provision nodes add {home.name} --control-plane`, `nodes remove` or `nodes replace`"
    return f"Keep these; {verbs} let masters come and go one by one."


def machine_provider(home: ClusterHome, record: ClusterRecord) -> MachineProvider:
    return NspawnMachines(home, record.subnet) if record.provider == Provider.LOCAL else ExistingMachines()
