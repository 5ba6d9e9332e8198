"""Tolerations and taints as a table, after the API reference of PodSpec.tolerations."""

import pytest

from cluster.machinery.tolerations import first_untolerated, tolerates

TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("toleration", "covers"),
    [
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "value": "v", "operator": "Equal", "effect": "NoSchedule"}, True),
        ({"key": "k", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "k", "value": "w"}, False),
        ({"key": "l", "operator": "Exists"}, False),
        ({"key": "k", "value": "v", "operator": "In"}, False),
    ],
)
def test_a_toleration_covers_what_it_names(toleration: dict[str, str], covers: bool) -> None:
    assert tolerates(toleration, TAINT) is covers


def test_an_absent_value_equals_the_empty_one() -> None:
    assert tolerates({"key": "k"}, {"key": "k", "effect": "NoExecute"})


def test_only_taints_of_the_asked_effects_count() -> None:
    other = {"key": "x", "effect": "PreferNoSchedule"}
    assert first_untolerated([], [other, TAINT], ("NoSchedule", "NoExecute")) is TAINT
    assert first_untolerated([{"key": "k", "operator": "Exists"}], [other, TAINT], ("NoSchedule",)) is None
