"""
Did every watch tell all, once, in order? Each session against etcd's log.

Pure. A finding is a sentence. The properties are etcd's own: ordered, unique, reliable, resumable, bookmarkable, and
what a selector makes of them: an object that begins to match is ADDED, one that no longer does is DELETED.
"""

import bisect
from collections.abc import Iterator

from tests.histories.operations import Event, Stored, WatchSession
from tests.histories.timeline import Timeline


def check(sessions: list[WatchSession], timeline: Timeline) -> Iterator[str]:
    told = {color: list(_told(timeline, color)) for color in {session.color for session in sessions}}
    for session in sessions:
        yield from _session(session, timeline, told[session.color])


Told = tuple[int, str, str, str]
"""revision, type, name, mark"""


def _told(timeline: Timeline, color: str) -> Iterator[Told]:
    """What a watch of objects of one color must tell, from the beginning of time."""

    def matches(stored: Stored | None) -> bool:
        return stored is not None and not stored.deleted and color in ("", stored.color)

    for stored in timeline.log:
        before = timeline.before(stored)
        now, was = matches(stored), matches(before)
        if now:
            yield stored.revision, "MODIFIED" if was else "ADDED", stored.name, stored.mark
        elif was and before is not None:
            yield stored.revision, "DELETED", stored.name, before.mark


def _session(session: WatchSession, timeline: Timeline, told: list[Told]) -> Iterator[str]:
    events = list(session.events)
    if events and events[0].kind == "ERROR":
        if events[0].revision != 410 or len(events) > 1:
            yield f"an error in place of events ({events[0].revision}): {session}"
        return
    since = session.since
    if not since:
        ended = next((at for at, event in enumerate(events) if event.initial_end), None)
        if ended is None:
            return  # it broke before the state was whole; that much is allowed
        since = events[ended].revision
        yield from _initial_state(session, timeline, events[:ended], since)
        events = events[ended + 1 :]
    yield from _changes(session, events, told, since)


def _initial_state(session: WatchSession, timeline: Timeline, events: list[Event], revision: int) -> Iterator[str]:
    state = timeline.state(revision)
    wanted = {(name, s.revision, s.mark) for name, s in state.items() if session.color in ("", s.color)}
    found = [(e.seen.name, e.seen.revision, e.seen.mark) for e in events if e.seen is not None]
    if any(event.kind != "ADDED" for event in events):
        yield f"the first state holds {sorted({event.kind for event in events})}: {session}"
    if set(found) != wanted or len(found) != len(wanted):
        yield f"the first state, said to be of {revision}, differs in {sorted(wanted ^ set(found))[:4]}: {session}"


def _changes(session: WatchSession, events: list[Event], told: list[Told], since: int) -> Iterator[str]:
    revisions = [entry[0] for entry in told]
    at = bisect.bisect_right(revisions, since)
    for event in events:
        if event.kind == "ERROR":
            return
        if event.kind == "BOOKMARK":
            if at < len(told) and told[at][0] <= event.revision:
                yield f"a bookmark at {event.revision} before the change {told[at]}: {session}"
                return
            continue
        seen = event.seen
        got = (seen.revision, event.kind, seen.name, seen.mark) if seen is not None else None
        if at >= len(told) or got != told[at]:
            yield f"told {got} where {told[at] if at < len(told) else 'nothing'} was next: {session}"
            return
        at += 1
    if session.live_at_end and at < len(told):
        yield f"{len(told) - at} changes were never told, the first is {told[at]}: {session}"
