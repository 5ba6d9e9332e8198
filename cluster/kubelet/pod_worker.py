"""
One task a pod: looks at what the runtime holds, plans (pod_plan.py), acts, reports; ends the pod when it is over.

`PodWorker.update` and `wake` are called by kubelet.py; everything else happens in `run`.
"""

import asyncio
import contextlib
import dataclasses
import logging
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from cluster.api import resources
from cluster.kubelet.api_objects import Reference
from cluster.kubelet.backoff import BackOff
from cluster.kubelet.container_specs import sandbox_spec
from cluster.kubelet.container_start import ContainerStart, PodGround, StartFailed
from cluster.kubelet.container_stop import stop_all, stop_container
from cluster.kubelet.environment import PodFacts
from cluster.kubelet.housekeeping import old_logs
from cluster.kubelet.node_context import NodeContext
from cluster.kubelet.pod_network import pod_dns
from cluster.kubelet.pod_plan import Observation, PodPlan, Start, Waiting, observe, plan_pod
from cluster.kubelet.pod_status import StatusInputs, build_status
from cluster.kubelet.pods import (
    find_container,
    grace_period,
    is_being_deleted,
    is_static,
    is_terminal,
    log_directory,
    uid_of,
    uses_host_network,
)
from cluster.kubelet.probes import PodProbes
from cluster.kubelet.remembered import nanoseconds, with_remembered
from cluster.kubelet.runtime import Container, ContainerState, RuntimeFault, Sandbox, SandboxSpec
from cluster.kubelet.termination_message import read_termination_message
from cluster.kubelet.volumes import VolumeFault
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError, NotFound

log = logging.getLogger(__name__)

FAULT_SECONDS = 2.0
LONGEST_FAULT_SECONDS = 30.0
SANDBOX_RETRY_SECONDS = 5.0


class PassFailed(Exception):
    """This pass could not get to its end. It is tried again after `again_in` seconds."""

    def __init__(self, message: str, again_in: float = FAULT_SECONDS) -> None:
        super().__init__(message)
        self.again_in = again_in


