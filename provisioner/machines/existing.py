"""Machines that exist already (`--provider static`): nothing to make, nothing to remove."""

from collections.abc import Sequence
from pathlib import Path

from inventory.model import HostSpec
from provisioner.machines.base import MachineState, Report


class ExistingMachines:
    """The hosts of an inventory file. Whether they answer is the phase Connect's business."""

    def observe(self, hosts: Sequence[HostSpec]) -> dict[str, MachineState]:
        return {host.name: MachineState.RUNNING for host in hosts}

    @property
    def shared_releases(self) -> Path | None:
        return None

    async def create(self, hosts: Sequence[HostSpec], report: Report) -> None:
        """They are there."""

    async def remove(self, hosts: Sequence[HostSpec], report: Report) -> None:
        """They stay; phases.clean_hosts has taken our files off them."""

    async def destroy(self, report: Report) -> None:
        """They stay; phases.clean_hosts has taken our files off them."""
