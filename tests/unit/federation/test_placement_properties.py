"""What is true of every plan, over random cases. tests/soak/test_placement.py tries a hundred thousand of them."""

from collections import Counter

from federation.placement.members import Member
from federation.placement.plan import plan
from tests.unit.federation.placement_cases import case, faults


def test_plans_of_random_cases_keep_the_rules() -> None:
    broken = {number: wrong for number in range(3000) if (wrong := faults(case(number)))}

    assert not broken, f"{len(broken)} cases, first {next(iter(broken.items()))}"


def test_single_replicas_spread_evenly_over_equal_clusters() -> None:
    members = [Member(f"member-{index}") for index in range(5)]
    homes: Counter[str] = Counter()
    for number in range(20_000):
        template = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 1}}
        found = plan({**template, "metadata": {"namespace": "n", "name": f"web-{number}"}}, members)
        homes.update(one.cluster for one in found.assignments)

    assert sum(homes.values()) == 20_000
    assert all(abs(count - 4000) <= 0.05 * 4000 for count in homes.values()), homes
