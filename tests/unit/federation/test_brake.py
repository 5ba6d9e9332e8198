"""When the federation stops itself."""

import pytest

from federation.placement.brake import deletions_need_confirmation, why_deletions_wait


@pytest.mark.parametrize(
    ("deletions", "held", "waits"),
    [(20, 20, False), (21, 21, True), (21, 210, False), (22, 210, True), (100, 1000, False), (101, 1000, True)],
)
def test_more_than_a_tenth_and_more_than_twenty_wait(deletions: int, held: int, waits: bool) -> None:
    assert deletions_need_confirmation(deletions, held) is waits


def test_the_message_says_how_many_and_what_to_do() -> None:
    assert "30 of the 100 objects in cluster eu" in why_deletions_wait("eu", 30, 100)
    assert "federation.hanse.io/confirm-deletions" in why_deletions_wait("eu", 30, 100)
