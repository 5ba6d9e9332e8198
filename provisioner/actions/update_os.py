"""
`provision os-update`: newer packages of the operating system on every host, and a reboot where they ask for one.

Masters one by one, then workers in batches. A host that boots anew is emptied before, as far as disruption budgets
allow, and the next one's turn comes when it serves again.
"""

from collections.abc import Mapping

from cluster.api import resources
from cluster.client.rest import ApiClient
from cluster.machinery.status_errors import NotFound
from inventory.model import HostSpec
from provisioner.actions.plan_os_update import OsState, plan_os_update
from provisioner.actions.snapshot_etcd import take_snapshot
from provisioner.actions.telling import admin_client, told_by
from provisioner.actions.upgrade import KEPT_SNAPSHOTS
from provisioner.execution.actions import ActionPlan
from provisioner.execution.carry_out import Step, carry_out
from provisioner.execution.ledger import Ledger
from provisioner.machines.base import MachineState
from provisioner.operations import drain, packages, reboot
from provisioner.phase_runner import for_each
from provisioner.phases.connect import HostLocks, connect_hosts, disconnect
from provisioner.phases.gate import wait_serving
from provisioner.phases.run import Run
from provisioner.transports.base import Transport

HELD = "hanse.io/closed-for"
"""Annotation of a Node that this verb closed, and will open again: others' cordons stay."""
_VALUE = "os-update"


async def find_lacking(run: Run) -> Mapping[str, OsState]:
    """
    Host name -> what it lacks; connects to all of them. Reads the archives' lists on them anew, changes nothing else.

    Raises:
        ProvisionError: for all hosts whose archives cannot be read.
    """
    await connect_hosts(run, run.spec.hosts, booting=False)
    async with admin_client(run) as client:
        held = {
            node["metadata"]["name"]
            for node in (await client.list(resources.NODES))["items"]
            if HELD in (node["metadata"].get("annotations") or {})
        }

    async def one(host: HostSpec) -> OsState:
        transport = run.transport(host)
        newer = await packages.ask_upgradable(transport)
        return OsState(newer, await packages.reboot_due(transport), host.name in held)

    return await for_each(run.spec.hosts, one)


async def update_os(
    run: Run, found: Mapping[str, OsState], *, boot: bool, batch_percent: int, drain_timeout: float
) -> ActionPlan:
    """
    The caller holds the cluster's lock. A run that was cut off is gone on with by the same command.

    Args:
        run: Connected.
        found: What hosts lack (`find_lacking`).
        boot: Whether hosts that need it are booted anew.
        batch_percent: Share of the workers that are away at once.
        drain_timeout: Seconds that a host's Pods have to leave it.

    Raises:
        ProvisionError: a host's packages, reboot or gate failed; the hosts after it were not touched.
    """
    plan = plan_os_update(run.spec, found, reboot=boot, batch_percent=batch_percent)
    ledger = Ledger(run.home.ledger, plan.verb)
    async with HostLocks(run) as locks, admin_client(run) as client:
        await locks.take(run.spec.hosts)
        work = _Updating(run, client, locks, found, drain_timeout)
        with run.progress.phase("Update the operating system"), ledger.running(f"bring packages to {len(found)} hosts"):
            await carry_out(plan, work.steps(), ledger, tell=told_by(run))
    return plan


class _Updating:
    """How each action is done and seen to be done."""

    def __init__(
        self, run: Run, client: ApiClient, locks: HostLocks, found: Mapping[str, OsState], drain_timeout: float
    ) -> None:
        self._run, self._client, self._locks = run, client, locks
        self._found, self._drain_timeout = found, drain_timeout
        self._passed: set[str] = set()

    def steps(self) -> dict[str, Step]:
        found = {"snapshot": Step(self._take_snapshot, self._has_snapshot)}
        for host in self._run.spec.hosts:
            found |= self._steps_of(host)
        return found

    def _steps_of(self, host: HostSpec) -> dict[str, Step]:
        newer = self._found[host.name].packages

        async def may_stay() -> bool:
            return not await packages.reboot_due(self._transport(host))

        async def cordoned() -> bool:
            return await may_stay() or await drain.is_cordoned(self._client, host.name)

        async def drained() -> bool:
            return await may_stay() or not await drain.pods_to_evict(self._client, host.name)

        return {
            f"{host.name}/packages": Step(
                lambda: packages.bring(self._transport(host), newer), lambda: packages.has(self._transport(host), newer)
            ),
            f"{host.name}/cordon": Step(lambda: self._close(host), cordoned),
            f"{host.name}/drain": Step(lambda: drain.drain(self._client, host.name, self._drain_timeout), drained),
            f"{host.name}/reboot": Step(lambda: self._reboot(host), may_stay),
            f"{host.name}/gate": Step(lambda: self._gate(host), lambda: self._has_passed(host)),
            f"{host.name}/uncordon": Step(lambda: self._open(host), lambda: self._is_open(host)),
        }

    def _transport(self, host: HostSpec) -> Transport:
        return self._run.transport(host)  # another one after a reboot

    async def _take_snapshot(self) -> None:
        await take_snapshot(self._run, keep=KEPT_SNAPSHOTS)
        self._passed.add("")

    async def _has_snapshot(self) -> bool:
        return "" in self._passed

    async def _close(self, host: HostSpec) -> None:
        change = {"metadata": {"annotations": {HELD: _VALUE}}, "spec": {"unschedulable": True}}
        await self._client.patch(resources.NODES, host.name, change)

    async def _open(self, host: HostSpec) -> None:
        change = {"metadata": {"annotations": {HELD: None}}, "spec": {"unschedulable": None}}
        await self._client.patch(resources.NODES, host.name, change)

    async def _is_open(self, host: HostSpec) -> bool:
        try:
            node = await self._client.get(resources.NODES, host.name)
        except NotFound:
            return True
        return HELD not in (node["metadata"].get("annotations") or {})

    async def _reboot(self, host: HostSpec) -> None:
        run, before = self._run, await reboot.boot_id(self._transport(host))
        await self._locks.let_go(host)
        await reboot.ask(self._transport(host))
        await disconnect(run, [host])

        async def look() -> str:
            """The boot that answers; empty while none does."""
            if run.provider.observe([host])[host.name] is not MachineState.RUNNING:
                await run.provider.create([host], lambda text: run.progress.line(text, host.name))
            await connect_hosts(run, [host], booting=False)
            found = await reboot.boot_id(self._transport(host))
            if found == before:
                await disconnect(run, [host])
            return found

        await reboot.wait(host.name, before, look)
        await self._locks.take([host])

    async def _gate(self, host: HostSpec) -> None:
        await wait_serving(self._run, self._client, host)
        self._passed.add(host.name)

    async def _has_passed(self, host: HostSpec) -> bool:
        return host.name in self._passed
