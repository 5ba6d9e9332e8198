"""
Which etcd servers can be believed when they say how far a watch is, and what is done about the others. Pure.

Old servers may answer a progress request before the events that it speaks of: a reader would take what is still on
its way for missing. On them the whole keyspace is watched: each revision then brings an event of its own, which says
the same and comes in order. Source: etcd issue 15220; the versions are those that kube-apiserver asks for
(k8s.io/apiserver, pkg/storage/feature).
"""

import copy
from collections.abc import Iterator
from typing import Any

_SINCE_3_4, _SINCE_3_5 = (3, 4, 31), (3, 5, 13)


def tells_progress_truly(version: str) -> bool:
    """`version` as the status says it, like 3.5.16; one that cannot be read is not believed."""
    try:
        numbers = tuple(int(part) for part in version.partition("-")[0].split("."))
    except ValueError:
        return False
    return numbers >= _SINCE_3_5 or _SINCE_3_4 <= numbers < (3, 5)


def part_of_whole(answer: Any, key: bytes, end: bytes) -> Iterator[Any]:
    """
    What a watch of [key, end) would have told, from an answer of a watch over all keys.

    Progress is told once behind events of other keys; the server's own is left out.
    """
    if not answer.events:
        return
    newest = answer.events[-1].kv.mod_revision
    ours = [event for event in answer.events if event.kv.key == key or (end and key <= event.kv.key < end)]
    if ours:
        told = copy.copy(answer)
        told.ClearField("events")
        told.events.extend(ours)
        yield told
    if not answer.fragment and (not ours or ours[-1].kv.mod_revision < newest):
        progress = copy.copy(answer)
        progress.ClearField("events")
        progress.header.revision = newest
        yield progress
