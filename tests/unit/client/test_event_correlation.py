"""Events are counted, combined and limited, as client-go does."""

from typing import Any

from cluster.client.events import AGGREGATE_AFTER, BURST, Correlator


def event(message: str, name: str = "e") -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "involvedObject": {"kind": "Pod", "namespace": "ns", "name": "web", "uid": "u"},
        "source": {"component": "test"},
        "type": "Warning",
        "reason": "Failed",
        "message": message,
        "firstTimestamp": "2026-01-01T00:00:00Z",
    }


def test_the_same_event_again_is_counted_under_its_first_name() -> None:
    correlator = Correlator(lambda: 0.0)
    correlator.correlate(event("no room", "first"))

    again = correlator.correlate(event("no room", "second"))

    assert again is not None
    assert (again[1].name, again[1].count) == ("first", 2)


def test_many_that_differ_only_in_their_message_become_one() -> None:
    correlator = Correlator(lambda: 0.0)
    for number in range(AGGREGATE_AFTER):
        correlator.correlate(event(f"try {number}"))

    combined = [correlator.correlate(event(f"try {number}")) for number in (100, 101)]

    assert [c and c[0]["message"][:32] for c in combined] == ["(combined from similar events): "] * 2
    assert [c and c[1].count for c in combined] == [2, 2]


def test_an_object_that_talks_too_much_is_cut_short_and_may_speak_again_later() -> None:
    now = [0.0]
    correlator = Correlator(lambda: now[0])
    sent = [correlator.correlate(event("again")) for _ in range(BURST + 5)]
    assert sum(s is not None for s in sent) == BURST

    now[0] = 301.0

    assert correlator.correlate(event("again")) is not None
