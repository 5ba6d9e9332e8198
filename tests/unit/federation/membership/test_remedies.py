"""Remedies begin when conditions ask for them, and end when these do not, or when what ends them is so."""

import datetime as dt
from typing import Any

from federation.membership.remedies import in_force, is_without_traffic
from federation.placement.members import member_of

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
TAINT = {"key": "dns", "effect": "NoExecute"}
WHEN = [{"condition": "NamesResolve", "status": "False"}]


def cluster(*remedies: dict[str, Any], names: str = "False", since: str = "2026-01-02T03:04:00Z") -> dict[str, Any]:
    conditions = [
        {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        {"type": "NamesResolve", "status": names, "lastTransitionTime": since},
    ]
    return {"metadata": {"name": "east"}, "status": {"conditions": conditions, "remedies": list(remedies)}}


def remedy(name: str = "names", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"when": WHEN, "taints": [TAINT], **spec}}


def test_a_remedy_is_in_force_while_all_that_it_asks_for_is_so() -> None:
    since = "2026-01-02T03:04:05Z"
    entry = {"name": "names", "since": since, "taints": [{**TAINT, "timeAdded": since}]}
    assert in_force(cluster(), [remedy()], NOW).entries == (entry,)
    both = [*WHEN, {"condition": "Ready", "operator": "NotEqual", "status": "True"}]
    assert in_force(cluster(), [remedy(when=both)], NOW).entries == ()
    assert in_force(cluster(entry, names="True"), [remedy()], NOW).entries == ()
    later = NOW + dt.timedelta(hours=1)
    assert in_force(cluster(entry), [remedy()], later).entries == (entry,)
    assert in_force(cluster(entry), [], later).entries == ()


def test_a_condition_that_is_not_there_is_unknown_and_no_condition_is_always_so() -> None:
    unknown = [{"condition": "Absent", "status": "Unknown"}]
    assert len(in_force(cluster(), [remedy(when=unknown), remedy("always", when=[])], NOW).entries) == 2


def test_it_waits_until_the_conditions_have_held_for_long_enough() -> None:
    found = in_force(cluster(), [remedy(forSeconds=65)], NOW)
    assert (found.entries, found.again) == ((), 60.0)
    assert in_force(cluster(), [remedy(forSeconds=5)], NOW).entries


def test_what_ends_it_can_be_something_else_than_what_began_it() -> None:
    until = [{"condition": "NamesResolve", "status": "True"}]
    entry = in_force(cluster(), [remedy()], NOW).entries[0]
    assert in_force(cluster(entry, names="Unknown"), [remedy(until=until)], NOW).entries == (entry,)
    assert in_force(cluster(entry, names="True"), [remedy(until=until)], NOW).entries == ()


def test_taints_count_as_the_clusters_own_and_traffic_stops() -> None:
    [entry] = in_force(cluster(), [remedy(traffic="Stop")], NOW).entries
    told = cluster(entry)
    assert [one["key"] for one in member_of(told).taints] == ["dns"]
    assert is_without_traffic(told)
    assert not is_without_traffic(cluster())
