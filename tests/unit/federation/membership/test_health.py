"""Members' phases by answers and misses, and when the federation takes itself to be cut off."""

from federation.membership.health import (
    READY,
    SUSPECT,
    UNREACHABLE,
    Health,
    Isolation,
    after_answer,
    after_miss,
    isolation_of,
)


def missed(health: Health, *times: float, vouched: bool = False) -> Health:
    for now in times:
        health = after_miss(health, now, "no answer", vouched=vouched)
    return health


WELL = after_answer(Health(), 100.0)


def test_two_misses_make_a_member_suspect_and_eight_seconds_unreachable() -> None:
    assert missed(WELL, 102).phase == READY
    assert missed(WELL, 102, 104).phase == SUSPECT
    assert missed(WELL, 102, 104, 106).phase == SUSPECT
    assert missed(WELL, 102, 104, 106, 108).phase == UNREACHABLE
    assert missed(WELL, 102.002, 104.003, 106.001, 107.995).phase == UNREACHABLE


def test_one_answer_makes_it_ready_again_and_readiness_has_a_start() -> None:
    back = after_answer(missed(WELL, 102, 104, 112), 114)
    assert (back.phase, back.since, back.doubted) == (READY, 114, None)
    assert after_answer(back, 116).since == 114


def test_who_is_reached_by_others_stays_suspect() -> None:
    assert missed(WELL, 102, 104, 120, vouched=True).phase == SUSPECT


def test_a_member_that_we_never_reached_is_counted_from_our_first_look() -> None:
    assert missed(Health(), 500).phase == "Pending"
    assert missed(Health(), 500, 502).phase == SUSPECT
    assert missed(Health(), 500, 502, 508).phase == UNREACHABLE


def test_half_of_the_members_lost_at_once_is_our_own_fault_until_fewer_are() -> None:
    doubtful = missed(WELL, 102, 104)
    members = {"a": doubtful, "b": doubtful, "c": WELL, "d": WELL}
    cut_off = isolation_of(Isolation(), members, 105)
    assert (cut_off.isolated, set(cut_off.doubtful)) == (True, {"a", "b"})
    assert isolation_of(cut_off, members, 1000).isolated
    assert not isolation_of(cut_off, {**members, "a": WELL}, 1000).isolated


def test_one_lost_member_of_two_and_members_lost_one_after_the_other_are_no_isolation() -> None:
    doubtful = missed(WELL, 102, 104)
    assert not isolation_of(Isolation(), {"a": doubtful, "b": WELL}, 105).isolated
    later = missed(after_answer(WELL, 200), 202, 204)
    assert not isolation_of(Isolation(), {"a": doubtful, "b": later, "c": WELL, "d": WELL}, 205).isolated
