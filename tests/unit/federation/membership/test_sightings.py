"""A member that another one reaches is not given up."""

from typing import Any

import pytest

from federation.membership.health import Health, after_answer, after_miss
from federation.membership.sightings import Opinions, opinions, updated, wanted

WELL = after_answer(Health(), 100.0)
NOW = "2026-01-01T00:00:00Z"


def cluster(name: str, phase: str = "Ready", seen: dict[str, bool] | None = None, **spec: Any) -> dict[str, Any]:
    sightings = [{"cluster": one, "answers": answers, "time": NOW} for one, answers in (seen or {}).items()]
    known = {"serverAddressByClientCIDRs": [{"serverAddress": "a"}], "caBundle": "eA=="}
    return {"metadata": {"name": name}, "spec": {**known, **spec}, "status": {"phase": phase, "sightings": sightings}}


def test_who_is_heard_himself_vouches_for_whom_he_reaches() -> None:
    east, west = cluster("east", seen={"north": True}), cluster("west", seen={"north": False})
    known = {"east": WELL, "west": WELL}
    assert opinions("north", [east, west], known) == Opinions(("east",), ("west",))
    missed = {"east": after_miss(WELL, 104.0, ""), "west": WELL}
    assert opinions("north", [east, west], missed) == Opinions((), ("west",))
    assert opinions("north", [east, west], {}) == Opinions()
    assert opinions("east", [cluster("east", seen={"east": True})], known) == Opinions()


@pytest.mark.parametrize(
    ("reached", "missed", "vouched"),
    [
        (0, 0, False),
        (1, 0, True),
        (0, 1, False),
        (1, 1, False),
        (2, 0, True),
        (2, 1, True),
        (1, 4, False),
        (3, 2, True),
    ],
)
def test_a_member_is_given_up_when_more_than_half_of_the_voices_miss_it(
    reached: int, missed: int, vouched: bool
) -> None:
    names = [f"c{number}" for number in range(reached + missed)]
    assert Opinions(tuple(names[:reached]), tuple(names[reached:])).vouched is vouched


def test_opinions_are_told_in_words() -> None:
    assert str(Opinions(("a", "b"), ("c",))) == "reached by a, b, not reached by c either"
    assert str(Opinions()) == ""


def test_an_agent_looks_at_others_in_doubt_of_which_it_knows_address_and_ca() -> None:
    doubted = [cluster("a", "Suspect"), cluster("b", "Unreachable"), cluster("c"), cluster("own", "Suspect")]
    unknown = [cluster("d", "Suspect", caBundle=""), cluster("e", "Suspect", serverAddressByClientCIDRs=[])]
    assert [one["metadata"]["name"] for one in wanted([*doubted, *unknown], "own")] == ["a", "b"]


def test_what_is_seen_is_written_when_it_changes() -> None:
    first = updated([], {"a": True}, "t1")
    assert first == [{"cluster": "a", "answers": True, "time": "t1"}]
    assert updated(first, {"a": True}, "t2") == first
    assert updated(first, {"a": False}, "t2") == [{"cluster": "a", "answers": False, "time": "t2"}]
    assert updated(first, {}, "t2") == []
