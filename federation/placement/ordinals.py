"""
StatefulSets over clusters: every cluster runs one range of the ordinals 0 to replicas - 1. Pure.

A Pod's ordinal is its identity, so that ranges move only where they must: growth goes to the upper end, a gap that a
lost cluster leaves is closed by its neighbours.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """Ordinals start to start + count - 1."""

    start: int
    count: int

    @property
    def end(self) -> int:
        return self.start + self.count


def lay_out(counts: Mapping[str, int], before: Mapping[str, Range]) -> dict[str, Range]:
    """Afresh, without gaps; clusters in the order of their ranges before, then by name."""
    ranges = {}
    start = 0
    for name in sorted(
        counts, key=lambda name: (name not in before, before[name].start if name in before else 0, name)
    ):
        ranges[name] = Range(start, counts[name])
        start += counts[name]
    return ranges


def keep_and_fill(total: int, counts: Mapping[str, int], before: Mapping[str, Range]) -> dict[str, Range]:
    """
    Every range that is there stays, cut at `total`; what is missing goes to neighbours and to clusters without one.

    `counts` is how many each would have by the division, and decides who takes how much of a gap. Clusters that are
    not in it are gone. Ranges that overlap cannot be kept; then all is laid out afresh.
    """
    kept = {
        name: Range(one.start, min(one.count, total - one.start))
        for name, one in before.items()
        if name in counts and one.count > 0 and one.start < total
    }
    order = sorted(kept, key=lambda name: kept[name].start)
    if any(kept[left].end > kept[right].start for left, right in itertools.pairwise(order)):
        return lay_out(counts, before)
    ranges = dict(kept)
    newcomers = [name for name in sorted(counts) if name not in kept and counts[name] > 0]
    start = 0
    for left, right in zip(["", *order], [*order, ""], strict=True):
        end = kept[right].start if right else total
        start = kept[left].end if left else 0
        _fill(start, end, left, right, counts, ranges, newcomers)
    return ranges | {name: Range(total, 0) for name in counts if name not in ranges}


def _fill(
    start: int, end: int, left: str, right: str, counts: Mapping[str, int], ranges: dict[str, Range], new: list[str]
) -> None:
    """Close a gap: the left neighbour up to its count, newcomers, then who is beside what remains."""
    if start >= end:
        return
    if left:
        more = max(0, min(end - start, counts[left] - ranges[left].count))
        ranges[left] = Range(ranges[left].start, ranges[left].count + more)
        start += more
    while new and start < end:
        # The right neighbour's wish is kept free for it; a newcomer takes what then remains.
        spare = end - start - (max(0, counts[right] - ranges[right].count) if right else 0)
        count = min(spare if right or len(new) > 1 else end - start, counts[new[0]])
        if count <= 0:
            break
        left = new.pop(0)
        ranges[left] = Range(start, count)
        start += count
    if start < end and right:
        ranges[right] = Range(start, ranges[right].count + end - start)
    elif start < end and left:
        ranges[left] = Range(ranges[left].start, end - ranges[left].start)
