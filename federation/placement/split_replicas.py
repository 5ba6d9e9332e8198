"""
Dividing replicas among clusters. Pure, in whole numbers throughout.

Minimums come first, then what runs already (unless it may be moved), and what is left by weight: every cluster is
raised to the same level of replicas per weight, as far as its maximum and what it can run allow.
v1's planner gives 21/23/6 where A has 20 of 50 already and C can run 6, its design text 22/22/6; this one does what
the text says: nobody gets less than an equal who has no more.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Share:
    """One cluster's claim in a division."""

    cluster: str
    weight: int = 1
    minimum: int = 0
    maximum: int | None = None
    limit: int | None = None
    """How many it can run altogether, those it has included; None: not known."""
    held: int = 0

    def most(self, total: int) -> int:
        """The highest number that it may get and can run."""
        return min(total, *(bound for bound in (self.maximum, self.limit) if bound is not None), total)


@dataclass(frozen=True, slots=True)
class Split:
    """Replicas of every cluster that took part. Sum of `replicas`, of `overflow` and `unplaced` is the total."""

    replicas: Mapping[str, int]
    overflow: Mapping[str, int] = field(default_factory=dict)
    """What a cluster gets beyond what it can run, since nobody else can either: its Pods wait there."""
    unplaced: int = 0


def divide_by_weight(total: int, shares: Iterable[Share], *, key: str, rebalance: bool = False) -> Split:
    """
    By weight. What nobody can run overflows to clusters that may have it, by weight too.

    Replicas that run stay unless `rebalance`, a minimum elsewhere, a maximum or a limit asks for them; when `total`
    falls below what runs, nobody gains. `key` names the object: who gets an odd replica is drawn from it.
    """
    parties = _ordered(shares, key)
    given = _by_weight(total, parties, rebalance=rebalance)
    left = total - sum(given.values())
    if not left:
        return Split(given)
    bounds = [(total if one.maximum is None else one.maximum) - given[one.cluster] for one in parties]
    rooms = [bound if one.limit is not None else 0 for one, bound in zip(parties, bounds, strict=True)]
    waiting = _level(left, parties, [0] * len(parties), rooms)
    overflow = {one.cluster: more for one, more in zip(parties, waiting, strict=True) if more}
    return Split(given, overflow, left - sum(overflow.values()))


def divide_by_capacity(total: int, shares: Iterable[Share], *, key: str, rebalance: bool = False) -> Split:
    """In proportion to what clusters can run. Never more than that: what does not fit is unplaced."""
    claims = list(shares)
    known = max((one.limit for one in claims if one.limit is not None), default=1)
    weighed = [_with_weight(one, known if one.limit is None else one.limit) if one.weight else one for one in claims]
    given = _by_weight(total, _ordered(weighed, key), rebalance=rebalance)
    return Split(given, unplaced=total - sum(given.values()))


def aggregate_in_few(total: int, shares: Iterable[Share], *, key: str, rebalance: bool = False) -> Split:
    """In as few clusters as can run them: those that have some first (unless `rebalance`), then the roomiest."""
    parties = _ordered(shares, key)
    parties.sort(key=lambda one: (not one.held or rebalance, -one.most(total), -one.held))
    given = _minimums(total, parties, rebalance=rebalance)
    left = total - sum(given.values())
    for bound in ([] if rebalance else [True]) + [False]:
        for one in parties:
            most = min(one.held, one.most(total)) if bound else one.most(total) if one.weight else 0
            more = max(0, min(left, most - given[one.cluster]))
            given[one.cluster] += more
            left -= more
    return Split(given, unplaced=left)


def in_proportion(total: int, parts: Mapping[str, int], *, key: str) -> dict[str, int]:
    """`total` divided as `parts` are, nothing kept and nothing limited: a Job's completions after its parallelism."""
    parties = _ordered((Share(cluster, weight) for cluster, weight in parts.items()), key)
    return _by_weight(total, parties, rebalance=True)


