"""The checkers accept a true history and name what is wrong with each false one."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.histories.operations import Event, History, Operation, Seen, Stored, WatchSession
from tests.histories.run import judge
from tests.histories.timeline import Timeline


def entry(name: str, revision: int, mark: str, *, color: str = "red", parts: frozenset[str] = frozenset()) -> Stored:
    return Stored(name, revision, mark, f"uid-{name}", color, parts)


def shown(stored: Stored) -> Seen:
    return Seen(stored.name, stored.revision, stored.mark, stored.uid, stored.parts)


CREATED = entry("a", 2, "c1")
OTHER = entry("b", 3, "c2", color="blue")
UPDATED = entry("a", 4, "u1", color="blue")
PATCHED = entry("a", 5, "p1", color="blue", parts=frozenset({"pp1"}))
GONE = Stored("b", 6)


def done(verb: str, name: str, begin: float, status: int, **what: object) -> Operation:
    op = Operation(1, 0, verb, name, begin, end=begin + 0.5, status=status)
    for field, value in what.items():
        setattr(op, field, value)
    return op


def true_history() -> History:
    """Sequential: each operation begins when the one before has ended."""
    told = [
        Event("ADDED", shown(CREATED), 2, 1),
        Event("BOOKMARK", None, 2, 1, initial_end=True),
        Event("ADDED", shown(OTHER), 3, 2),
        Event("MODIFIED", shown(UPDATED), 4, 3),
        Event("MODIFIED", shown(PATCHED), 5, 4),
        Event("BOOKMARK", None, 5, 5),
        Event("DELETED", replace(shown(OTHER), revision=6), 6, 6),
    ]
    red = [
        Event("ADDED", shown(CREATED), 2, 1),
        Event("DELETED", replace(shown(CREATED), revision=4), 4, 3),
    ]
    return History(
        operations=[
            done("create", "a", 1, 201, mark="c1", seen=shown(CREATED)),
            done("create", "b", 2, 201, mark="c2", seen=shown(OTHER)),
            done("update", "a", 3, 200, mark="u1", expected=2, seen=shown(UPDATED)),
            done("update", "a", 4, 409, mark="u2", expected=2),
            done("patch", "a", 5, 200, mark="p1", seen=shown(PATCHED)),
            done("get", "a", 6, 200, seen=shown(PATCHED)),
            done("list", "", 7, 200, items=(shown(PATCHED), shown(OTHER)), revision=5),
            done("delete", "b", 8, 200, seen=Seen("b", 0, "", "uid-b")),
            done("get", "b", 9, 404),
            done("list-pages", "", 10, 200, items=(shown(PATCHED),), revision=6, revisions=(6, 6)),
        ],
        watches=[
            WatchSession(2, 0, 0, begin=1, events=told, live_at_end=True),
            WatchSession(3, 0, 1, "red", begin=1, events=red, live_at_end=True),
        ],
        log=[CREATED, OTHER, UPDATED, PATCHED, GONE],
    )


def stale_get(history: History) -> None:
    history.operations[5].seen = shown(UPDATED)


def get_of_the_deleted(history: History) -> None:
    history.operations[8] = done("get", "b", 9, 200, seen=shown(OTHER))


def read_of_what_never_was(history: History) -> None:
    history.operations[5].seen = replace(shown(PATCHED), mark="other")


def lost_write(history: History) -> None:
    history.log.remove(PATCHED)


def blind_update(history: History) -> None:
    history.operations[2].expected = 1


def patch_that_lost_a_part(history: History) -> None:
    history.log[3] = replace(PATCHED, parts=frozenset())


def write_made_twice(history: History) -> None:
    history.log.append(replace(PATCHED, revision=7))


def refusal_of_what_held(history: History) -> None:
    history.operations[3].expected = 4


def torn_pages(history: History) -> None:
    history.operations[9].revisions = (6, 7)


def short_list(history: History) -> None:
    history.operations[6].items = (shown(PATCHED),)


def late_list(history: History) -> None:
    history.operations[9] = done("list", "", 10, 200, items=(shown(PATCHED), shown(OTHER)), revision=5)


def lost_event(history: History) -> None:
    del history.watches[0].events[3]


def doubled_event(history: History) -> None:
    history.watches[0].events.insert(3, history.watches[0].events[2])


def swapped_events(history: History) -> None:
    events = history.watches[0].events
    events[2], events[3] = events[3], events[2]


def early_bookmark(history: History) -> None:
    history.watches[0].events[5] = Event("BOOKMARK", None, 6, 5)


def short_initial_state(history: History) -> None:
    del history.watches[0].events[0]


def selector_that_forgot_an_exit(history: History) -> None:
    del history.watches[1].events[1]


FAULTS = [
    stale_get, get_of_the_deleted, read_of_what_never_was, lost_write, blind_update, patch_that_lost_a_part,
    write_made_twice, refusal_of_what_held, torn_pages, short_list, late_list, lost_event, doubled_event,
    swapped_events, early_bookmark, short_initial_state, selector_that_forgot_an_exit,
]  # fmt: skip


def test_a_true_history_is_accepted() -> None:
    assert judge(true_history()) == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_false_history_is_not(fault: Callable[[History], None]) -> None:
    history = true_history()
    fault(history)
    assert judge(history)


def test_a_lost_answer_may_mean_either() -> None:
    history = true_history()
    history.operations.append(done("update", "a", 11, 0, mark="u3"))
    assert judge(history) == []
    history.log.append(entry("a", 7, "u3"))
    history.watches.clear()
    assert judge(history) == []


def test_the_state_of_a_revision_is_what_was_last_written_up_to_it() -> None:
    timeline = Timeline(true_history().log)
    assert {name: stored.revision for name, stored in timeline.state(5).items()} == {"a": 5, "b": 3}
    assert set(timeline.state(6)) == {"a"}
