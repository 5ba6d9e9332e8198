"""A hundred thousand random plannings keep the rules."""

from tests.unit.federation.placement_cases import case, faults


def test_plans_of_a_hundred_thousand_random_cases_keep_the_rules() -> None:
    broken = {number: wrong for number in range(100_000) if (wrong := faults(case(number)))}

    assert not broken, f"{len(broken)} cases, first {next(iter(broken.items()))}"
