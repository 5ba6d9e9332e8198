"""What the phases of one run share: the description, what was found, and the ways to hosts and operator."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field

from inventory.model import ClusterSpec, HostSpec
from provisioner.bundle.build import Bundle
from provisioner.facts.host_facts import FRESH, HostFacts
from provisioner.machines.base import MachineProvider
from provisioner.progress import Progress
from provisioner.state import ClusterHome
from provisioner.transports.base import Transport
from provisioner.transports.ssh import SshAccess


@dataclass(slots=True)
class Run:
    """Filled by the phases in turn: connect fills transports, gather_facts facts, and so on."""

    spec: ClusterSpec
    home: ClusterHome
    provider: MachineProvider
    access: SshAccess
    progress: Progress
    transports: dict[str, Transport] = field(default_factory=dict)
    facts: dict[str, HostFacts] = field(default_factory=dict)
    bundle: Bundle | None = None
    skipped_checks: frozenset[str] = frozenset()
    """Ids of the preflight checks that the operator does not want."""

    def narrowed(self, hosts: Iterable[HostSpec]) -> "Run":
        """The same run with these hosts alone in its description: phases touch no others. What is found is shared."""
        return dataclasses.replace(self, spec=dataclasses.replace(self.spec, hosts=tuple(hosts)))

    def transport(self, host: HostSpec) -> Transport:
        return self.transports[host.name]

    def facts_of(self, host: HostSpec) -> HostFacts:
        return self.facts.get(host.name, FRESH)
