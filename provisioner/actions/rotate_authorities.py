"""
`provision certs rotate-ca`: another generation of all CAs and of the key of ServiceAccount tokens, stage by stage.

Read `plan_rotation` first, and decisions/0005 for what each stage promises. Every stage is laid down on all hosts and
then waits at its gate until everything has come to it, so that at no moment somebody shows a certificate that its peer
does not trust yet. Services take files up by themselves; etcd alone restarts, member by member.
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Awaitable, Callable

from cluster.pki import catalogue
from cluster.pki.inspect import inspect_certificate
from cluster.pki.service_account_key import PUBLIC_FILE, key_ids
from inventory.model import HostSpec, Role
from provisioner.actions.lay_as_they_run import are_laid_down, lay_as_they_run
from provisioner.actions.plan_rotation import begins_anew, plan_rotation
from provisioner.actions.rotation_gates import running_pods, wait_settled
from provisioner.actions.telling import told_by
from provisioner.actions.ways_in import refresh_kubeconfig
from provisioner.errors import ProvisionError
from provisioner.execution.actions import ActionPlan
from provisioner.execution.carry_out import Step, carry_out
from provisioner.execution.ledger import Ledger
from provisioner.facts.host_facts import ETCD_UNIT
from provisioner.operations import etcd
from provisioner.operations.pod_credentials import read_pod_credentials, signed_by
from provisioner.phase_runner import for_each
from provisioner.phases.connect import connect_hosts, locked_hosts
from provisioner.phases.gather_facts import gather_facts
from provisioner.phases.issue_certificates import issue_certificates, pending_certificates
from provisioner.phases.rotate_authorities import (
    Progress,
    Stage,
    begin,
    end,
    generation,
    is_settled,
    read_progress,
    settle,
    write_progress,
)
from provisioner.phases.run import Run
from provisioner.phases.start_etcd import restart_member

RESTART_PATIENCE = 30.0
"""Seconds until every member runs from its new files."""


def authorities_have_expired(run: Run, now: dt.datetime) -> bool:
    """Whether one of the CAs in force has ended: then nothing answers that is asked over TLS."""
    files = (run.home.pki / f"{entry.path}.crt" for entry in catalogue.AUTHORITIES)
    return any(inspect_certificate(file.read_bytes()).not_after <= now for file in files if file.exists())


async def rotate_authorities(run: Run, stages: tuple[Stage, ...], *, back: bool, dead: bool) -> ActionPlan:
    """
    The caller holds the cluster's lock. A run that was cut off is gone on with by the same command.

    Args:
        run: Of what exists.
        stages: From `stages_ahead`, or the one of `stage_before`.
        back: It is a return to that stage.
        dead: A CA has expired.

    Raises:
        ProvisionError: a gate did not open; the cluster stays at that stage, from which both ways are open.
    """
    found = read_progress(run.home.pki)
    plan = plan_rotation(run.spec, found, stages, dead=dead)
    await connect_hosts(run, run.spec.hosts, booting=False)
    ledger = Ledger(run.home.ledger, plan.verb)
    async with locked_hosts(run):
        await gather_facts(run, run.spec.hosts)
        anew = not back and begins_anew(found, stages)
        await asyncio.to_thread(begin, run.spec, run.home.pki, dt.datetime.now(dt.UTC), anew=anew)
        work = _Rotating(run, back=back, dead=dead)
        with run.progress.phase("Rotate the CAs"), ledger.running(f"rotate to stage {stages[-1]}" if stages else ""):
            await carry_out(plan, work.steps(stages), ledger, tell=told_by(run))
    if read_progress(run.home.pki) in (Progress(Stage.RETIRE), Progress(Stage.START, back=True)):
        end(run.home.pki)
    return plan


class _Rotating:
    """How each action is done and seen to be done."""

    def __init__(self, run: Run, *, back: bool, dead: bool) -> None:
        self._run = run
        self._pki = run.home.pki
        self._back = back
        self._dead = dead
        self._passed: set[Stage] = set()
        self._looked = False

    def steps(self, stages: tuple[Stage, ...]) -> dict[str, Step]:
        found: dict[str, Step] = {}
        for stage in stages:
            found |= {
                f"{stage}/tokens": Step(self._look_for_tokens, self._has_looked),
                f"{stage}/authorities": _step(self._issue, self._is_issued, stage),
                f"{stage}/files": Step(self._lay_down, self._is_laid_down),
                f"{stage}/etcd": Step(self._restart_all, self._all_restarted),
                f"{stage}/gate": _step(self._gate, self._has_passed, stage),
            }
            for host in self._run.spec.with_role(Role.ETCD):
                found[f"{stage}/etcd {host.name}"] = _host_step(self._restart, self._is_restarted, host)
        return found

    async def _look_for_tokens(self) -> None:
        """Raises ProvisionError while running Pods have tokens that the old key signed."""
        old = key_ids(generation(self._pki, "old", PUBLIC_FILE))
        running = await running_pods(self._run)
        nodes = self._run.spec.with_role(Role.NODE)
        found = await for_each(nodes, lambda host: read_pod_credentials(self._run.transport(host)))
        late = [pod for credentials in found.values() for pod in signed_by(credentials, running, old)]
        if late:
            raise ProvisionError(
                "the old key of ServiceAccount tokens is still needed",
                why=f"{len(late)} Pods have tokens that it signed, as {running[late[0]]}; all else is rotated",
                next_step="Kubelets renew tokens within 50 minutes: run the same command again then.",
            )
        self._looked = True

    async def _has_looked(self) -> bool:
        return self._looked

    async def _issue(self, stage: Stage) -> None:
        write_progress(self._pki, Progress(stage, whole=False, back=self._back))
        now = dt.datetime.now(dt.UTC)
        await asyncio.to_thread(settle, self._pki, stage)
        if self._dead and stage in (Stage.START, Stage.TRUST):
            return  # the old CA signs nothing any more, and nobody lets the operator in before the new one has
        await asyncio.to_thread(issue_certificates, self._run.spec, self._pki, now)
        refresh_kubeconfig(self._run)

    async def _is_issued(self, stage: Stage) -> bool:
        if read_progress(self._pki).stage is not stage or not is_settled(self._pki, stage):
            return False
        blind = self._dead and stage in (Stage.START, Stage.TRUST)
        return blind or not pending_certificates(self._run.spec, self._pki, dt.datetime.now(dt.UTC))

    async def _lay_down(self) -> None:
        await lay_as_they_run(self._run, self._run.spec.hosts)

    async def _is_laid_down(self) -> bool:
        await gather_facts(self._run, self._run.spec.hosts)
        return are_laid_down(self._run, self._run.spec.hosts)

    async def _restart(self, host: HostSpec) -> None:
        await restart_member(self._run, host)

    async def _is_restarted(self, host: HostSpec) -> bool:
        await gather_facts(self._run, [host])
        unit = self._run.facts_of(host).unit(ETCD_UNIT)
        return unit.active and not unit.stale

    async def _restart_all(self) -> None:
        """No quorum is to be kept where members do not let each other in."""
        members = self._run.spec.with_role(Role.ETCD)
        # A member says that it is ready when it has joined its quorum, for which it may need new certificates.
        argv = ["systemctl", "restart", "--no-block", f"{ETCD_UNIT}.service"]
        await for_each(members, lambda host: etcd.must(self._run.transport(host), argv, "restart"))
        with contextlib.suppress(TimeoutError):  # who still runs from old files then is told as not restarted
            async with asyncio.timeout(RESTART_PATIENCE):
                while True:
                    if await self._all_restarted():
                        return
                    await asyncio.sleep(0.5)

    async def _all_restarted(self) -> bool:
        members = self._run.spec.with_role(Role.ETCD)
        await gather_facts(self._run, members)
        return not any(self._run.facts_of(host).unit(ETCD_UNIT).stale for host in members)

    async def _gate(self, stage: Stage) -> None:
        if not (self._dead and stage in (Stage.START, Stage.TRUST)):
            await wait_settled(self._run, stage)
        self._passed.add(stage)
        write_progress(self._pki, Progress(stage, whole=True, back=self._back))

    async def _has_passed(self, stage: Stage) -> bool:
        return stage in self._passed


def _step(do: Callable[[Stage], Awaitable[None]], done: Callable[[Stage], Awaitable[bool]], stage: Stage) -> Step:
    return Step(lambda: do(stage), lambda: done(stage))


def _host_step(
    do: Callable[[HostSpec], Awaitable[None]], done: Callable[[HostSpec], Awaitable[bool]], host: HostSpec
) -> Step:
    return Step(lambda: do(host), lambda: done(host))
