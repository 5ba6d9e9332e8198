"""`provision machines kill|start`: lose a local machine, and boot it again. To see what a cluster bears."""

from inventory.model import ClusterSpec, HostSpec, Provider
from provisioner.errors import InventoryError
from provisioner.machines.base import MachineState
from provisioner.machines.nspawn import NspawnMachines
from provisioner.state import ClusterHome, ClusterRecord


def kill_machine(home: ClusterHome, record: ClusterRecord, spec: ClusterSpec, name: str) -> bool:
    """The machine loses its power at once. False when it had none. Raises InventoryError."""
    machines, host = _local_machine(home, record, spec, name)
    was = machines.observe([host])[host.name]
    machines.kill(host.name)
    return was is MachineState.RUNNING


def start_machine(home: ClusterHome, record: ClusterRecord, spec: ClusterSpec, name: str) -> bool:
    """The machine boots with all it has on its disks. False when it ran. Raises InventoryError, HostUnfitError."""
    machines, host = _local_machine(home, record, spec, name)
    was = machines.observe([host])[host.name]
    if was is MachineState.ABSENT:
        raise InventoryError(
            f"machine {name} was never made", why=f"`provision cluster {home.name}` has not come that far",
            next_step=f"Run `provision cluster {home.name}`.",
        )  # fmt: skip
    if was is MachineState.STOPPED:
        machines.start(host.name)
    return was is MachineState.STOPPED


def _local_machine(
    home: ClusterHome, record: ClusterRecord, spec: ClusterSpec, name: str
) -> tuple[NspawnMachines, HostSpec]:
    if record.provider != Provider.LOCAL:
        raise InventoryError(
            f"cluster {home.name} has no local machines", why=f"its provider is {record.provider}",
            next_step="Use the hosts' own means (power switch, console, hypervisor).",
        )  # fmt: skip
    host = next((host for host in spec.hosts if host.name == name), None)
    if host is None:
        raise InventoryError(
            f"cluster {home.name} has no machine {name}", why=f"it has {', '.join(h.name for h in spec.hosts)}",
            next_step="Name one of these.",
        )  # fmt: skip
    return NspawnMachines(home, record.subnet), host
