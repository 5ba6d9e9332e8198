"""
What one pass over a pod does: which containers to end, which to start, whether it needs a new sandbox.

Pure: the Pod, what the runtime shows, what the probes found and the clock go in; a plan comes out.
Called by pod_worker.py, which carries it out. Source of the rules: upstream kuberuntime, computePodActions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cluster.kubelet.backoff import BackOff, spell_seconds
from cluster.kubelet.pods import (
    ContainerKind,
    PodContainer,
    app_containers,
    container_hash,
    ephemeral_containers,
    full_name,
    init_containers,
    restart_policy,
    restarts,
    uses_host_network,
)
from cluster.kubelet.runtime import HASH_ANNOTATION, Container, ContainerState, Sandbox
from cluster.machinery.objects import Object


@dataclass(frozen=True, slots=True)
class Observation:
    """What the runtime holds of one pod; newest first in both."""

    sandboxes: tuple[Sandbox, ...] = ()
    containers: tuple[Container, ...] = ()

    @property
    def sandbox(self) -> Sandbox | None:
        return self.sandboxes[0] if self.sandboxes else None

    def latest(self, name: str) -> Container | None:
        return next((c for c in self.containers if c.name == name), None)

    def previous(self, name: str) -> Container | None:
        """The run before the latest."""
        runs = [c for c in self.containers if c.name == name]
        return runs[1] if len(runs) > 1 else None

    @property
    def running(self) -> tuple[Container, ...]:
        return tuple(c for c in self.containers if c.state in (ContainerState.RUNNING, ContainerState.UNKNOWN))


@dataclass(frozen=True, slots=True)
class ProbeFindings:
    """Container ids. Absence means: no such probe, or no result yet."""

    started: frozenset[str] = frozenset()
    """Running, and the startup probe has succeeded or there is none."""
    ready: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=dict)
    """To be ended: id -> "liveness" or "startup"."""


@dataclass(frozen=True, slots=True)
class Start:
    container: PodContainer
    attempt: int


@dataclass(frozen=True, slots=True)
class Kill:
    container: Container
    message: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container does not run now, as shown in its status."""

    reason: str
    message: str = ""


@dataclass(slots=True)
class PodPlan:
    new_sandbox: bool = False
    """Stop what is left of the old one and make another, with `sandbox_attempt`."""
    sandbox_attempt: int = 0
    start: list[Start] = field(default_factory=list)
    kill: list[Kill] = field(default_factory=list)
    finished: bool = False
    """Nothing runs and nothing will: the pod is over."""
    waiting: dict[str, Waiting] = field(default_factory=dict)
    """Containers in back-off."""
    again_at: float | None = None
    """When a back-off ends; seconds since the epoch."""


def observe(sandboxes: Sequence[Sandbox], containers: Sequence[Container]) -> Observation:
    return Observation(
        tuple(sorted(sandboxes, key=lambda s: (s.ready, s.created_at, s.attempt), reverse=True)),
        tuple(sorted(containers, key=lambda c: (c.created_at, c.attempt), reverse=True)),
    )


def needs_new_sandbox(pod: Object, observed: Observation) -> bool:
    sandbox = observed.sandbox
    if sandbox is None or not sandbox.ready:
        return True
    return not uses_host_network(pod) and not sandbox.ips


def plan_pod(pod: Object, observed: Observation, probes: ProbeFindings, backoff: BackOff, now: float) -> PodPlan:
    """Seconds since the epoch in `now`; `backoff` is read, not changed."""
    if needs_new_sandbox(pod, observed):
        return _plan_new_sandbox(pod, observed)
    return _Pass(pod, observed, probes, backoff, now).plan()


def _plan_new_sandbox(pod: Object, observed: Observation) -> PodPlan:
    newest = observed.sandbox
    attempt = max((s.attempt for s in observed.sandboxes), default=-1) + 1
    if newest is not None and restart_policy(pod) == "Never" and observed.containers:
        return PodPlan(finished=True)
    wanted = []
    for container in app_containers(pod):
        latest = observed.latest(container.name)
        done = latest is not None and latest.state is ContainerState.EXITED
        if latest is None or not done or restarts(pod, container, latest.exit_code):
            wanted.append(container)
    if not wanted:
        return PodPlan(finished=True)
    plan = PodPlan(new_sandbox=True, sandbox_attempt=attempt)
    inits = init_containers(pod)
    first = inits[:1] if inits else wanted
    plan.start = [Start(c, _next_attempt(observed, c.name)) for c in first]
    return plan


