"""
Is there an order of the operations on one key that explains all answers? Wing and Gong's search with Lowe's memory.

Pure, and independent of etcd's log: a second opinion on windows of a history. Operations whose outcome is unknown may
have taken effect at any time after their begin, or never.
"""

from collections.abc import Container, Iterable, Iterator
from itertools import groupby, islice

from tests.histories.operations import Operation

WINDOW = 4000
"""Operations on one key that are looked at."""
STATES = 200_000
"""How many states of the search are remembered; a history that needs more is left undecided."""

_REFUSED = frozenset({500, 503, 504})
"""A server that failed may have written all the same."""

State = str | None
"""The mark of the object; None when there is none."""


def check(operations: Iterable[Operation], took_effect: Container[str]) -> Iterator[str]:
    """
    One finding a key that cannot be explained.

    Args:
        took_effect: marks of writes that the store knows. It settles what became of those whose answer was lost;
            left open, each of them would double the orders to search.
    """
    concerned = [op for op in operations if op.verb in _STEPS and _may_count(op, took_effect)]
    concerned.sort(key=lambda op: (op.name, op.begin))
    for name, group in groupby(concerned, key=lambda op: op.name):
        window = list(islice(group, WINDOW))
        if not _explained(window):
            yield f"no order of the {len(window)} operations on {name} explains their answers"


def _may_count(op: Operation, took_effect: Container[str]) -> bool:
    """False for a read without an answer and for a write that never happened."""
    if op.known and op.status not in _REFUSED:
        return True
    return op.verb == "delete" or (bool(op.mark) and op.mark in took_effect)


def _step(op: Operation, state: State) -> tuple[bool, State]:
    """Whether the operation can have had its answer in that state, and the state after it."""
    return _STEPS[op.verb](op, state)


def _get(op: Operation, state: State) -> tuple[bool, State]:
    if op.status == 200:
        return op.seen is not None and state == op.seen.mark, state
    return op.status != 404 or state is None, state


def _create(op: Operation, state: State) -> tuple[bool, State]:
    if op.status == 201 or not op.known:
        return state is None, op.mark
    return op.status != 409 or state is not None, state


def _change(op: Operation, state: State) -> tuple[bool, State]:
    if op.status == 200 or not op.known:
        return state is not None, op.mark
    return op.status != 404 or state is None, state


def _apply(op: Operation, state: State) -> tuple[bool, State]:
    if op.status in (200, 201) or not op.known:
        return not op.known or (state is None) == (op.status == 201), op.mark
    return True, state


def _delete(op: Operation, state: State) -> tuple[bool, State]:
    if op.status == 200 or not op.known:
        return state is not None, None
    return op.status != 404 or state is None, state


_STEPS = {"get": _get, "create": _create, "update": _change, "patch": _change, "apply": _apply, "delete": _delete}


def _explained(operations: list[Operation]) -> bool:
    """
    Depth-first over the orders that real time allows. `done` is a bit set; what was tried in a state is remembered.
    """
    certain = [op for op in operations if op.known and op.status not in _REFUSED]
    lost = [op for op in operations if not op.known or op.status in _REFUSED]
    ordered = sorted(certain, key=lambda op: op.begin) + lost
    everything_known = (1 << len(certain)) - 1
    seen: set[tuple[int, State]] = set()
    stack: list[tuple[int, int, State]] = [(0, 0, None)]
    while stack:
        done, lowest, state = stack.pop()
        if done & everything_known == everything_known:
            return True
        while done >> lowest & 1:
            lowest += 1
        for at in _candidates(ordered, len(certain), done, lowest):
            op = ordered[at]
            fits, after = _step(_forgotten(op) if op.status in _REFUSED else op, state)
            key = (done | 1 << at, after)
            if fits and key not in seen:
                if len(seen) >= STATES:
                    return True  # undecided
                seen.add(key)
                stack.append((key[0], lowest, after))
    return False


def _forgotten(op: Operation) -> Operation:
    """The same with its outcome unknown: a server that failed may have written all the same."""
    return Operation(op.client, op.server, op.verb, op.name, op.begin, op.mark, op.expected)


def _candidates(ordered: list[Operation], certain: int, done: int, lowest: int) -> Iterator[int]:
    """Operations not done whose begin lies before every end of those not done."""
    least_end = float("inf")
    found: list[int] = []
    for at in range(lowest, certain):
        op = ordered[at]
        if op.begin > least_end:
            break
        if not done >> at & 1:
            found.append(at)
            least_end = min(least_end, op.end)
    yield from (at for at in found if ordered[at].begin <= least_end)
    for at in range(certain, len(ordered)):
        if not done >> at & 1 and ordered[at].begin <= least_end:
            yield at
