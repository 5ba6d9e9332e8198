"""
When a link deletes nothing until a person says so.

Two reasons: so many deletions that nobody was seen to ask for that something may be wrong, and a federation whose
store is older than what members carry. Both end with the annotation `federation.hanse.io/confirm-deletions` on the
Cluster, which is taken away once what it was given for is done.
"""

from collections import deque
from collections.abc import Callable

from cluster.machinery.objects import Object
from federation.api.refs import Ref
from federation.placement.brake import deletions_need_confirmation, why_deletions_wait

CONFIRM = "federation.hanse.io/confirm-deletions"
"""Annotation of a Cluster; any value but an empty one."""
WINDOW = 600.0  # seconds: deletions that come one after the other count as one plan
DELETIONS_WAIT = "DeletionsWait"
"""Condition of the Cluster."""
HELD, QUARANTINED = "TooMany", "OlderThanMembers"
"""Its reasons."""


class Brake:
    """Of one member."""

    def __init__(self, cluster: str, clock: Callable[[], float]) -> None:
        self._cluster, self._clock = cluster, clock
        self._unasked: set[Ref] = set()
        """Objects with deletions that nobody was seen to ask for, and that are not sent yet."""
        self._done: deque[float] = deque()
        """When such deletions were sent."""
        self.confirmed = False
        self._why = ""
        self._has_held = False

    def expect(self, ref: Ref) -> None:
        self._unasked.add(ref)

    def settle(self, ref: Ref, *, sent: bool) -> None:
        """It was sent, or there is nothing to send."""
        if ref in self._unasked:
            self._unasked.discard(ref)
            if sent:
                self._done.append(self._clock())

    def holds(self, ref: Ref, objects: int) -> str:
        """
        Why the deletion of an object has to wait; empty when it may go.

        Args:
            objects: that the member has of us at the moment.
        """
        if ref not in self._unasked or self.confirmed:
            return ""
        while self._done and self._done[0] < self._clock() - WINDOW:
            self._done.popleft()
        deletions, held = len(self._unasked) + len(self._done), objects + len(self._done)
        waits = deletions_need_confirmation(deletions, held)
        self._why = why_deletions_wait(self._cluster, deletions, held) if waits else ""
        self._has_held = self._has_held or waits
        return self._why

    @property
    def why(self) -> str:
        """Why deletions wait; empty while none does."""
        return self._why if self._unasked and not self.confirmed else ""

    def used_up(self) -> bool:
        """Whether everything is done that a confirmation was given for; true once."""
        if not (self.confirmed and self._has_held) or self._unasked:
            return False
        self._done.clear()
        self._has_held = False
        return True


def is_confirmed(cluster: Object | None) -> bool:
    return bool(cluster is not None and (cluster["metadata"].get("annotations") or {}).get(CONFIRM))
