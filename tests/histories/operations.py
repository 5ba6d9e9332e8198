"""
What clients did and saw, as values: the history that the checkers judge.

Times are seconds of one monotonic clock, since all clients live in one process. Revisions are etcd's, which the API
shows as resourceVersions. A `mark` is the unique text that every write leaves in its object.
"""

from dataclasses import dataclass, field

UNKNOWN = 0
"""The status of an operation whose answer was lost: it may have happened, or happen later."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One object in an answer or an event."""

    name: str
    revision: int
    mark: str
    uid: str
    parts: frozenset[str] = frozenset()
    """Keys of its data that patches added."""


@dataclass(slots=True)
class Operation:
    """One request. `begin` and `end` enclose it; `status` is its HTTP code or UNKNOWN."""

    client: int
    server: int
    verb: str
    """get, get-any (resourceVersion=0), create, update, patch, apply, delete, list, list-any, list-pages, bind."""
    name: str
    begin: float
    mark: str = ""
    expected: int = 0
    """The resourceVersion that the request made its condition; 0 for none."""
    end: float = 0.0
    status: int = UNKNOWN
    reason: str = ""
    seen: Seen | None = None
    items: tuple[Seen, ...] = ()
    revision: int = 0
    """Of a list: its resourceVersion."""
    revisions: tuple[int, ...] = ()
    """Of a list in pages: each page's resourceVersion."""

    @property
    def known(self) -> bool:
        return self.status != UNKNOWN

    def __str__(self) -> str:
        what = f"{self.verb} {self.name}".strip()
        found = f" -> {self.status} {self.seen.revision if self.seen else self.revision or ''}".rstrip()
        return f"client {self.client} on server {self.server}, {what} [{self.begin:.3f}..{self.end:.3f}]{found}"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a watch. `revision` of a BOOKMARK is where the watch says it is; ERROR has the code there."""

    kind: str
    seen: Seen | None
    revision: int
    at: float
    initial_end: bool = False


@dataclass(slots=True)
class WatchSession:
    """One watch from its request to its end."""

    client: int
    server: int
    since: int
    """The resourceVersion it began from; 0 for a watch that sends the initial state."""
    color: str = ""
    """The value of the label `color` that it selects; empty for all."""
    begin: float = 0.0
    events: list[Event] = field(default_factory=list)
    live_at_end: bool = False
    """Still open when everything had been quiet for a while."""

    def __str__(self) -> str:
        chosen = f", color={self.color}" if self.color else ""
        return f"watch of client {self.client} on server {self.server} from {self.since or 'the state'}{chosen}"


@dataclass(frozen=True, slots=True)
class Stored:
    """One entry of etcd's log: what a key was set to, or that it was deleted (no mark)."""

    name: str
    revision: int
    mark: str = ""
    uid: str = ""
    color: str = ""
    parts: frozenset[str] = frozenset()
    node: str = ""
    """Of a Pod: where it is bound."""

    @property
    def deleted(self) -> bool:
        return not self.uid


@dataclass(slots=True)
class History:
    """All of one run."""

    operations: list[Operation] = field(default_factory=list)
    watches: list[WatchSession] = field(default_factory=list)
    log: list[Stored] = field(default_factory=list)
    """What etcd itself has to tell, in the order of revisions."""
    trouble: list[str] = field(default_factory=list)
    """What was killed and paused, for the reader."""
