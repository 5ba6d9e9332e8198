"""Rollout decisions: the folder tests/scenarios/rollout, and what must hold whatever happens."""

import pathlib
from typing import Any

import pytest
import yaml
from hypothesis import given, settings, strategies as st

from cluster.controller_manager.rollout import (
    Limits,
    Share,
    limits_of,
    plan_history,
    plan_proportional,
    plan_recreate,
    plan_rolling,
)

SCENARIOS = yaml.safe_load((pathlib.Path(__file__).parents[2] / "scenarios" / "rollout" / "rolling.yaml").read_text())


def shares(case: dict[str, Any]) -> tuple[Share, list[Share]]:
    made = [
        (Share(s["name"], s["replicas"], s.get("available", 0), s["replicas"], s.get("created", "")), s.get("new"))
        for s in case["sets"]
    ]
    return next(s for s, new in made if new), [s for s, new in made if not new]


@pytest.mark.parametrize("case", SCENARIOS, ids=lambda case: case["name"].replace(" ", "_"))
def test_scenario(case: dict[str, Any]) -> None:
    new, old = shares(case)
    limits = Limits(case.get("surge", 1), case.get("unavailable", 0))

    assert plan_rolling(case["desired"], new, old, limits) == case["expect"]


@given(
    st.integers(1, 30),
    st.integers(0, 10),
    st.integers(0, 10),
    st.lists(st.integers(0, 15), max_size=3),
    st.data(),
)
@settings(max_examples=150, deadline=None)
def test_a_rollout_reaches_its_end_and_never_breaks_its_limits(
    desired: int, surge: int, unavailable: int, start: list[int], data: st.DataObject
) -> None:
    limits = Limits(surge, min(max(unavailable, 0 if surge else 1), desired))
    replicas = {f"old{i}": count for i, count in enumerate(start)} | {"new": 0}
    available = dict(replicas)
    ceiling = max(sum(replicas.values()), desired + limits.surge)
    for _ in range(400):
        old = [Share(n, r, available[n], r, n) for n, r in replicas.items() if n != "new"]
        plan = plan_rolling(desired, Share("new", replicas["new"], available["new"]), old, limits)
        before = sum(available.values())
        for name, count in plan.items():
            lost = max(available[name] - count, 0)
            available[name] -= lost
            replicas[name] = count
        assert sum(replicas.values()) <= ceiling
        assert sum(available.values()) >= min(before, desired - limits.unavailable)
        rising = [n for n in replicas if available[n] < replicas[n]]
        if rising and (not plan or data.draw(st.booleans())):
            available[rising[0]] += 1
        elif not plan and not rising:
            break

    assert replicas == {**dict.fromkeys(replicas, 0), "new": desired}


def test_percentages_round_surge_up_and_unavailability_down() -> None:
    spec = {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}}

    assert limits_of(spec, 10) == Limits(3, 2)
    assert limits_of(spec, 1) == Limits(1, 0)


def test_neither_surge_nor_unavailability_would_never_move_and_becomes_one() -> None:
    spec = {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "1%"}}}

    assert limits_of(spec, 3) == Limits(0, 1)


def test_scaling_in_the_middle_of_a_rollout_is_shared_out() -> None:
    old, new = Share("old", 8, 8, max_replicas=13), Share("new", 5, 0, max_replicas=13)

    plan = plan_proportional(20, new, [old], Limits(5, 2), rolling=True)

    assert sum(plan.values()) == 25
    assert plan["old"] > 8
    assert plan["new"] > 5


def test_recreate_waits_for_the_last_old_pod() -> None:
    new = Share("new", 0)

    assert plan_recreate(3, new, [Share("old", 3, 3, 3)]) == {"old": 0}
    assert plan_recreate(3, new, [Share("old", 0, 0, 1)]) == {}
    assert plan_recreate(3, new, [Share("old", 0, 0, 0)]) == {"new": 3}


def test_history_keeps_the_newest_and_whatever_still_has_pods() -> None:
    old = [Share("r1", 0), Share("r2", 2, pods=2), Share("r3", 0), Share("r4", 0)]

    assert plan_history(old, 2, {"r1": 1, "r2": 2, "r3": 3, "r4": 4}) == ["r1", "r3"]
