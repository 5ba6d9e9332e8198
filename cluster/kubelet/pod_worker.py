"""
One task a pod: looks at what the runtime holds, plans (pod_plan.py), acts, reports; ends the pod when it is over.

`PodWorker.update` and `wake` are called by kubelet.py; everything else happens in `run`.
"""

import asyncio
import contextlib
import logging
from datetime import UTC, datetime

from cluster.kubelet.backoff import BackOff
from cluster.kubelet.container_start import ContainerStart, StartFailed
from cluster.kubelet.container_stop import stop_container
from cluster.kubelet.node_context import NodeContext
from cluster.kubelet.pod_end import GracePeriod, confirm_deletion, remove_remains, stop_pod
from cluster.kubelet.pod_plan import Kill, Observation, PodPlan, Start, Waiting, plan_pod
from cluster.kubelet.pod_setup import PodSetup, SetupFailed
from cluster.kubelet.pod_status import StatusInputs, build_status, format_time
from cluster.kubelet.pod_view import PodView
from cluster.kubelet.pods import (
    find_container,
    grace_period,
    is_being_deleted,
    is_static,
    is_terminal,
    uid_of,
)
from cluster.kubelet.probes import PodProbes
from cluster.kubelet.remembered import nanoseconds
from cluster.kubelet.runtime import ContainerState, RuntimeFault
from cluster.kubelet.volumes import VolumeFault
from cluster.machinery.objects import Object
from cluster.machinery.status_errors import ApiError

log = logging.getLogger(__name__)

FAULT_SECONDS = 2.0
LONGEST_FAULT_SECONDS = 30.0


