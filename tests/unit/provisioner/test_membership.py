"""Steps of etcd's membership, over every state that 1 to 7 members can be in: quorum before and after each."""

import itertools
from collections.abc import Iterator

import pytest

from provisioner.errors import InventoryError
from provisioner.operations.membership import (
    Member,
    MembershipStep,
    QuorumRefusalError,
    StepKind,
    after,
    holds,
    plan_membership,
    prove,
)


def states(most: int) -> Iterator[tuple[Member, ...]]:
    """Members m0, m1, … of which any are dead: by symmetry it is their number that counts."""
    for number in range(1, most + 1):
        for dead in range(number + 1):
            yield tuple(Member(f"m{index}", healthy=index >= dead) for index in range(number))


def changes(members: tuple[Member, ...]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(coming, going), every number of dead and of living ones that go with every number that comes."""
    dead = [one.name for one in members if not one.healthy]
    alive = [one.name for one in members if one.healthy]
    for gone, left, come in itertools.product(range(len(dead) + 1), range(len(alive) + 1), range(4)):
        yield tuple(f"n{index}" for index in range(come)), (*dead[:gone], *alive[:left])


def have_quorum(members: tuple[Member, ...]) -> bool:
    voters = [one for one in members if one.voter]
    return sum(one.healthy for one in voters) * 2 > len(voters)


def test_no_step_of_any_plan_risks_the_quorum() -> None:
    plans = refusals = 0
    for members in states(7):
        for coming, going in changes(members):
            end = {one.name for one in members} - set(going) | set(coming)
            try:
                steps = plan_membership(members, coming, going)
            except InventoryError:
                assert len(end) % 2 == 0 or len(end) > 7
                continue
            except QuorumRefusalError:
                refusals += 1
                continue
            plans += 1
            now = members
            for step in steps:
                assert have_quorum(now), (members, steps, step)
                now = after(now, step)
                assert have_quorum(now), (members, steps, step)
                assert sum(not one.voter for one in now) <= 1
            assert {one.name for one in now} == end
            assert all(one.voter for one in now)
            assert len(end) % 2 == 1 or not (coming or going)
    assert plans > 100
    assert refusals > 100


def test_whatever_could_be_done_is_not_refused() -> None:
    for members in states(7):
        dead = [one.name for one in members if not one.healthy]
        if not have_quorum(members) or len(members) % 2 == 0:
            continue
        # Every dead one replaced, in one go.
        assert plan_membership(members, tuple(f"n{index}" for index in range(len(dead))), dead)[: len(dead)] == tuple(
            MembershipStep(StepKind.REMOVE, name) for name in dead
        )


def test_a_plan_that_was_cut_off_anywhere_leads_to_the_same_end() -> None:
    for members in states(5):
        for coming, going in changes(members):
            try:
                steps = plan_membership(members, coming, going)
            except (InventoryError, QuorumRefusalError):
                continue
            now = members
            for step in steps:
                now = after(now, step)
                then = now
                for again in plan_membership(now, coming, going):
                    assert have_quorum(then)
                    then = after(then, again)
                assert {one.name for one in then} == {one.name for one in members} - set(going) | set(coming)


def test_a_step_that_is_taken_needs_no_proof() -> None:
    members = (Member("a", healthy=False), Member("b", healthy=False), Member("c"))

    for step in (MembershipStep(StepKind.ADD, "c"), MembershipStep(StepKind.REMOVE, "gone")):
        assert holds(members, step)
        prove(members, step)


THREE = (Member("a"), Member("b"), Member("c"))
ONE_DEAD = (Member("a", healthy=False), Member("b"), Member("c"))


@pytest.mark.parametrize(
    ("members", "coming", "going", "steps"),
    [
        ((Member("a"),), ("b", "c"), (), "add b, promote b, add c, promote c"),
        (THREE, (), ("a", "b"), "remove a, remove b"),
        (ONE_DEAD, ("d",), ("a",), "remove a, add d, promote d"),
        (THREE, ("d",), ("a",), "add d, promote d, remove a"),
        ((Member("a"),), ("d",), ("a",), "add d, promote d, remove a"),
        ((*ONE_DEAD, Member("d", voter=False)), ("d",), ("a",), "remove a, add d, promote d"),
        ((*THREE, Member("x", voter=False)), ("d", "e"), (), "remove x, add d, promote d, add e, promote e"),
    ],
)  # fmt: skip
def test_who_goes_first(
    members: tuple[Member, ...], coming: tuple[str, ...], going: tuple[str, ...], steps: str
) -> None:
    planned = plan_membership(members, coming, going)

    assert ", ".join(f"{step.kind} {step.member}" for step in planned) == steps


@pytest.mark.parametrize(
    ("members", "coming", "going", "said"),
    [
        (THREE, ("d",), (), "4 etcd members are an even number"),
        (THREE, (), ("a",), "or replace one"),
        (THREE, (), ("a", "b", "c"), "no member of etcd would be left"),
        (ONE_DEAD, ("d", "e"), (), "etcd takes nobody in while a is a member and does not answer"),
        (ONE_DEAD, (), ("a", "b"), ""),
        ((*ONE_DEAD, Member("d"), Member("e", healthy=False)), (), ("b", "c"), "2 of 4 members would answer"),
        ((*ONE_DEAD[:1], Member("b", healthy=False), Member("c")), ("d",), ("a",), "1 of 3 members answer"),
        (tuple(Member(f"m{index}") for index in range(7)), ("n", "o"), (), "more than 7"),
    ],
)  # fmt: skip
def test_refusals_say_why(
    members: tuple[Member, ...], coming: tuple[str, ...], going: tuple[str, ...], said: str
) -> None:
    if not said:
        assert plan_membership(members, coming, going)
        return
    with pytest.raises((InventoryError, QuorumRefusalError), match=said):
        plan_membership(members, coming, going)
