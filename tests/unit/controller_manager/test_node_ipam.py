"""No two Nodes ever get the same range of Pod addresses."""

import pytest

from cluster.controller_manager.node_ipam import RangeExhausted, Ranges


def test_the_lowest_free_range_is_given_first() -> None:
    ranges = Ranges("10.244.0.0/16", 24)
    ranges.occupy("a", ["10.244.0.0/24"])

    assert ranges.allocate("b") == "10.244.1.0/24"


def test_a_node_seen_late_keeps_the_range_it_was_given() -> None:
    ranges = Ranges("10.244.0.0/16", 24)

    assert ranges.allocate("a") == ranges.allocate("a") == "10.244.0.0/24"
    assert ranges.allocate("b") == "10.244.1.0/24"


def test_a_released_range_is_given_again() -> None:
    ranges = Ranges("10.244.0.0/16", 24)
    ranges.allocate("a")
    ranges.release("a")

    assert ranges.allocate("b") == "10.244.0.0/24"


def test_a_full_network_is_refused_with_its_size() -> None:
    ranges = Ranges("10.244.0.0/23", 24)
    ranges.allocate("a")
    ranges.allocate("b")

    with pytest.raises(RangeExhausted, match="holds 2 of /24"):
        ranges.allocate("c")
