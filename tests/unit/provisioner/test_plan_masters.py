"""What it takes that masters come and go: who waits for whom, over every size of a cluster."""

import dataclasses
import itertools

import pytest

from inventory.model import ClusterSpec, HostSpec, Provider, Role
from provisioner.actions.plan_masters import Change, check_change, plan_change
from provisioner.errors import InventoryError, ProvisionError
from provisioner.execution.actions import ActionPlan
from provisioner.operations.membership import Member, plan_membership

MASTER = frozenset({Role.CONTROL_PLANE, Role.ETCD, Role.NODE})
WORKER = frozenset({Role.NODE})


def host(name: str, roles: frozenset[Role] = MASTER) -> HostSpec:
    return HostSpec(name=name, address=f"192.0.2.{sum(name.encode()) % 250}", roles=roles)


def spec(*hosts: HostSpec, provider: Provider = Provider.STATIC) -> ClusterSpec:
    return ClusterSpec(name="c", hosts=(*hosts, host("worker", WORKER)), provider=provider)


def change(
    masters: int, coming: int, going: int, dead: int, provider: Provider = Provider.STATIC
) -> tuple[Change, tuple[Member, ...]]:
    old = [host(f"m{number}") for number in range(masters)]
    new = [host(f"n{number}") for number in range(coming)]
    names = frozenset(one.name for one in old[:dead])
    members = tuple(Member(one.name, healthy=one.name not in names) for one in old)
    after = spec(*old[going:], *new, provider=provider)
    return Change("nodes replace", spec(*old, provider=provider), after, tuple(new), tuple(old[:going]), names), members


def planned(wanted: Change, members: tuple[Member, ...]) -> ActionPlan:
    return plan_change(wanted, plan_membership(members, wanted.new_members, wanted.old_members))


def before(plan: ActionPlan, action: str) -> set[str]:
    """Everything that is done when the action begins, whatever else happens at what time."""
    needs = {one.id: one.after for one in plan}
    found: set[str] = set()
    waiting = list(needs[action])
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += needs[one]
    return found


def test_every_change_of_one_to_seven_masters_keeps_its_order() -> None:
    plans = 0
    for masters, coming, going, dead in itertools.product(range(1, 8), range(4), range(4), range(4)):
        if dead > going or going > masters:
            continue
        wanted, members = change(masters, coming, going, dead)
        try:
            check_change(wanted)
            plan = planned(wanted, members)
        except ProvisionError:
            continue
        plans += 1
        ids = {action.id for action in plan}
        for one in wanted.coming:
            assert {f"{one.name}/files", "snapshot"} <= before(plan, f"etcd/add {one.name}")
            assert f"etcd/promote {one.name}" in before(plan, f"{one.name}/control-plane")
            assert f"{one.name}/control-plane" in before(plan, f"{one.name}/services")
        for one in wanted.going:
            gone = before(plan, f"etcd/remove {one.name}")
            assert f"{one.name}/lead" in gone
            assert f"etcd/remove {one.name}" in before(plan, f"{one.name}/node")
            if one.name in wanted.dead:
                assert not {f"{one.name}/drain", f"{one.name}/stop", f"{one.name}/clean"} & ids
                assert f"{one.name}/revoke" in gone
            else:
                assert {f"{one.name}/drain", f"{one.name}/stop"} <= gone
                # Revoked once nothing of it runs, told to everybody before its keys are gone.
                assert gone <= before(plan, f"{one.name}/revoke")
                assert "clients" in before(plan, f"{one.name}/clean")
        if wanted.concerns_masters:
            assert {action for action in ids if action.startswith("etcd/")} <= before(plan, "clients")
    assert plans > 40


def test_the_only_master_serves_until_its_successor_does() -> None:
    plan = planned(*change(1, 1, 1, 0))

    assert "n0/control-plane" in before(plan, "m0/stop")


def test_dead_machines_of_ours_are_removed_and_hosts_of_others_are_left() -> None:
    local = planned(*change(3, 1, 1, 1, Provider.LOCAL))
    static = planned(*change(3, 1, 1, 1))

    assert "m0/clean" in {action.id for action in local}
    assert "m0/clean" not in {action.id for action in static}


def test_a_plan_says_what_it_changes_and_is_the_same_each_time() -> None:
    first, again = planned(*change(3, 1, 1, 1)), planned(*change(3, 1, 1, 1))

    assert first.digest == again.digest
    assert "  etcd: m0, m1, m2 -> m1, m2, n0" in first.lines()


def test_a_worker_is_replaced_without_a_word_to_anybody_else() -> None:
    one, other = host("w1", WORKER), host("w2", WORKER)
    wanted = Change("nodes replace", spec(host("m0"), one), spec(host("m0"), other), (other,), (one,))

    plan = plan_change(wanted, ())

    assert {action.host for action in plan} == {"w1", "w2"}


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (spec(), "no master would be left"),
        (
            ClusterSpec(name="c", hosts=(dataclasses.replace(host("m0"), taints=("a:NoSchedule",)),)),
            "no node would be left that takes Pods",
        ),
    ],
)
def test_what_would_be_no_cluster_is_refused(after: ClusterSpec, said: str) -> None:
    with pytest.raises(InventoryError, match=said):
        check_change(Change("nodes remove", spec(host("m0")), after, (), (host("m0"),)))
