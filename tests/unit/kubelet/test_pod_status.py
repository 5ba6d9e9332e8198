"""The status that people see."""

from datetime import UTC, datetime
from typing import Any

import pytest

from cluster.kubelet.pod_plan import Observation, ProbeFindings, Waiting, observe
from cluster.kubelet.pod_status import StatusInputs, build_status
from cluster.kubelet.remembered import with_remembered
from cluster.kubelet.runtime import Container, ContainerState, Sandbox
from cluster.machinery.objects import Object

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUNNING, EXITED = ContainerState.RUNNING, ContainerState.EXITED


def pod(policy: str = "Always", init: bool = False) -> Object:
    return {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 1},
        "spec": {
            "restartPolicy": policy,
            "containers": [{"name": "main", "image": "i:1"}],
            **({"initContainers": [{"name": "first", "image": "i:1"}]} if init else {}),
        },
    }


def run(name: str = "main", state: ContainerState = RUNNING, code: int = 0, attempt: int = 0) -> Container:
    at = 1_700_000_000_000_000_000
    return Container(
        f"{name}{attempt}", "s", name, attempt, state, at + attempt, at, at if code or state is EXITED else 0, code
    )


def seen(*runs: Container) -> Observation:
    return observe([Sandbox("s", "p", "ns", "u", 0, True, 1, ("10.0.0.9",))], runs)


def status(p: Object, observed: Observation, **given: Any) -> Object:
    return build_status(p, observed, StatusInputs(now=NOW, host_ips=("192.0.2.1",), **given))


def condition(built: Object, kind: str) -> Object:
    return next(c for c in built["conditions"] if c["type"] == kind)


READY = ProbeFindings(started=frozenset({"main0"}), ready=frozenset({"main0"}))


def test_a_running_ready_pod() -> None:
    built = status(pod(), seen(run()), probes=READY)
    assert built["phase"] == "Running"
    assert (built["podIP"], built["podIPs"], built["hostIP"]) == ("10.0.0.9", [{"ip": "10.0.0.9"}], "192.0.2.1")
    assert built["observedGeneration"] == 1
    assert {c["type"]: c["status"] for c in built["conditions"]} == {
        "PodReadyToStartContainers": "True", "Initialized": "True", "Ready": "True", "ContainersReady": "True",
        "PodScheduled": "True",
    }  # fmt: skip
    assert built["containerStatuses"][0]["containerID"] == "containerd://main0"


def test_an_unready_container_is_named() -> None:
    built = status(pod(), seen(run()), probes=ProbeFindings(started=frozenset({"main0"})))
    assert condition(built, "Ready")["reason"] == "ContainersNotReady"
    assert condition(built, "Ready")["message"] == "containers with unready status: [main]"


def test_before_its_container_runs_a_pod_is_pending() -> None:
    built = status(pod(), Observation())
    assert built["phase"] == "Pending"
    assert built["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}


def test_while_an_init_container_runs_the_others_wait_for_it() -> None:
    built = status(pod(init=True), seen(run("first")))
    assert built["phase"] == "Pending"
    assert built["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert condition(built, "Initialized")["message"] == "containers with incomplete status: [first]"


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [("Never", 0, "Succeeded"), ("Never", 1, "Failed"), ("OnFailure", 0, "Succeeded"), ("OnFailure", 1, "Running"),
     ("Always", 0, "Running")],
)  # fmt: skip
def test_the_phase_after_the_container_ended(policy: str, code: int, phase: str) -> None:
    assert status(pod(policy), seen(run(state=EXITED, code=code)))["phase"] == phase


def test_a_crash_loop_shows_why_it_waits_and_how_it_ended() -> None:
    built = status(pod(), seen(run(state=EXITED, code=2)), waiting={"main": Waiting("CrashLoopBackOff", "text")})
    entry = built["containerStatuses"][0]
    assert entry["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "text"}}
    assert entry["lastState"]["terminated"]["exitCode"] == 2
    assert built["phase"] == "Running"


def test_the_termination_message_is_shown() -> None:
    built = status(pod("Never"), seen(run(state=EXITED)), messages={"main0": "bye"})
    assert built["containerStatuses"][0]["state"]["terminated"]["message"] == "bye"
    assert condition(built, "Ready")["reason"] == "PodCompleted"


def test_a_stopped_pod_that_always_restarts_is_failed_or_succeeded() -> None:
    assert status(pod(), seen(run(state=EXITED, code=137)), ended=True)["phase"] == "Failed"
    assert status(pod(), seen(run(state=EXITED)), ended=True)["phase"] == "Succeeded"


def test_a_verdict_fails_the_pod() -> None:
    built = status(pod(), seen(run()), verdict=("DeadlineExceeded", "too long"))
    assert (built["phase"], built["reason"], built["message"]) == ("Failed", "DeadlineExceeded", "too long")


def test_a_terminal_phase_is_never_left() -> None:
    over = {**pod(), "status": {"phase": "Succeeded"}}
    assert status(over, seen(run()))["phase"] == "Succeeded"


def test_a_condition_keeps_its_transition_time_while_its_status_stays() -> None:
    first = status(pod(), seen(run()), probes=READY)
    for c in first["conditions"]:
        c["lastTransitionTime"] = "2020-01-01T00:00:00Z"
    again = status({**pod(), "status": first}, seen(run()), probes=ProbeFindings(started=frozenset({"main0"})))
    assert condition(again, "Initialized")["lastTransitionTime"] == "2020-01-01T00:00:00Z"
    assert condition(again, "Ready")["lastTransitionTime"] == "2026-01-02T03:04:05Z"


def test_a_readiness_gate_holds_the_pod_back() -> None:
    gated = pod()
    gated["spec"]["readinessGates"] = [{"conditionType": "example.com/x"}]
    built = status(gated, seen(run()), probes=READY)
    text = 'corresponding condition of pod readiness gate "example.com/x" does not exist.'
    assert condition(built, "Ready")["message"] == text
    gated["status"] = {"conditions": [{"type": "example.com/x", "status": "True"}]}
    assert condition(status(gated, seen(run()), probes=READY), "Ready")["status"] == "True"


def test_a_run_that_only_the_api_remembers_counts() -> None:
    over = pod("Never")
    over["status"] = {
        "containerStatuses": [
            {
                "name": "main",
                "restartCount": 1,
                "state": {"terminated": {"exitCode": 4, "containerID": "containerd://x"}},
            }
        ]
    }
    observed = with_remembered(over, Observation())
    assert [(c.id, c.exit_code, c.restart_count) for c in observed.containers] == [("x", 4, 1)]