class PodWorker:
    def __init__(self, node: NodeContext, pod: Object, verdict: tuple[str, str] | None = None) -> None:
        """`verdict` is the reason and message when the node does not admit the pod."""
        self.node, self.pod, self.uid = node, pod, uid_of(pod)
        self.done = False
        """Nothing of the pod is left on this host."""
        self.removed = False
        """The API (or the manifest) has it no more."""
        self.last_status: Object = dict(pod.get("status") or {})
        self._view = PodView(node)
        self._setup = PodSetup(node)
        self._verdict = verdict
        self._ended = False
        self._wake = asyncio.Event()
        self._ending = asyncio.Event()
        self._grace = GracePeriod()
        self._backoff = BackOff(longest=node.settings.max_restart_wait)
        self._waiting: dict[str, Waiting] = {}
        self._faults = 0
        self._files_changed = False
        self._retry_at: dict[str, float] = {}
        self.probes = PodProbes(node.handlers, self.wake, self._record)
        if verdict is not None or is_being_deleted(pod) or is_terminal(pod):
            self._end()

    @property
    def observed(self) -> Observation:
        """The pod in the runtime, as last looked at."""
        return self._view.observed

    # --- told from outside ---------------------------------------------------------------------------------

    def wake(self) -> None:
        self._wake.set()

    def update(self, pod: Object) -> None:
        """A newer object of the same pod."""
        before, self.pod = self.pod, pod
        self.node.statuses.seen(pod)
        if is_being_deleted(pod):
            self._end(grace_period(pod))
        if _matters(before, pod):
            self._files_changed = self._files_changed or _shown_in_files(before) != _shown_in_files(pod)
            self.wake()

    def remove(self) -> None:
        """The object is gone from the API: end what is left."""
        self.removed = True
        self._end(None if is_being_deleted(self.pod) else grace_period(self.pod))
        self.wake()

    @property
    def is_ending(self) -> bool:
        return self._ending.is_set()

    def evict(self, reason: str, message: str) -> None:
        """The node needs its room: the pod fails, with no more than a second to stop."""
        if self._verdict is None:
            self._verdict = (reason, message)
            self._event("Warning", reason, message)
            target: Object = {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "TerminationByKubelet",
                "message": message,
                "lastTransitionTime": format_time(datetime.fromtimestamp(self.node.clock(), UTC)),
            }
            others = [c for c in self.last_status.get("conditions") or () if c["type"] != "DisruptionTarget"]
            self.last_status = {**self.last_status, "conditions": [*others, target]}
            self._end(0)
            self.wake()

    def _end(self, grace: int | None = None) -> None:
        if grace is not None:
            self._grace.limit(grace)
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
        except (RuntimeFault, ApiError, OSError, VolumeFault, SetupFailed) as fault:
            self._faults += 1
            log.warning("pod %s/%s: %s", self.pod["metadata"]["namespace"], self.pod["metadata"]["name"], fault)
            if isinstance(fault, SetupFailed):
                return fault.again_in
            return self._fault_wait()
        except Exception:
            # A pod that we do not understand must not end the kubelet, and with it the other pods' care.
            self._faults += 1
            log.exception("pod %s/%s: unforeseen", self.pod["metadata"]["namespace"], self.pod["metadata"]["name"])
            return self._fault_wait()
        self._faults = 0
        return wait

    def _fault_wait(self) -> float:
        return float(min(FAULT_SECONDS * 2 ** min(self._faults - 1, 10), LONGEST_FAULT_SECONDS))

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
        if self._files_changed:
            await self.refresh_volumes()
            self._files_changed = False
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
        await self._view.look(self.pod)
        self.probes.follow(self.pod, self.observed)

    async def prune(self) -> None:
        """Raises RuntimeFault."""
        if not self._ending.is_set():
            await self._view.prune()

    async def refresh_volumes(self) -> None:
        """Called by kubelet.py from time to time. Raises ApiError, VolumeFault, OSError, ValueError."""
        if not self._ending.is_set():
            await self._setup.refresh_volumes(self.pod, self.observed)

    # --- telling -------------------------------------------------------------------------------------------

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
            messages=self._view.messages,
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

    # --- acting --------------------------------------------------------------------------------------------

    async def _act(self, plan: PodPlan) -> bool:
        """Carry the plan out; True when something was changed."""
        for kill in plan.kill:
            await self._kill(kill)
        now = self.node.clock()
        due = [s for s in plan.start if self._retry_at.get(s.container.name, 0) <= now]
        if not due and not plan.new_sandbox:
            return bool(plan.kill)
        ground = await self._setup.ground(self.pod, plan, self.observed)
        if plan.new_sandbox:
            await self._observe()
            self._report()  # the address is known before the first container runs
        starter = ContainerStart(self.node, self.pod, ground)
        for start in due:
            await self._start_one(starter, start)
        return True

    async def _kill(self, kill: Kill) -> None:
        grace = grace_period(self.pod)
        found = find_container(self.pod, kill.container.name)
        failed = self.probes.findings().failed.get(kill.container.id)
        if found is not None and failed:
            own = (found.spec.get(f"{failed}Probe") or {}).get("terminationGracePeriodSeconds")
            grace = grace if own is None else int(own)
        await stop_container(
            self.node, self.pod, kill.container,
            grace=grace, message=kill.message, ip=self._view.ip, record=self._record,
        )  # fmt: skip

    async def _start_one(self, starter: ContainerStart, start: Start) -> None:
        name, now = start.container.name, self.node.clock()
        last = self.observed.latest(name)
        if last is not None and last.state is ContainerState.EXITED and name not in self._retry_at:
            self._backoff.grow(name, now)
        try:
            await starter.run(start, self.observed)
        except StartFailed as failure:
            self._waiting[name] = Waiting(failure.reason, failure.message)
            if failure.again_in is None:
                self._retry_at.pop(name, None)
                self.wake()
            else:
                self._retry_at[name] = self.node.clock() + failure.again_in
        else:
            self._waiting.pop(name, None)
            self._retry_at.pop(name, None)

    # --- ending --------------------------------------------------------------------------------------------

    async def _end_pod(self) -> float | None:
        """Stop everything, report the end, clean up. Returns None when only the object's removal is awaited."""
        if not self._ended:
            if is_being_deleted(self.pod) and not self.removed:
                await self._observe()
                self._report()
            await stop_pod(self.node, self.pod, self._view, self._grace, self._record)
            self.probes.follow(self.pod, self.observed)
            self.probes.unready()
            self.last_status = self._status(ended=True)
            if not self.removed:
                self.node.statuses.put(self.pod, self.last_status)
            await asyncio.to_thread(self.node.volumes.tear_down, self.uid)
            await asyncio.to_thread(self.node.cgroups.remove, self.pod)
            self._ended = True
        if not self.removed and not is_being_deleted(self.pod):
            return None  # finished; its logs stay until somebody deletes it
        await remove_remains(self.node, self.pod, self._view)
        if not self.removed and not is_static(self.pod):
            await confirm_deletion(self.node, self.pod, self.last_status)
        self.done = True
        return None


def _shown_in_files(pod: Object) -> tuple[object, object]:
    """What downward API volumes may show and what may change while the pod runs."""
    return pod["metadata"].get("labels"), pod["metadata"].get("annotations")


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
