"""`provision nodes remove`: hosts stop being nodes; their Pods go elsewhere first, as disruption budgets allow."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import NotFound
from inventory.model import HostSpec, Provider
from provisioner.actions.plan_nodes import plan_removal
from provisioner.actions.telling import admin_client, told_by
from provisioner.execution.actions import ActionPlan
from provisioner.execution.carry_out import Step, carry_out
from provisioner.execution.ledger import Ledger
from provisioner.machines.base import MachineState
from provisioner.operations import drain
from provisioner.phases.clean_hosts import clean_hosts
from provisioner.phases.lay_down import forget_laid_down
from provisioner.phases.run import Run
from provisioner.state import ClusterRecord


async def remove_nodes(
    run: Run, going: Sequence[HostSpec], record: ClusterRecord, *, dead: bool, patience: float
) -> ActionPlan:
    """
    The caller holds the cluster's lock. Returns what was planned.

    Args:
        run: Its description has the hosts still in it.
        going: Those that leave.
        record: What to remember once they have left.
        dead: They do not answer: their Pods are given up, and what lies on them stays there.
        patience: Seconds that Pods get to move.

    Raises:
        ProvisionError: budgets hold Pods back, or a host cannot be cleaned. The same command goes on.
    """
    plan = plan_removal(run.spec, going, dead=dead)
    ledger = Ledger(run.home.ledger, plan.verb)
    async with admin_client(run) as client:
        steps: dict[str, Step] = {}
        for host in going:
            steps |= Leaving(run, host, client, patience).steps()
        with run.progress.phase("Remove nodes"), ledger.running(f"remove {', '.join(host.name for host in going)}"):
            await carry_out(plan, steps, ledger, tell=told_by(run))
    run.home.write_record(record)
    for host in going:
        forget_laid_down(run.home, host.name)
        await asyncio.to_thread(run.home.forget_host, host.name)
    return plan


class Leaving:
    """One host on its way out."""

    def __init__(self, run: Run, host: HostSpec, client: ApiClient, patience: float) -> None:
        self._run = run
        self._host = host
        self._client = client
        self._patience = patience
        self._cleaned = False

    def steps(self) -> dict[str, Step]:
        table: dict[str, tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[bool]]]] = {
            "cordon": (self._cordon, lambda: drain.is_cordoned(self._client, self._host.name)),
            "drain": (self._drain, self._is_empty),
            "clean": (self._clean, self._is_clean),
            "node": (self._delete_node, self._has_no_node),
        }
        return {f"{self._host.name}/{name}": Step(do, done) for name, (do, done) in table.items()}

    async def _cordon(self) -> None:
        await drain.cordon(self._client, self._host.name)

    async def _drain(self) -> None:
        await drain.drain(self._client, self._host.name, self._patience)

    async def _is_empty(self) -> bool:
        return not await drain.pods_to_evict(self._client, self._host.name)

    async def _delete_node(self) -> None:
        with contextlib.suppress(NotFound):
            await self._client.delete(resources.NODES, self._host.name)

    async def _has_no_node(self) -> bool:
        try:
            await self._client.get(resources.NODES, self._host.name)
        except NotFound:
            return True
        return False

    async def _clean(self) -> None:
        if self._run.spec.provider is Provider.LOCAL:
            await self._run.provider.remove([self._host], self._run.progress.line)
        elif failures := await clean_hosts(self._run, [self._host]):
            raise failures[0]
        self._cleaned = True

    async def _is_clean(self) -> bool:
        if self._run.spec.provider is Provider.STATIC:
            return self._cleaned
        state = await asyncio.to_thread(self._run.provider.observe, [self._host])
        return state[self._host.name] is MachineState.ABSENT
