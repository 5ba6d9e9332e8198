"""The queue with a clock of its own."""

from typing import Any

from cluster.scheduler.pod_info import PodInfo
from cluster.scheduler.queue import Change, SchedulingQueue


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def pod(name: str, priority: int = 0, **spec: Any) -> PodInfo:
    return PodInfo.of(
        {
            "metadata": {"name": name, "namespace": "ns", "uid": name},
            "spec": {"priority": priority, "containers": [], **spec},
        }
    )


def test_the_more_important_pod_goes_first_and_equals_in_order_of_arrival() -> None:
    clock = Clock()
    queue = SchedulingQueue(clock)
    for name, priority in (("low", 0), ("first", 5), ("second", 5)):
        queue.set(pod(name, priority))
        clock.now += 1

    order = [queued.info.uid for queued in iter(queue.pop_now, None)]

    assert order == ["first", "second", "low"]


def test_an_unschedulable_pod_waits_for_a_change_that_helps_and_then_for_its_backoff() -> None:
    clock = Clock()
    queue = SchedulingQueue(clock)
    queue.set(pod("web"))
    queued = queue.pop_now()
    assert queued is not None
    queue.put_back(queued, frozenset({"NodeResourcesFit"}))

    queue.announce(Change.POD_PLACED)
    clock.now += 60
    assert queue.pop_now() is None, "a pod that was placed frees nothing"

    queue.announce(Change.POD_GONE)
    assert queue.pop_now() is not None, "its backoff passed while it waited"


def test_a_change_during_the_attempt_is_not_lost() -> None:
    clock = Clock()
    queue = SchedulingQueue(clock)
    queue.set(pod("web"))
    queued = queue.pop_now()
    assert queued is not None
    queue.announce(Change.NODE_ADDED)
    queue.put_back(queued, frozenset({"NodeResourcesFit"}))

    assert queue.pop_now() is None
    clock.now += 1.1
    assert queue.pop_now() is not None


def test_a_gated_pod_is_not_tried_until_its_gates_are_gone() -> None:
    queue = SchedulingQueue(Clock())
    queue.set(pod("web", schedulingGates=[{"name": "wait"}]))
    assert queue.pop_now() is None

    queue.set(pod("web"))

    assert queue.pop_now() is not None


def test_a_deleted_pod_is_never_tried_again() -> None:
    queue = SchedulingQueue(Clock())
    queue.set(pod("web"))
    queued = queue.pop_now()
    assert queued is not None
    queue.remove("web")
    queue.put_back(queued, frozenset())

    assert len(queue) == 0


def test_its_own_condition_does_not_wake_a_pod() -> None:
    clock = Clock()
    queue = SchedulingQueue(clock)
    queue.set(pod("web"))
    queued = queue.pop_now()
    assert queued is not None
    queue.put_back(queued, frozenset({"TaintToleration"}))
    queue.set(pod("web"))
    clock.now += 20

    assert queue.pop_now() is None


def test_five_minutes_without_an_event_are_enough() -> None:
    clock = Clock()
    queue = SchedulingQueue(clock)
    queue.set(pod("web"))
    queued = queue.pop_now()
    assert queued is not None
    queue.put_back(queued, frozenset({"TaintToleration"}))
    clock.now += 301

    assert queue.pop_now() is not None
