"""Fewer steps that still fail: halves are left out, then quarters, as long as a finding remains."""

from collections.abc import Sequence

from tests.federations.chaos.run import play
from tests.federations.chaos.schedule import Step

TRIES = 2
"""Times depend on the machine: a schedule counts as good after so many."""


async def shrink(steps: Sequence[Step]) -> list[Step]:
    """The steps themselves when they do not fail alone."""
    left = list(steps)
    if not await _fails(left):
        return left
    size = max(1, len(left) // 2)
    while True:
        at = 0
        while at < len(left) and len(left) > 1:
            fewer = left[:at] + left[at + size :]
            if fewer and await _fails(fewer):
                left = fewer
            else:
                at += size
        if size == 1:
            return left
        size = max(1, size // 2)


async def _fails(steps: Sequence[Step]) -> bool:
    for _ in range(TRIES):
        if (await play([(0, steps)])).findings:
            return True
    return False