def draw(cluster: str, key: str) -> bytes:
    """Orders clusters for one object: even over many objects, always the same for one."""
    return hashlib.blake2b(f"{cluster}\0{key}".encode(), digest_size=8).digest()


def _with_weight(share: Share, weight: int) -> Share:
    return Share(share.cluster, weight, share.minimum, share.maximum, share.limit, share.held)


def _ordered(shares: Iterable[Share], key: str) -> list[Share]:
    return sorted(shares, key=lambda one: (-one.weight, draw(one.cluster, key)))


def _by_weight(total: int, parties: Sequence[Share], *, rebalance: bool) -> dict[str, int]:
    given = _minimums(total, parties, rebalance=rebalance)
    left = total - sum(given.values())
    rooms = [one.most(total) - given[one.cluster] for one in parties]
    running = [
        0 if rebalance else max(0, min(one.held - given[one.cluster], room))
        for one, room in zip(parties, rooms, strict=True)
    ]
    if sum(running) > left:
        # Fewer than run: everybody gives towards the level, nobody gains.
        more = _level(left, parties, [0] * len(parties), running)
        left -= sum(more)
        for index, one in enumerate(parties):
            if not one.weight:
                more[index] = min(left, running[index])
                left -= more[index]
    else:
        resting = sum(kept for one, kept in zip(parties, running, strict=True) if not one.weight)
        more = _level(left - resting, parties, running, rooms)
        more = [kept if not one.weight else extra for one, kept, extra in zip(parties, running, more, strict=True)]
    for one, extra in zip(parties, more, strict=True):
        given[one.cluster] += extra
    return given


def _minimums(total: int, parties: Sequence[Share], *, rebalance: bool) -> dict[str, int]:
    """What everybody gets before weights count. Where they ask for more than there is, those that have it keep it."""
    given = dict.fromkeys((one.cluster for one in parties), 0)
    left = total
    for bound in ([] if rebalance else [True]) + [False]:
        for one in parties:
            least = min(one.minimum, one.most(total))
            wanted = min(one.held, least) if bound else least
            more = max(0, min(left, wanted - given[one.cluster]))
            given[one.cluster] += more
            left -= more
    return given


def _level(total: int, parties: Sequence[Share], floors: Sequence[int], rooms: Sequence[int]) -> list[int]:
    """
    Raise everybody with a weight to one level of replicas per weight, between floor and room.

    The sum is `total` where floors and rooms allow, never more. Every round settles those whom the level would press
    below their floor or above their room, whichever of the two matters more, as flexible boxes are laid out.
    """
    given = [0] * len(parties)
    free = [index for index, one in enumerate(parties) if one.weight > 0]
    left = total
    while free and left > 0:
        weights = sum(parties[index].weight for index in free)
        low = [index for index in free if left * parties[index].weight < floors[index] * weights]
        high = [index for index in free if left * parties[index].weight > rooms[index] * weights]
        if not low and not high:
            _portion(left, weights, parties, free, given)
            return given
        lacking = sum(floors[index] * weights - left * parties[index].weight for index in low)
        spare = sum(left * parties[index].weight - rooms[index] * weights for index in high)
        settled = low if lacking >= spare and low else high
        bounds = floors if settled is low else rooms
        for index in settled:
            given[index] = bounds[index]
        left -= sum(bounds[index] for index in settled)
        gone = set(settled)
        free = [index for index in free if index not in gone]
    return given


def _portion(total: int, weights: int, parties: Sequence[Share], free: Sequence[int], given: list[int]) -> None:
    """Largest remainder; the parties' order decides among equals."""
    for index in free:
        given[index] = total * parties[index].weight // weights
    odd = total - sum(given[index] for index in free)
    for index in sorted(free, key=lambda index: -(total * parties[index].weight % weights))[:odd]:
        given[index] += 1
