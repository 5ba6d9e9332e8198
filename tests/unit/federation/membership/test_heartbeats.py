"""Members in pull mode are heard by our clock, whatever theirs says."""

import datetime as dt
from typing import Any

from federation.membership.heartbeats import Heartbeats, is_late

CLOCK = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


def lease(renewed: str, made: str = "2026-01-01T00:00:00Z") -> dict[str, Any]:
    return {"metadata": {"creationTimestamp": made}, "spec": {"renewTime": renewed}}


def test_a_change_is_a_heartbeat_and_what_was_there_before_us_is_none() -> None:
    heard = Heartbeats()
    assert heard.hear("east", None, 100.0, CLOCK) is None
    assert heard.hear("east", lease("2031-01-01T00:00:00Z"), 102.0, CLOCK) is None
    assert heard.hear("east", lease("2031-01-01T00:00:02Z"), 104.0, CLOCK) == 104.0
    assert heard.hear("east", lease("2031-01-01T00:00:02Z"), 106.0, CLOCK) == 104.0
    assert heard.hear("east", None, 108.0, CLOCK) == 104.0


def test_a_lease_that_was_made_just_now_is_a_heartbeat_at_once() -> None:
    assert Heartbeats().hear("east", lease("x", "2026-01-01T11:59:58Z"), 100.0, CLOCK) == 100.0


def test_two_heartbeats_in_one_round_of_ours_make_no_miss_of_the_next() -> None:
    assert not is_late(100.0, 102.9)
    assert is_late(100.0, 103.1)
    assert is_late(None, 0.0)


def test_who_left_is_forgotten() -> None:
    heard = Heartbeats()
    heard.hear("east", lease("x", "2026-01-01T11:59:58Z"), 100.0, CLOCK)
    heard.forget_others({"west"})
    assert heard.hear("east", None, 102.0, CLOCK) is None
