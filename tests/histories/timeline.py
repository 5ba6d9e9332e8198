"""
What the store was at each revision, and which revisions an operation can have seen.

Pure. etcd's revisions are one total order over all keys; an operation takes effect at one of them between its begin
and its end. What other clients had learned before its begin is the least revision it may see; what a write that began
after its end was given is more than it can have seen.
"""

import bisect
from collections import defaultdict
from collections.abc import Iterable, Iterator

from tests.histories.operations import History, Operation, Stored

FOREVER = 1 << 62
READS = frozenset({"get", "list", "list-pages"})
"""Which promise to be as new as their begin."""
WRITES = frozenset({"create", "update", "patch", "apply", "delete", "bind"})


class Timeline:
    """The states of every key, from etcd's log."""

    def __init__(self, log: Iterable[Stored]) -> None:
        self.log = list(log)
        self.by_name: dict[str, list[Stored]] = defaultdict(list)
        self.by_mark: dict[str, list[Stored]] = defaultdict(list)
        self.deletions: dict[str, int] = {}
        """Revision at which an object, told by its uid, went."""
        for stored in self.log:
            versions = self.by_name[stored.name]
            if stored.deleted and versions and not versions[-1].deleted:
                self.deletions[versions[-1].uid] = stored.revision
            versions.append(stored)
            if stored.mark:
                self.by_mark[stored.mark].append(stored)
        self._revisions = {name: [v.revision for v in versions] for name, versions in self.by_name.items()}

    def at(self, name: str, revision: int) -> Stored | None:
        """What the key was at a revision; None for nothing."""
        place = bisect.bisect_right(self._revisions.get(name, []), revision) - 1
        if place < 0:
            return None
        found = self.by_name[name][place]
        return None if found.deleted else found

    def before(self, stored: Stored) -> Stored | None:
        return self.at(stored.name, stored.revision - 1)

    def exact(self, name: str, revision: int) -> Stored | None:
        """The change of a key at just this revision."""
        revisions = self._revisions.get(name, [])
        place = bisect.bisect_left(revisions, revision)
        return self.by_name[name][place] if place < len(revisions) and revisions[place] == revision else None

    def state(self, revision: int) -> dict[str, Stored]:
        """Everything there was at a revision."""
        found = ((name, self.at(name, revision)) for name in self.by_name)
        return {name: stored for name, stored in found if stored is not None}

    def states_within(self, name: str, first: int, last: int) -> Iterator[Stored | None]:
        """Each state the key had at some revision of [first, last]."""
        yield self.at(name, first)
        revisions = self._revisions.get(name, [])
        for place in range(bisect.bisect_right(revisions, first), bisect.bisect_right(revisions, last)):
            found = self.by_name[name][place]
            yield None if found.deleted else found


class Bounds:
    """Least and greatest revision that an operation can have taken effect at."""

    def __init__(self, history: History, timeline: Timeline) -> None:
        proofs = sorted((op.end, proved(op, timeline)) for op in history.operations if op.known)
        self._ends: list[float] = []
        self._proved: list[int] = []
        highest = 0
        for end, revision in proofs:
            highest = max(highest, revision)
            self._ends.append(end)
            self._proved.append(highest)
        begins = sorted((op.begin, wrote(op, timeline)) for op in history.operations if op.verb in WRITES)
        self._begins = [begin for begin, _ in begins]
        self._least: list[int] = [FOREVER] * (len(begins) + 1)
        for at in range(len(begins) - 1, -1, -1):
            self._least[at] = min(self._least[at + 1], begins[at][1] or FOREVER)

    def first(self, op: Operation) -> int:
        """The highest revision that anybody knew of before the operation began."""
        place = bisect.bisect_left(self._ends, op.begin)
        return self._proved[place - 1] if place else 0

    def last(self, op: Operation) -> int:
        """Below the least revision of a write that began after the operation had ended."""
        return self._least[bisect.bisect_right(self._begins, op.end)] - 1


def wrote(op: Operation, timeline: Timeline) -> int:
    """The revision of a write: from its answer, or, when that was lost, from the log; 0 if it never happened."""
    if op.verb == "delete":
        return timeline.deletions.get(op.seen.uid, 0) if op.status == 200 and op.seen else 0
    found = timeline.by_mark.get(op.mark, ())
    return found[0].revision if found else 0


def proved(op: Operation, timeline: Timeline) -> int:
    """The revision that the answer shows the store to have reached."""
    if op.verb in ("list", "list-any", "list-pages"):
        return op.revision if op.status == 200 else 0
    if op.verb in WRITES:
        return wrote(op, timeline) if 200 <= op.status < 300 else 0
    return op.seen.revision if op.seen else 0