def _next_attempt(observed: Observation, name: str) -> int:
    latest = observed.latest(name)
    return latest.restart_count + 1 if latest is not None else 0


class _Pass:
    """One pass over a pod whose sandbox is in order."""

    def __init__(self, pod: Object, observed: Observation, probes: ProbeFindings, backoff: BackOff, now: float) -> None:
        self.pod, self.observed, self.probes, self.backoff, self.now = pod, observed, probes, backoff, now
        newest = observed.sandboxes[0]  # needs_new_sandbox made sure of one
        self.sandbox_id = newest.id
        self.result = PodPlan(sandbox_attempt=newest.attempt)

    def plan(self) -> PodPlan:
        for container in ephemeral_containers(self.pod):
            if self.observed.latest(container.name) is None:
                self.result.start.append(Start(container, 0))
        apps = app_containers(self.pod)
        begun = any(self._here(c.name) is not None for c in apps)
        initialized = self._plan_init(begun)
        if self.result.finished or not initialized:
            return self.result
        alive = [self._plan_app(container) for container in apps]
        if not any(alive):
            self.result = PodPlan(finished=True)
        return self.result

    def _here(self, name: str) -> Container | None:
        """The latest run in this sandbox. A remembered run without a sandbox counts (see remembered.py)."""
        latest = self.observed.latest(name)
        return latest if latest is not None and latest.sandbox_id in (self.sandbox_id, "") else None

    def _plan_init(self, begun: bool) -> bool:
        """Plan the init containers; True when app containers may run."""
        for container in init_containers(self.pod):
            current = self._here(container.name)
            if container.kind is ContainerKind.SIDECAR:
                started = self._plan_sidecar(container, current)
                if not started and not begun:
                    return False
            elif not begun and not self._plan_one_init(container, current):
                return False
        return True

    def _plan_sidecar(self, container: PodContainer, current: Container | None) -> bool:
        if current is not None and current.state is ContainerState.RUNNING:
            if self._ends_running(container, current):
                return False
            return current.id in self.probes.started
        self._start(container, current)
        return False

    def _plan_one_init(self, container: PodContainer, current: Container | None) -> bool:
        if current is not None and current.state is ContainerState.RUNNING:
            return False
        if current is not None and current.state is ContainerState.EXITED:
            if current.exit_code == 0:
                return True
            if not restarts(self.pod, container, current.exit_code):
                self.result.finished = True
                return False
        self._start(container, current)
        return False

    def _plan_app(self, container: PodContainer) -> bool:
        """Plan one app container; False when it is over for good."""
        current = self._here(container.name)
        if current is None:
            self._start(container, self.observed.latest(container.name))
            return True
        if current.state is ContainerState.RUNNING:
            if self._ends_running(container, current):
                return restarts(self.pod, container, 137)
            return True
        if current.state is ContainerState.EXITED and not restarts(self.pod, container, current.exit_code):
            return False
        self._start(container, current)
        return True

    def _ends_running(self, container: PodContainer, current: Container) -> bool:
        probe = self.probes.failed.get(current.id)
        if probe is not None:
            message = f"Container {container.name} failed {probe} probe"
            if restarts(self.pod, container, 137):
                message += ", will be restarted"
            self.result.kill.append(Kill(current, message))
            return True
        known = current.annotations.get(HASH_ANNOTATION)
        if known and known != container_hash(container.spec):
            message = f"Container {container.name} definition changed, will be restarted"
            self.result.kill.append(Kill(current, message))
            return True
        return False

    def _start(self, container: PodContainer, last: Container | None) -> None:
        """Start now, or note the back-off."""
        if last is not None and last.state is ContainerState.EXITED:
            until = self.backoff.wait_until(container.name, last.finished_at / 1e9)
            if until is not None and until > self.now:
                delay = spell_seconds(self.backoff.delay(container.name))
                text = f"back-off {delay} restarting failed container={container.name} pod={full_name(self.pod)}"
                self.result.waiting[container.name] = Waiting("CrashLoopBackOff", text)
                self.result.again_at = min(until, self.result.again_at or until)
                return
        self.result.start.append(Start(container, _next_attempt(self.observed, container.name)))