class PodWorker:
    def __init__(self, node: NodeContext, pod: Object, verdict: tuple[str, str] | None = None) -> None:
        """`verdict` is the reason and message when the node does not admit the pod."""
        self.node, self.pod, self.uid = node, pod, uid_of(pod)
        self.done = False
        """Nothing of the pod is left on this host."""
        self.removed = False
        """The API (or the manifest) has it no more."""
        self.last_status: Object = dict(pod.get("status") or {})
        self.observed = Observation()
        self._verdict = verdict
        self._ended = False
        self._wake = asyncio.Event()
        self._ending = asyncio.Event()
        self._grace: int | None = None
        self._shortened = asyncio.Event()
        self._backoff = BackOff(longest=node.settings.max_restart_wait)
        self._waiting: dict[str, Waiting] = {}
        self._messages: dict[str, str] = {}
        self._exited: dict[str, Container] = {}
        self._sandboxes: dict[str, Sandbox] = {}
        self._faults = 0
        self._retry_at: dict[str, float] = {}
        self.probes = PodProbes(node.handlers, self.wake, self._record)
        if verdict is not None or is_being_deleted(pod) or is_terminal(pod):
            self._end()

    # --- told from outside ---------------------------------------------------------------------------------

    def wake(self) -> None:
        self._wake.set()

    def update(self, pod: Object) -> None:
        """A newer object of the same pod."""
        before, self.pod = self.pod, pod
        if is_being_deleted(pod):
            self._end(grace_period(pod))
        if _matters(before, pod):
            self.wake()

    def remove(self) -> None:
        """The object is gone from the API: end what is left."""
        self.removed = True
        self._end(None if is_being_deleted(self.pod) else grace_period(self.pod))
        self.wake()

    def evict(self, reason: str, message: str) -> None:
        if self._verdict is None:
            self._verdict = (reason, message)
            self._end(0)
            self.wake()

    def _end(self, grace: int | None = None) -> None:
        if grace is not None and (self._grace is None or grace < self._grace):
            if self._grace is not None:
                self._shortened.set()
            self._grace = grace
        if not self._ending.is_set():
            self._ending.set()
            self.wake()

    def _record(self, container: str, kind: str, reason: str, message: str) -> None:
        path = ""
        found = find_container(self.pod, container)
        if found is not None:
            field = {"app": "containers", "ephemeral": "ephemeralContainers"}.get(found.kind, "initContainers")
            path = f"spec.{field}{{{container}}}"
        self.node.recorder.record(self.pod, kind, reason, message, field_path=path)

    def _event(self, kind: str, reason: str, message: str) -> None:
        self.node.recorder.record(self.pod, kind, reason, message)

    # --- the loop ------------------------------------------------------------------------------------------

    def is_done(self) -> bool:
        return self.done

    async def run(self) -> None:
        try:
            while not self.is_done():
                self._wake.clear()
                wait = await self._turn()
                if self.is_done():
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._wake.wait()
        finally:
            await self.probes.close()

    async def _turn(self) -> float | None:
        """One pass; returns how many seconds to sleep unless woken, None for until then."""
        try:
            if self._ending.is_set():
                wait = await self._end_pod()
            else:
                wait = await self._interruptible_pass()
        except (RuntimeFault, ApiError, OSError, VolumeFault, PassFailed) as fault:
            self._faults += 1
            log.warning("pod %s/%s: %s", self.pod["metadata"]["namespace"], self.pod["metadata"]["name"], fault)
            if isinstance(fault, PassFailed):
                return fault.again_in
            return float(min(FAULT_SECONDS * 2 ** (self._faults - 1), LONGEST_FAULT_SECONDS))
        self._faults = 0
        return wait

    async def _interruptible_pass(self) -> float | None:
        """A pass may wait for an image for minutes: a deletion cuts it short."""
        task = asyncio.ensure_future(self._pass())
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait({task, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                return 0.0
            return task.result()
        finally:
            ending.cancel()
            task.cancel()
            await asyncio.gather(task, ending, return_exceptions=True)

    async def _pass(self) -> float | None:
        now = self.node.clock()
        await self._observe()
        deadline = self._deadline()
        if deadline is not None and now >= deadline:
            message = "Pod was active on the node longer than the specified deadline"
            self._event("Normal", "DeadlineExceeded", message)
            self._verdict = ("DeadlineExceeded", message)
            self._end()
            return 0.0
        plan = plan_pod(self.pod, self.observed, self.probes.findings(), self._backoff, now)
        if plan.finished:
            self._end()
            return 0.0
        self._note_waiting(plan)
        self._report()
        changed = await self._act(plan)
        if changed:
            await self._observe()
            self._report()
        times = [*self._retry_at.values(), *filter(None, (plan.again_at, deadline))]
        if changed and not self._retry_at:
            return 0.0 if self._has_more(plan) else _until(times, self.node.clock())
        return _until(times, self.node.clock())

    def _has_more(self, plan: PodPlan) -> bool:
        """After a kill or a new sandbox there is a next step at once."""
        return bool(plan.kill or plan.new_sandbox)

    def _deadline(self) -> float | None:
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        started = self.last_status.get("startTime")
        if seconds is None or not started:
            return None
        return nanoseconds(started) / 1e9 + float(seconds)

    def _note_waiting(self, plan: PodPlan) -> None:
        starting = {s.container.name for s in plan.start}
        for name in list(self._waiting):
            if name not in plan.waiting and (self._waiting[name].reason == "CrashLoopBackOff" or name not in starting):
                del self._waiting[name]
                self._retry_at.pop(name, None)
        for name, waiting in plan.waiting.items():
            if self._waiting.get(name) != waiting:
                latest = self.observed.latest(name)
                text = f"Back-off restarting failed container {name} in pod {waiting.message.partition('pod=')[2]}"
                if latest is not None:
                    self._record(name, "Warning", "BackOff", text)
            self._waiting[name] = waiting

    # --- looking -------------------------------------------------------------------------------------------

    async def _observe(self) -> None:
        runtime = self.node.runtime
        sandboxes = list(await runtime.list_sandboxes(self.uid))
        summaries = await runtime.list_containers(self.uid)
        containers = []
        for summary in summaries:
            known = self._exited.get(summary.id)
            if known is None:
                full = await runtime.container_status(summary.id)
                if full is None:
                    continue
                known = dataclasses.replace(full, sandbox_id=summary.sandbox_id)
                if known.state is ContainerState.EXITED:
                    self._exited[known.id] = known
                    text = await asyncio.to_thread(read_termination_message, known)
                    if text:
                        self._messages[known.id] = text
            containers.append(known)
        observed = observe([await self._with_address(s) for s in sandboxes], containers)
        self.observed = with_remembered(self.pod, observed)
        self.probes.follow(self.pod, self.observed)

    async def _with_address(self, sandbox: Sandbox) -> Sandbox:
        """Addresses come with a status only; a ready sandbox keeps what it has."""
        if not sandbox.ready or uses_host_network(self.pod):
            return sandbox
        known = self._sandboxes.get(sandbox.id)
        if known is None or not known.ips:
            status = await self.node.runtime.sandbox_status(sandbox.id)
            if status is None:
                return dataclasses.replace(sandbox, ready=False)
            self._sandboxes[sandbox.id] = known = status
        return dataclasses.replace(sandbox, ips=known.ips)

    def _current_pod(self) -> Object:
        """The pod with the status that this worker last made: what the next status is built upon."""
        theirs = self.pod.get("status") or {}
        foreign = {c["type"]: c for c in theirs.get("conditions") or ()}
        ours = {c["type"]: c for c in self.last_status.get("conditions") or ()}
        owned = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")
        merged = {**foreign, **{k: c for k, c in ours.items() if k in owned or k not in foreign}}
        return {**self.pod, "status": {**theirs, **self.last_status, "conditions": list(merged.values())}}

    def _status(self, *, ended: bool = False) -> Object:
        if self._verdict is not None and not self.observed.containers:
            status = {"phase": "Failed", "reason": self._verdict[0], "message": self._verdict[1]}
            started = self.last_status.get("startTime")
            return {**status, "startTime": started} if started else status
        inputs = StatusInputs(
            now=datetime.fromtimestamp(self.node.clock(), UTC),
            host_ips=self.node.host_ips,
            probes=self.probes.findings(),
            waiting=self._waiting,
            messages=self._messages,
            ended=ended,
            verdict=self._verdict,
        )
        return build_status(self._current_pod(), self.observed, inputs)

    def _report(self) -> None:
        self.last_status = self._status()
        self.node.statuses.put(self.pod, self.last_status)

    def report_again(self) -> None:
        """Somebody who has to know the status appeared."""
        self.node.statuses.forget(self.uid)
        self.node.statuses.put(self.pod, self.last_status)

    async def prune(self) -> None:
        """Drop dead runs but the last two of each container, and sandboxes of long ago. Raises RuntimeFault."""
        if self._ending.is_set():
            return
        seen: dict[str, int] = {}
        kept_sandboxes = {s.id for s in self.observed.sandboxes[:1]}
        for run in self.observed.containers:
            seen[run.name] = seen.get(run.name, 0) + 1
            if seen[run.name] > 2 and run.state is ContainerState.EXITED and run.id:
                await self.node.runtime.remove_container(run.id)
                self._exited.pop(run.id, None)
                await asyncio.to_thread(_remove_log, Path(run.log_path))
            else:
                kept_sandboxes.add(run.sandbox_id)
        for sandbox in self.observed.sandboxes:
            if sandbox.id not in kept_sandboxes and not sandbox.ready:
                await self.node.runtime.remove_sandbox(sandbox.id)

    # --- acting --------------------------------------------------------------------------------------------

    async def _act(self, plan: PodPlan) -> bool:
        """Carry the plan out; True when something was changed."""
        ip = self.observed.sandbox.ips[0] if self.observed.sandbox is not None and self.observed.sandbox.ips else ""
        for kill in plan.kill:
            grace = grace_period(self.pod)
            probe = find_container(self.pod, kill.container.name)
            failed = self.probes.findings().failed.get(kill.container.id)
            if probe is not None and failed:
                own = (probe.spec.get(f"{failed}Probe") or {}).get("terminationGracePeriodSeconds")
                grace = grace if own is None else int(own)
            await stop_container(
                self.node, self.pod, kill.container, grace=grace, message=kill.message, ip=ip, record=self._record
            )
        if not plan.start and not plan.new_sandbox:
            return bool(plan.kill)
        now = self.node.clock()
        due = [s for s in plan.start if self._retry_at.get(s.container.name, 0) <= now]
        if not due and not plan.new_sandbox:
            return bool(plan.kill)
        ground = await self._ground(plan)
        starter = ContainerStart(self.node, self.pod, ground)
        for start in due:
            await self._start_one(starter, start)
        return True

    async def _start_one(self, starter: ContainerStart, start: Start) -> None:
        name, now = start.container.name, self.node.clock()
        last = self.observed.latest(name)
        if last is not None and last.state is ContainerState.EXITED and name not in self._retry_at:
            self._backoff.grow(name, now)
        try:
            await starter.run(start, self.observed)
        except StartFailed as failure:
            self._waiting[name] = Waiting(failure.reason, failure.message)
            self._retry_at[name] = self.node.clock() + failure.again_in
        else:
            self._waiting.pop(name, None)
            self._retry_at.pop(name, None)

    async def _ground(self, plan: PodPlan) -> PodGround:
        snapshot: Mapping[Reference, Object | None] = {}
        if self.node.objects is not None:
            snapshot = await self.node.objects.snapshot(self.pod)
        fault = self.node.network_fault()
        if fault and not uses_host_network(self.pod):
            self._event("Warning", "NetworkNotReady", f"network is not ready: {fault}")
            raise PassFailed(f"network is not ready: {fault}", 1.0)
        sandbox = self.observed.sandbox
        ips = sandbox.ips if sandbox is not None and sandbox.ready else ()
        try:
            volumes = await self.node.volumes.set_up(self.pod, self._facts(ips), snapshot)
        except (VolumeFault, ApiError) as volume_fault:
            self._event("Warning", "FailedMount", str(volume_fault))
            raise PassFailed(str(volume_fault), SANDBOX_RETRY_SECONDS) from volume_fault
        spec = self._sandbox_spec(plan.sandbox_attempt)
        if plan.new_sandbox or sandbox is None:
            sandbox = await self._new_sandbox(spec)
            await self.node.volumes.set_up(self.pod, self._facts(sandbox.ips), snapshot)
        ips = self.node.host_ips if uses_host_network(self.pod) else sandbox.ips
        return PodGround(sandbox.id, spec, ips, volumes, snapshot, self._facts(sandbox.ips))

    def _facts(self, ips: tuple[str, ...]) -> PodFacts:
        own = self.node.host_ips if uses_host_network(self.pod) else ips
        return PodFacts(self.node.host_ips, own, self.node.settings.node_name, self.node.allocatable)

    def _sandbox_spec(self, attempt: int) -> SandboxSpec:
        settings = self.node.settings
        dns = pod_dns(self.pod, self.node.node_dns(), settings.cluster_dns, settings.cluster_domain)
        return sandbox_spec(self.pod, attempt, dns, self.node.cgroups.parent_of(self.pod), self.node.view)

    async def _new_sandbox(self, spec: SandboxSpec) -> Sandbox:
        if self.observed.sandboxes:
            self._event("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
        for old in self.observed.sandboxes:
            await self.node.runtime.stop_sandbox(old.id)
        await asyncio.to_thread(self.node.cgroups.ensure, self.pod)
        directory = Path(log_directory(self.node.settings.log_dir, self.pod))
        await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
        try:
            sandbox_id = await self.node.runtime.run_sandbox(spec)
        except RuntimeFault as fault:
            self._event("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {fault.message}")
            raise PassFailed(f"cannot make a sandbox: {fault.message}", SANDBOX_RETRY_SECONDS) from fault
        sandbox = await self.node.runtime.sandbox_status(sandbox_id)
        if sandbox is None:
            raise PassFailed("the sandbox vanished as it was made")
        self._sandboxes[sandbox.id] = sandbox
        await self._observe()
        self._report()
        return sandbox

    async def refresh_volumes(self) -> None:
        """Bring the volumes' files up to date; called by kubelet.py from time to time."""
        sandbox = self.observed.sandbox
        if self._ending.is_set() or sandbox is None or not sandbox.ready or self.node.objects is None:
            return
        snapshot = await self.node.objects.snapshot(self.pod)
        await self.node.volumes.refresh(self.pod, self._facts(sandbox.ips), snapshot)

    # --- ending --------------------------------------------------------------------------------------------

    async def _end_pod(self) -> float | None:
        """Stop everything, report the end, clean up. Returns None when only the object's removal is awaited."""
        if not self._ended:
            await self._stop_everything()
            await self._observe()
            self.probes.unready()
            self.last_status = self._status(ended=True)
            if not self.removed:
                self.node.statuses.put(self.pod, self.last_status)
            await asyncio.to_thread(self.node.volumes.tear_down, self.uid)
            await asyncio.to_thread(self.node.cgroups.remove, self.pod)
            self._ended = True
        if not self.removed and not is_being_deleted(self.pod):
            return None  # finished; its logs stay until somebody deletes it
        await self._remove_remains()
        if not self.removed and not is_static(self.pod):
            await self._confirm_deletion()
        self.done = True
        return None

    async def _stop_everything(self) -> None:
        await self._observe()
        if is_being_deleted(self.pod) and not self.removed:
            self._report()
        while self.observed.running:
            grace = grace_period(self.pod) if self._grace is None else self._grace
            ip = self.observed.sandbox.ips[0] if self.observed.sandbox is not None and self.observed.sandbox.ips else ""
            self._shortened.clear()
            stopping = asyncio.ensure_future(
                stop_all(self.node, self.pod, self.observed.running, grace=max(grace, 1), ip=ip, record=self._record)
            )
            shortened = asyncio.ensure_future(self._shortened.wait())
            try:
                await asyncio.wait({stopping, shortened}, return_when=asyncio.FIRST_COMPLETED)
                if stopping.done():
                    stopping.result()
            finally:
                stopping.cancel()
                shortened.cancel()
                await asyncio.gather(stopping, shortened, return_exceptions=True)
            await self._observe()
        for sandbox in self.observed.sandboxes:
            await self.node.runtime.stop_sandbox(sandbox.id)

    async def _remove_remains(self) -> None:
        for run in self.observed.containers:
            if run.id:
                await self.node.runtime.remove_container(run.id)
        for sandbox in self.observed.sandboxes:
            await self.node.runtime.remove_sandbox(sandbox.id)
        directory = Path(log_directory(self.node.settings.log_dir, self.pod))
        await asyncio.to_thread(shutil.rmtree, directory, True)
        if self.node.objects is not None:
            self.node.objects.forget(self.uid)

    async def _confirm_deletion(self) -> None:
        """Tell the API that nothing runs any more, so that it lets go of the object. Raises ApiError."""
        await self.node.statuses.write_now(self.pod, self.last_status)
        self.node.statuses.forget(self.uid)
        if self.node.client is None:
            return
        metadata = self.pod["metadata"]
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
        with contextlib.suppress(NotFound):
            await self.node.client.delete(
                resources.PODS, metadata["name"], namespace=metadata["namespace"], options=options
            )


def _remove_log(path: Path) -> None:
    for file in (path, *old_logs(path)):
        file.unlink(missing_ok=True)


def _matters(before: Object, after: Object) -> bool:
    """Whether a change of the object asks for a pass: our own status writes come back and do not."""
    if before["spec"] != after["spec"]:
        return True
    old, new = before["metadata"], after["metadata"]
    fields = ("labels", "annotations", "deletionTimestamp", "deletionGracePeriodSeconds")
    if any(old.get(f) != new.get(f) for f in fields):
        return True
    gates = {g["conditionType"] for g in after["spec"].get("readinessGates") or ()}

    def gated(pod: Object) -> dict[str, str]:
        conditions = (pod.get("status") or {}).get("conditions") or ()
        return {c["type"]: c["status"] for c in conditions if c["type"] in gates}

    return bool(gates) and gated(before) != gated(after)


def _until(times: list[float], now: float) -> float | None:
    return max(0.0, min(times) - now) if times else None
