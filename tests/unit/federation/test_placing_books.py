"""What the placer keeps in mind: who needs whom, what was promised, who is lost."""

import datetime as dt

from federation.api.refs import Ref
from federation.controllers.placing.fleet import tolerated_seconds, with_kind
from federation.controllers.placing.needs import Needs
from federation.controllers.placing.promises import SEEN_AFTER, Promises
from federation.placement.members import Capacity, Demand, Member
from federation.placement.plans import Assignment

SHOP = Ref("", "Namespace", "", "shop")
FIRST, SECOND = Ref("", "ConfigMap", "shop", "a"), Ref("", "ConfigMap", "shop", "b")
ONE = Demand(cpu=1000)
NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


def test_only_the_first_and_the_last_that_needs_it_somewhere_count() -> None:
    needs = Needs()
    assert needs.put(FIRST, [SHOP], ["east"]) == [SHOP]
    assert needs.put(SECOND, [SHOP], ["east"]) == []
    assert needs.put(SECOND, [SHOP], ["east", "west"]) == [SHOP]
    assert sorted(needs.clusters(SHOP)) == ["east", "west"]
    assert needs.put(FIRST, [SHOP], []) == []
    assert list(needs.dependents(SHOP)) == [SECOND]
    assert needs.put(SECOND, [], ["east"]) == [SHOP]
    assert list(needs.clusters(SHOP)) == []
    assert needs.needed_by(SECOND) == frozenset()


def room(promises: Promises, now: float = 0.0) -> int | None:
    [member] = promises.less([Member("east", capacity=Capacity(cpu=10_000))], now)
    return member.capacity.room(ONE)


def test_a_promise_counts_until_the_member_runs_it_and_had_time_to_say_so() -> None:
    promises, web = Promises(), Ref("apps", "Deployment", "shop", "web")
    promises.promise(web, [], [Assignment("east", 4)], ONE)
    promises.promise(web, [], [Assignment("east", 4)], ONE)  # the write failed, it is planned again
    assert room(promises) == 6
    promises.promise(web, [Assignment("east", 4)], [Assignment("east", 6)], ONE)
    assert room(promises) == 4
    promises.kept(web, "east", 100.0)
    assert room(promises, 100.0 + SEEN_AFTER - 1) == 4
    assert room(promises, 100.0 + SEEN_AFTER + 1) == 10
    assert not promises.owed(web)


def test_only_what_is_more_is_promised_and_what_is_gone_is_not() -> None:
    promises, web = Promises(), Ref("apps", "Deployment", "shop", "web")
    promises.promise(web, [Assignment("east", 4)], [Assignment("east", 5)], ONE)
    assert room(promises) == 9
    promises.promise(web, [Assignment("east", 5)], [Assignment("east", 3)], ONE)
    assert room(promises) == 10
    promises.promise(web, [], [Assignment("east", 2)], ONE)
    promises.forget(web)
    assert room(promises) == 10


def test_the_shortest_toleration_of_a_taint_counts() -> None:
    taint = {"key": "maintenance", "effect": "NoExecute"}
    tolerations = [
        {"key": "maintenance", "operator": "Exists", "tolerationSeconds": 30},
        {"operator": "Exists", "tolerationSeconds": 10},
        {"key": "other", "operator": "Exists", "tolerationSeconds": 1},
    ]
    assert tolerated_seconds(tolerations, taint) == 10
    assert tolerated_seconds([{"operator": "Exists"}], taint) is None
    assert tolerated_seconds([], taint) is None


def test_a_kind_counts_as_served_where_its_definition_goes() -> None:
    widget = Ref("example.com", "Widget", "shop", "one")
    members = {
        "east": Member("east", kinds={"v1": frozenset({"ConfigMap"})}),
        "west": Member("west", kinds={}),
        "new": Member("new"),
    }
    found = {
        one.name: one.serves("example.com/v1", "Widget")
        for one in with_kind(members, widget, "example.com/v1", {"east"})
    }
    assert found == {"east": True, "west": False, "new": True}
