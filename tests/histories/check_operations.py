"""
Did every answer tell the truth? Each read and write against what etcd's log says the store was.

Pure. A finding is a sentence; none means that nothing wrong was seen. Each rule is a necessary condition, so a finding
is always a real violation. `linearizability` looks at the same operations again without the log's help.
"""

from collections.abc import Callable, Iterator

from tests.histories.operations import History, Operation, Seen, Stored
from tests.histories.timeline import Bounds, Timeline

NO_CONFLICT = ("update without condition",)


def check(history: History, timeline: Timeline) -> Iterator[str]:
    bounds = Bounds(history, timeline)
    by_mark = {op.mark: op for op in history.operations if op.mark}
    yield from _log_is_sound(timeline, by_mark)
    for op in history.operations:
        if op.known and (rule := _RULES.get((op.verb, op.status))) is not None:
            yield from rule(op, timeline, bounds)
        elif op.known and op.status not in _SHEDDING:
            yield f"an answer that nobody expects ({op.reason}): {op}"
        yield from _marks_are_of_begun_writes(op, by_mark)


_SHEDDING = (429, 500, 503, 504)
"""A server without its store, or that is stopping, refuses; it does not lie."""


def _log_is_sound(timeline: Timeline, by_mark: dict[str, Operation]) -> Iterator[str]:
    uids: dict[str, str] = {}
    for stored in timeline.log:
        if stored.deleted:
            continue
        before = timeline.before(stored)
        if before is None and uids.setdefault(stored.uid, stored.name) != stored.name:
            yield f"uid {stored.uid} was given to {uids[stored.uid]} and to {stored.name}"
        if before is not None and before.uid != stored.uid:
            yield f"{stored.name} changed its uid at {stored.revision} without being deleted"
        op = by_mark.get(stored.mark)
        if op is None:
            continue
        yield from _write_did_what_it_said(op, stored, before)
    for mark, stored_as in timeline.by_mark.items():
        if len(stored_as) > 1 and mark in by_mark:
            yield f"one write took effect {len(stored_as)} times: {by_mark[mark]} at {[s.revision for s in stored_as]}"


def _write_did_what_it_said(op: Operation, stored: Stored, before: Stored | None) -> Iterator[str]:
    if op.known and op.status >= 400 and op.status not in (500, 503, 504):
        yield f"a refused write is in the store at {stored.revision}: {op}"
    match op.verb:
        case "create" if before is not None:
            yield f"a create wrote over {before.revision}: {op}"
        case "update" | "patch" if before is None:
            yield f"a write to what was not there made it at {stored.revision}: {op}"
        case "update" if op.expected and before is not None and before.revision != op.expected:
            yield f"an update of {op.expected} wrote over {before.revision}: {op}"
        case "patch" if before is not None and stored.parts != before.parts | {f"p{op.mark}"}:
            yield f"a patch lost or made parts of {before.revision}: {op}"


# Answers.


def _acknowledged_write(op: Operation, timeline: Timeline, bounds: Bounds) -> Iterator[str]:
    seen = op.seen
    if seen is None:
        yield f"a write was answered without its object: {op}"
        return
    stored = timeline.exact(op.name, seen.revision)
    if stored is None or stored.mark != op.mark:
        yield f"an acknowledged write is not in the store at the revision it was given: {op}"
        return
    if stored.uid != seen.uid or seen.mark != op.mark:
        yield f"a write was answered with another object than it stored: {op}"
    if seen.revision <= bounds.first(op):
        yield f"a write was given {seen.revision}, and {bounds.first(op)} was known before it began: {op}"


def _acknowledged_delete(op: Operation, timeline: Timeline, bounds: Bounds) -> Iterator[str]:
    revision = timeline.deletions.get(op.seen.uid, 0) if op.seen else 0
    if not revision:
        yield f"an acknowledged delete deleted nothing: {op}"
        return
    if revision <= bounds.first(op):
        yield f"what was deleted at {revision} was deleted again, after {bounds.first(op)} was known: {op}"
    gone = timeline.at(op.name, revision - 1)
    if op.expected and gone is not None and gone.revision != op.expected:
        yield f"a delete of {op.expected} deleted {gone.revision}: {op}"


def _read(op: Operation, timeline: Timeline, bounds: Bounds) -> Iterator[str]:
    seen = op.seen
    if seen is None or not _is_true(seen, timeline):
        yield f"a read was answered with what the store never held: {op}"
    elif op.verb == "get" and not _some(op, timeline, bounds, lambda s: s is not None and s.revision == seen.revision):
        yield f"a read saw {seen.revision}, stale or early in [{bounds.first(op)}, {bounds.last(op)}]: {op}"


def _is_true(seen: Seen, timeline: Timeline) -> bool:
    stored = timeline.exact(seen.name, seen.revision)
    return stored is not None and (stored.mark, stored.uid, stored.parts) == (seen.mark, seen.uid, seen.parts)


