"""Where requests begin and end."""

import pytest

from cluster.apiserver.in_flight import InFlight
from cluster.apiserver.metrics import RequestMetrics
from cluster.apiserver.requests import ANONYMOUS, Attributes
from cluster.apiserver.router import route
from cluster.machinery.status_errors import TooManyRequests


def asked(verb: str) -> Attributes:
    return Attributes(ANONYMOUS, verb, resource="pods")


async def test_reads_and_writes_have_places_of_their_own() -> None:
    places = InFlight(RequestMetrics(), max_reads=1, max_writes=1)
    place = await places.enter(asked("get"), 1.0)
    assert places.try_enter_read(None, 1) is None
    with pytest.raises(TooManyRequests):
        await places.enter(asked("list"), 1.0)
    await places.enter(asked("create"), 1.0)
    place.leave()
    place.leave()  # twice is once
    assert places.try_enter_read(None, 1) is not None
    assert places.try_enter_read(None, 1) is None


async def test_a_drain_waits_for_what_runs_and_for_what_comes_meanwhile() -> None:
    places = InFlight(RequestMetrics(), max_reads=2, max_writes=2)
    first = await places.enter(asked("get"), 1.0)
    places.draining = True
    assert not await places.drained(0.01)
    second = await places.enter(asked("create"), 1.0)
    first.leave()
    assert not await places.drained(0.01)
    second.leave()
    assert await places.drained(0.01)


def test_both_ways_of_telling_an_end_count_the_same() -> None:
    found = route("GET", "/api/v1/nodes/a", "")
    one, other = RequestMetrics(), RequestMetrics()
    InFlight(one, 1, 1).ended(found, 200, 0.01)
    InFlight(other, 1, 1).ended_with(found, 200)(0.01)

    def told(metrics: RequestMetrics) -> list[str]:
        return [line for line in metrics.render().splitlines() if line.startswith("apiserver_request")]

    assert told(one) == told(other)
    assert any("apiserver_request_total" in line for line in told(one))
