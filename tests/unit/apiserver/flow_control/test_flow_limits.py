"""Seats of the priority levels: shares, lending and borrowing."""

from hypothesis import given, strategies as st

from cluster.apiserver.flow_control.limits import CATCH_ALL, Demand, LevelSettings, Seats, adjust, share_out


def level(name: str, shares: int, lendable: int = 0, borrowing: int | None = None) -> LevelSettings:
    return LevelSettings(name, "", False, shares, lendable, borrowing, queues=8, hand_size=2, queue_length=10)


DEFAULTS = [
    level("leader-election", 10), level("node-high", 40, 25), level("system", 30, 33), level("workload-high", 40, 50),
    level("workload-low", 100, 90), level("global-default", 20, 50), CATCH_ALL,
]  # fmt: skip


def test_the_default_levels_get_what_upstream_gives_them() -> None:
    found = share_out(600, DEFAULTS)
    assert {name: seats.nominal for name, seats in found.items()} == {
        "leader-election": 25, "node-high": 98, "system": 74, "workload-high": 98, "workload-low": 245,
        "global-default": 49, "catch-all": 13,
    }  # fmt: skip
    assert (found["workload-low"].least, found["node-high"].least) == (245 - 220, 98 - 24)
    assert found["global-default"].most == 600


def test_a_borrowing_limit_bounds_what_a_level_may_take() -> None:
    assert share_out(100, [level("a", 50, borrowing=20), level("b", 50)])["a"] == Seats(50, 50, 60)


def test_seats_that_nobody_wants_go_to_who_wants_them() -> None:
    seats = share_out(600, DEFAULTS)
    busy = {"global-default": Demand(400, 10, 420, 420)}
    present = adjust(600, seats, frozenset(), busy)
    assert present["global-default"] > 250
    assert present["leader-election"] >= 25
    assert all(present[name] >= seats[name].least for name in seats)


def test_a_rise_of_demand_is_believed_at_once_and_a_fall_slowly() -> None:
    risen = Demand.after(100, 5, 110, before=0)
    assert risen.smoothed == 105
    assert 100 < Demand.after(0, 0, 0, before=risen.smoothed).smoothed < 105


@given(
    shares=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=1, max_size=8),
    demand=st.lists(st.floats(0, 1000), min_size=8, max_size=8),
    server=st.integers(1, 1000),
)
def test_nobody_falls_below_its_least_and_the_sum_stays_near_the_servers(
    shares: list[tuple[int, int]], demand: list[float], server: int
) -> None:
    levels = [level(str(at), share, lendable) for at, (share, lendable) in enumerate(shares)]
    seats = share_out(server, levels)
    wanted = {str(at): Demand(amount, 0, amount, amount) for at, amount in enumerate(demand[: len(levels)])}
    present = adjust(server, seats, frozenset(), wanted)
    assert all(present[name] >= seats[name].least for name in seats)
    nominal = sum(one.nominal for one in seats.values())
    assert sum(present.values()) <= max(server, nominal) + len(levels)
