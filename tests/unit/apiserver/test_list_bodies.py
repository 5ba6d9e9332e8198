"""Bodies of lists are kept from the second question on, while nothing changed and there is room."""

from cluster.apiserver.list_bodies import LIMIT, Items, ListBodies


class Making:
    def __init__(self, size: int = 10) -> None:
        self.size = size
        self.made = 0

    def __call__(self) -> Items:
        self.made += 1
        return Items(b"x" * self.size)


def test_a_body_is_made_twice_and_then_kept() -> None:
    bodies, make = ListBodies(), Making()
    for _ in range(5):
        assert bodies.get("pods", 1, make).data == b"x" * 10
    assert make.made == 2


def test_a_change_makes_it_anew() -> None:
    bodies, make = ListBodies(), Making()
    for state in (1, 1, 1, 2, 2, 2):
        bodies.get("pods", state, make)
    assert make.made == 4


def test_what_nobody_asks_for_is_forgotten_with_the_second_sweep() -> None:
    bodies, make = ListBodies(), Making()
    bodies.get("pods", 1, make)
    bodies.get("pods", 1, make)
    bodies.sweep()
    bodies.get("pods", 1, make)
    assert make.made == 2
    bodies.sweep()
    bodies.sweep()
    bodies.get("pods", 1, make)
    assert make.made == 3


def test_the_oldest_make_room_and_giants_are_not_kept() -> None:
    bodies, make, giant = ListBodies(), Making(LIMIT // 3), Making(LIMIT)
    for key in ("a", "a", "b", "b", "c", "c", "d", "d"):
        bodies.get(key, 1, make)
    assert make.made == 8
    bodies.get("d", 1, make)
    assert make.made == 8
    bodies.get("a", 1, make)
    assert make.made == 9
    for _ in range(3):
        bodies.get("giant", 1, giant)
    assert giant.made == 3
