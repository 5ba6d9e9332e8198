"""What one pass over a pod decides."""

from typing import Any

from cluster.kubelet.backoff import BackOff
from cluster.kubelet.pod_plan import Observation, PodPlan, ProbeFindings, observe, plan_pod
from cluster.kubelet.pods import container_hash
from cluster.kubelet.runtime import HASH_ANNOTATION, Container, ContainerState, Sandbox
from cluster.machinery.objects import Object

NOW = 1_000_000.0


def pod(*names: str, init: tuple[Object, ...] = (), **spec: Any) -> Object:
    containers = [{"name": name, "image": "i"} for name in names or ("main",)]
    return {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "spec": {"containers": containers, "initContainers": list(init), **spec},
    }


def sandbox(**changes: Any) -> Sandbox:
    given: dict[str, Any] = {"ready": True, "attempt": 0, "ips": ("10.0.0.1",), **changes}
    return Sandbox(id="s", name="p", namespace="ns", uid="u", created_at=1, **given)


def run(name: str, state: ContainerState = ContainerState.RUNNING, code: int = 0, **changes: Any) -> Container:
    given: dict[str, Any] = {"attempt": 0, "sandbox_id": "s", "finished_at": int(NOW * 1e9), **changes}
    return Container(id=f"{name}-id", name=name, state=state, exit_code=code, created_at=5, **given)


def plan(p: Object, *runs: Container, sandboxes: tuple[Sandbox, ...] = (sandbox(),), backoff: BackOff | None = None,
         probes: ProbeFindings | None = None) -> PodPlan:  # fmt: skip
    return plan_pod(p, observe(sandboxes, runs), probes or ProbeFindings(), backoff or BackOff(), NOW)


def started(result: PodPlan) -> list[tuple[str, int]]:
    return [(s.container.name, s.attempt) for s in result.start]


EXITED = ContainerState.EXITED
SIDECAR: Object = {"name": "side", "image": "i", "restartPolicy": "Always"}


def test_a_new_pod_gets_a_sandbox_and_all_its_containers() -> None:
    result = plan(pod("a", "b"), sandboxes=())
    assert result.new_sandbox
    assert started(result) == [("a", 0), ("b", 0)]


def test_with_init_containers_only_the_first_starts() -> None:
    result = plan(pod(init=({"name": "i1", "image": "i"}, {"name": "i2", "image": "i"})), sandboxes=())
    assert started(result) == [("i1", 0)]


def test_the_next_init_container_starts_when_the_one_before_succeeded() -> None:
    p = pod(init=({"name": "i1", "image": "i"}, {"name": "i2", "image": "i"}))
    assert started(plan(p, run("i1"))) == []
    assert started(plan(p, run("i1", EXITED))) == [("i2", 0)]
    assert started(plan(p, run("i1", EXITED), run("i2", EXITED))) == [("main", 0)]


def test_a_failed_init_container_ends_a_pod_that_never_restarts() -> None:
    p = pod(init=({"name": "i1", "image": "i"},), restartPolicy="Never")
    assert plan(p, run("i1", EXITED, 1)).finished


def test_a_sidecar_must_have_started_before_the_rest() -> None:
    p = pod(init=(SIDECAR,))
    assert started(plan(p, run("side"))) == []
    assert started(plan(p, run("side"), probes=ProbeFindings(started=frozenset({"side-id"})))) == [("main", 0)]


def test_a_sidecar_that_ends_is_started_again_beside_running_containers() -> None:
    assert started(plan(pod(init=(SIDECAR,)), run("side", EXITED), run("main"))) == [("side", 1)]


def test_a_pod_is_finished_when_its_app_containers_are_though_a_sidecar_runs() -> None:
    assert plan(pod(init=(SIDECAR,), restartPolicy="Never"), run("side"), run("main", EXITED)).finished


def test_the_first_restart_is_immediate_and_the_second_waits() -> None:
    backoff = BackOff()
    assert started(plan(pod(), run("main", EXITED, 1), backoff=backoff)) == [("main", 1)]
    backoff.grow("main", NOW)
    result = plan(pod(), run("main", EXITED, 1, attempt=1), backoff=backoff)
    assert started(result) == []
    assert result.waiting["main"].reason == "CrashLoopBackOff"
    assert result.waiting["main"].message == "back-off 10s restarting failed container=main pod=p_ns(u)"
    assert result.again_at == NOW + 10


def test_restart_on_failure_leaves_a_success_alone() -> None:
    p = pod("a", "b", restartPolicy="OnFailure")
    assert started(plan(p, run("a", EXITED, 0), run("b", EXITED, 2))) == [("b", 1)]
    assert plan(p, run("a", EXITED, 0), run("b", EXITED, 0)).finished


def test_a_failed_liveness_probe_ends_the_container() -> None:
    result = plan(pod(), run("main"), probes=ProbeFindings(failed={"main-id": "liveness"}))
    assert [k.message for k in result.kill] == ["Container main failed liveness probe, will be restarted"]


def test_another_image_replaces_the_container() -> None:
    p = pod()
    same = run("main", annotations={HASH_ANNOTATION: container_hash(p["spec"]["containers"][0])})
    assert not plan(p, same).kill
    other = run("main", annotations={HASH_ANNOTATION: "old"})
    assert [k.message for k in plan(p, other).kill] == ["Container main definition changed, will be restarted"]


def test_a_dead_sandbox_is_replaced_with_the_next_attempt() -> None:
    result = plan(pod(), run("main", EXITED, 137), sandboxes=(sandbox(ready=False),))
    assert (result.new_sandbox, result.sandbox_attempt) == (True, 1)
    assert started(result) == [("main", 1)]


def test_a_pod_that_never_restarts_gets_no_second_sandbox() -> None:
    assert plan(pod(restartPolicy="Never"), run("main", EXITED, 137), sandboxes=(sandbox(ready=False),)).finished


def test_a_sandbox_without_an_address_is_replaced_unless_the_pod_has_the_hosts_network() -> None:
    assert plan(pod(), sandboxes=(sandbox(ips=()),)).new_sandbox
    assert not plan(pod(hostNetwork=True), run("main"), sandboxes=(sandbox(ips=()),)).new_sandbox


def test_an_ephemeral_container_starts_once() -> None:
    p = pod(ephemeralContainers=[{"name": "debug", "image": "i"}])
    assert started(plan(p, run("main"))) == [("debug", 0)]
    assert started(plan(p, run("main"), run("debug", EXITED, 1))) == []


def test_nothing_is_done_when_all_is_as_it_should_be() -> None:
    assert plan(pod(), run("main")) == PodPlan()
    assert Observation().sandbox is None
