"""
MachineProvider: who makes the machines that hosts are.

Implemented by   nspawn.py (local machines), existing.py (nothing to make).
Called by        provisioner.phases.create_machines, actions.reset.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from inventory.model import HostSpec

Report = Callable[[str], None]
"""Takes one sentence about what is going on."""


class MachineState(StrEnum):
    ABSENT = "absent"
    STOPPED = "stopped"
    RUNNING = "running"


class MachineProvider(Protocol):
    """Makes, starts and removes machines. Every method may be repeated."""

    def observe(self, hosts: Sequence[HostSpec]) -> dict[str, MachineState]:
        """Host name -> state. Changes nothing; may block for milliseconds."""

    @property
    def shared_releases(self) -> Path | None:
        """A folder here that its machines see as their releases, read-only; None when releases have to be sent."""

    async def create(self, hosts: Sequence[HostSpec], report: Report) -> None:
        """Make what is absent and start what is stopped. Raises ProvisionError or HostUnfitError."""

    async def remove(self, hosts: Sequence[HostSpec], report: Report) -> None:
        """Remove these machines and keep the others. Those that are gone already are no error."""

    async def destroy(self, report: Report) -> None:
        """Remove all that this provider made for the cluster, also what a killed run left."""
