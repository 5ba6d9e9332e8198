"""Where requests begin and end."""

import pytest

from cluster.apiserver.in_flight import InFlight
from cluster.apiserver.metrics import RequestMetrics
from cluster.apiserver.router import route
from cluster.machinery.status_errors import TooManyRequests


def test_reads_and_writes_have_places_of_their_own() -> None:
    places = InFlight(RequestMetrics(), max_reads=1, max_writes=1)
    places.enter(read=True)
    assert not places.has_room(read=True)
    with pytest.raises(TooManyRequests):
        places.enter(read=True)
    places.enter(read=False)
    places.leave(read=True)
    places.enter(read=True)


async def test_a_drain_waits_for_what_runs_and_for_what_comes_meanwhile() -> None:
    places = InFlight(RequestMetrics(), max_reads=2, max_writes=2)
    places.enter(read=True)
    places.draining = True
    assert not await places.drained(0.01)
    places.enter(read=False)
    places.leave(read=True)
    assert not await places.drained(0.01)
    places.leave(read=False)
    assert await places.drained(0.01)


def test_both_ways_of_telling_an_end_count_the_same() -> None:
    found = route("GET", "/api/v1/nodes/a", "")
    one, other = RequestMetrics(), RequestMetrics()
    InFlight(one, 1, 1).ended(found, 200, 0.01)
    InFlight(other, 1, 1).ended_well(found)(0.01)

    def told(metrics: RequestMetrics) -> list[str]:
        return [line for line in metrics.render().splitlines() if line.startswith("apiserver_request")]

    assert told(one) == told(other)
    assert any("apiserver_request_total" in line for line in told(one))
