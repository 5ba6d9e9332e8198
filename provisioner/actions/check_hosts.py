"""`provision preflight`: are these hosts fit for a cluster? Reads only."""

from provisioner.phases.connect import connect_hosts
from provisioner.phases.gather_facts import gather_facts
from provisioner.phases.run import Run
from provisioner.preflight.model import Result
from provisioner.preflight.run import preflight


async def check_hosts(run: Run) -> list[Result]:
    """Everything that is wrong, errors first. Raises for hosts that cannot be reached, before any is judged."""
    with run.progress.phase("Connect"):
        await connect_hosts(run, run.spec.hosts, booting=False)
    with run.progress.phase("Ask every host"):
        await gather_facts(run, run.spec.hosts)
        return await preflight(run)