def _some(op: Operation, timeline: Timeline, bounds: Bounds, holds: Callable[[Stored | None], bool]) -> bool:
    """Whether the key was in such a state at some revision that the operation can have seen."""
    return any(map(holds, timeline.states_within(op.name, bounds.first(op), max(bounds.first(op), bounds.last(op)))))


def _absent(op: Operation, timeline: Timeline, bounds: Bounds) -> Iterator[str]:
    if not _some(op, timeline, bounds, lambda stored: stored is None):
        yield f"an object that was there all the time was not found: {op}"


def _present(op: Operation, timeline: Timeline, bounds: Bounds) -> Iterator[str]:
    if not _some(op, timeline, bounds, lambda stored: stored is not None):
        yield f"an object that was never there was said to exist: {op}"


def _conflict(op: Operation, timeline: Timeline, bounds: Bounds) -> Iterator[str]:
    if not op.expected and op.verb == "update":
        yield f"an update without a condition was refused as a conflict ({op.reason}): {op}"
    elif op.expected and not _some(
        op, timeline, bounds, lambda stored: stored is None or stored.revision != op.expected
    ):
        yield f"the condition held all the time, and yet there was a conflict: {op}"


# Lists.


def _consistent_list(op: Operation, timeline: Timeline, bounds: Bounds) -> Iterator[str]:
    if op.revision < bounds.first(op):
        yield f"a list at {op.revision}, and {bounds.first(op)} was known before it began: {op}"
    if op.revision > bounds.last(op):
        yield f"a list at {op.revision}, which a later write was given or exceeded ({bounds.last(op)}): {op}"
    yield from _list(op, timeline, bounds)


def _list(op: Operation, timeline: Timeline, bounds: Bounds) -> Iterator[str]:
    if any(revision != op.revision for revision in op.revisions):
        yield f"pages of one list are of {op.revisions}: {op}"
    wanted = {name: stored.revision for name, stored in timeline.state(op.revision).items()}
    found = {seen.name: seen.revision for seen in op.items}
    if len(found) != len(op.items):
        yield f"a list names one object twice: {op}"
    if wanted != found:
        wrong = sorted({*wanted.items()} ^ {*found.items()})
        yield f"a list at {op.revision} differs from the store in {wrong[:4]}: {op}"
    for seen in op.items:
        if not _is_true(seen, timeline):
            yield f"a list holds {seen.name} at {seen.revision} as the store never had it: {op}"


Rule = Callable[[Operation, Timeline, Bounds], Iterator[str]]
_RULES: dict[tuple[str, int], Rule] = {
    ("get", 200): _read,
    ("get", 404): _absent,
    ("get-any", 200): _read,
    ("get-any", 404): lambda op, timeline, bounds: iter(()),
    ("create", 201): _acknowledged_write,
    ("create", 409): _present,
    ("update", 200): _acknowledged_write,
    ("update", 404): _absent,
    ("update", 409): _conflict,
    ("patch", 200): _acknowledged_write,
    ("patch", 404): _absent,
    ("apply", 200): _acknowledged_write,
    ("apply", 201): _acknowledged_write,
    ("delete", 200): _acknowledged_delete,
    ("delete", 404): _absent,
    ("delete", 409): _conflict,
    ("list", 200): _consistent_list,
    ("list-pages", 200): _consistent_list,
    ("list-any", 200): _list,
}


def _marks_are_of_begun_writes(op: Operation, by_mark: dict[str, Operation]) -> Iterator[str]:
    for seen in (*op.items, *((op.seen,) if op.seen else ())):
        writer = by_mark.get(seen.mark)
        if writer is not None and op.known and writer.begin > op.end:
            yield f"the answer shows a write that began later ({writer}): {op}"


# Never twice what may happen once.


def check_bindings(log: list[Stored], operations: list[Operation]) -> Iterator[str]:
    """A Pod is bound once, whoever tries."""
    nodes: dict[str, str] = {}
    for stored in log:
        if stored.node and nodes.setdefault(stored.name, stored.node) != stored.node:
            yield f"Pod {stored.name} was bound to {nodes[stored.name]} and at {stored.revision} to {stored.node}"
    winners: dict[str, Operation] = {}
    for op in operations:
        if op.verb == "bind" and op.status == 201:
            if op.name in winners:
                yield f"two binds of one Pod were acknowledged: {winners[op.name]} and {op}"
            winners[op.name] = op
            if nodes.get(op.name) != op.mark:
                yield f"an acknowledged bind to {op.mark} is not in the store ({nodes.get(op.name)!r}): {op}"


def check_quota(log: list[Stored], hard: int) -> Iterator[str]:
    """Never more objects than the quota allows, at any revision."""
    present: set[str] = set()
    for stored in log:
        (present.discard if stored.deleted else present.add)(stored.name)
        if len(present) > hard:
            yield f"{len(present)} objects at {stored.revision}, and the quota is {hard}"
            return
