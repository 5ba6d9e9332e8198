"""Taints as `federate taint` writes them."""

from typing import Any

import pytest

from federation.membership.taints import as_text, changed, read_change

NOW = "2026-11-28T12:00:00Z"


@pytest.mark.parametrize(
    ("before", "asked", "after"),
    [
        ([], ["gpu=yes:NoSchedule"], ["gpu=yes:NoSchedule"]),
        ([], ["example.com/gpu:PreferNoSchedule"], ["example.com/gpu:PreferNoSchedule"]),
        (["gpu=yes:NoSchedule"], ["gpu=no:NoSchedule"], ["gpu=no:NoSchedule"]),
        (["gpu:NoSchedule"], ["gpu:NoExecute"], ["gpu:NoSchedule", "gpu:NoExecute"]),
        (["gpu:NoSchedule", "gpu:NoExecute", "old:NoExecute"], ["gpu-"], ["old:NoExecute"]),
        (["gpu:NoSchedule", "gpu:NoExecute"], ["gpu:NoExecute-"], ["gpu:NoSchedule"]),
        (["gpu=a:NoSchedule"], ["gpu=b:NoSchedule-"], []),
        (["gpu:NoSchedule"], ["gpu-", "new:NoExecute"], ["new:NoExecute"]),
    ],
)
def test_taints_are_put_replaced_and_taken_away(before: list[str], asked: list[str], after: list[str]) -> None:
    found = changed([_taint(one) for one in before], [read_change(one) for one in asked], NOW)
    assert [as_text(one) for one in found] == after


def test_who_has_to_go_is_told_since_when() -> None:
    [taint] = changed([], [read_change("down:NoExecute")], NOW)
    assert taint == {"key": "down", "effect": "NoExecute", "timeAdded": NOW}


def _taint(text: str) -> dict[str, Any]:
    change = read_change(text)
    return {"key": change.key, "effect": change.effect, **({"value": change.value} if change.value else {})}
