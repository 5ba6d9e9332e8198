"""Ask every host what it is like: one command each, all at once."""

from collections.abc import Sequence

from inventory.model import HostSpec
from provisioner.facts.host_facts import HostFacts, read_facts
from provisioner.phase_runner import for_each
from provisioner.phases.run import Run


async def gather_facts(run: Run, hosts: Sequence[HostSpec]) -> None:
    """Fills run.facts."""

    async def one(host: HostSpec) -> HostFacts:
        return await read_facts(run.transport(host), host)

    run.facts.update(await for_each(hosts, one))
