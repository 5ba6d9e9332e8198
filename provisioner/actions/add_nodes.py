"""`provision nodes add`: new hosts become nodes. Touched are they and, through the API, one master."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Awaitable, Callable, Sequence

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import NotFound
from inventory.model import HostSpec, Provider
from provisioner.actions.plan_nodes import plan_addition
from provisioner.actions.telling import admin_client, told_by
from provisioner.execution.actions import ActionPlan
from provisioner.execution.carry_out import Step, carry_out
from provisioner.execution.ledger import Ledger
from provisioner.facts.host_facts import NODE_UNITS, RUNTIME_UNITS
from provisioner.machines.base import MachineState
from provisioner.phase_runner import raise_together
from provisioner.phases.connect import connect_hosts, locked_hosts
from provisioner.phases.gather_facts import gather_facts
from provisioner.phases.issue_certificates import hosts_with_certificates, issue_certificates
from provisioner.phases.join_nodes import (
    label_masters,
    missing_labels,
    not_ready,
    start_node_services,
    start_runtime,
    wait_nodes_ready,
)
from provisioner.phases.lay_down import lay_down, read_recorded, wanted_inputs
from provisioner.phases.push_bundle import push_bundle
from provisioner.phases.run import Run
from provisioner.phases.validate_hosts import validate_hosts
from provisioner.preflight.results import errors_of
from provisioner.preflight.run import preflight
from provisioner.releases import bundle_of
from provisioner.state import ClusterRecord


async def add_nodes(run: Run, new: Sequence[HostSpec], record: ClusterRecord) -> ActionPlan:
    """
    The caller holds the cluster's lock. Returns what was planned; what held already was not done again.

    Args:
        run: Its description has the new hosts in it.
        new: Those that come.
        record: What to remember: written before the first change, so that a run that is killed is gone on with by
            `provision cluster` as well.
    """
    plan = plan_addition(run.spec, new)
    run.bundle = await asyncio.to_thread(bundle_of, run.home, run.progress.line)
    run.home.write_record(record)
    ledger = Ledger(run.home.ledger, plan.verb)
    async with admin_client(run) as client, contextlib.AsyncExitStack() as locks:
        steps: dict[str, Step] = {}
        for host in new:
            steps |= Joining(run, host, client, locks).steps()
        with run.progress.phase("Add nodes"), ledger.running(f"add {', '.join(host.name for host in new)}"):
            await carry_out(plan, steps, ledger, tell=told_by(run))
    return plan


class Joining:
    """One host on its way; what is known of it is asked anew before each step."""

    def __init__(
        self, run: Run, host: HostSpec, client: ApiClient, locks: contextlib.AsyncExitStack, laying: Run | None = None
    ) -> None:
        """`laying` describes the cluster that its first files are made for, where that is not the run's."""
        self._run = run
        self._laying = laying or run
        self._host = host
        self._only = run.narrowed([host])
        self._client = client
        self._locks = locks
        self._fit = False

    def steps(self) -> dict[str, Step]:
        table: dict[str, tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[bool]]]] = {
            "machine": (self._make, self._answers),
            "fit": (self._check, self._was_checked),
            "certificates": (self._issue, self._has_certificates),
            "release": (self._push, self._has_release),
            "files": (self._lay_down, self._has_files),
            "runtime": (lambda: start_runtime(self._only), lambda: self._runs(RUNTIME_UNITS)),
            "services": (lambda: start_node_services(self._only), lambda: self._runs(NODE_UNITS)),
            "ready": (self._wait_ready, self._is_ready),
        }
        return {f"{self._host.name}/{name}": Step(do, done) for name, (do, done) in table.items()}

    async def _make(self) -> None:
        await self._run.provider.create([self._host], self._run.progress.line)
        await connect_hosts(self._run, [self._host], booting=self._run.spec.provider is Provider.LOCAL)
        await self._locks.enter_async_context(locked_hosts(self._run, [self._host]))
        await self._facts()

    async def _answers(self) -> bool:
        state = await asyncio.to_thread(self._run.provider.observe, [self._host])
        return state[self._host.name] is MachineState.RUNNING and self._host.name in self._run.transports

    async def _check(self) -> None:
        known = {self._host.name: self._run.facts_of(self._host)}
        if self._run.spec.provider is Provider.STATIC:
            if failures := errors_of(await preflight(self._only)):
                raise_together(failures, 1)
        else:
            validate_hosts(self._only.spec, known, self._run.skipped_checks)
        self._fit = True

    async def _was_checked(self) -> bool:
        return self._fit

    async def _issue(self) -> None:
        await asyncio.to_thread(issue_certificates, self._only.spec, self._run.home.pki, dt.datetime.now(dt.UTC))

    async def _has_certificates(self) -> bool:
        ready = hosts_with_certificates(self._only.spec, self._run.home.pki, dt.datetime.now(dt.UTC))
        return self._host.name in ready

    async def _push(self) -> None:
        self._only.bundle = self._run.bundle
        await push_bundle(self._only, [self._host])

    async def _has_release(self) -> bool:
        await self._facts()
        return self._digest in self._run.facts_of(self._host).releases

    async def _lay_down(self) -> None:
        self._laying.bundle = self._run.bundle
        await lay_down(self._laying, [self._host])

    async def _has_files(self) -> bool:
        await self._facts()
        wanted = wanted_inputs(self._laying, self._digest)[self._host.name]
        now = self._run.facts_of(self._host).laid_down
        return bool(now) and read_recorded(self._run.home).get(self._host.name) == (wanted, now)

    async def _runs(self, units: Sequence[str]) -> bool:
        await self._facts()
        facts = self._run.facts_of(self._host)
        return all(facts.unit(unit).active and not facts.unit(unit).stale for unit in units)

    async def _wait_ready(self) -> None:
        await wait_nodes_ready(self._client, self._only.spec)
        await label_masters(self._client, self._only.spec)

    async def _is_ready(self) -> bool:
        try:
            node = await self._client.get(resources.NODES, self._host.name)
        except NotFound:
            return False
        return not not_ready(self._only.spec, [node]) and not await missing_labels(self._client, self._only.spec)

    @property
    def _digest(self) -> str:
        assert self._run.bundle is not None  # noqa: S101 - it is the first thing that is made sure of
        return self._run.bundle.digest

    async def _facts(self) -> None:
        await gather_facts(self._run, [self._host])
