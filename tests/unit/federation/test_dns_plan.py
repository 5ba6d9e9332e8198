"""Changes of a zone: only what differs, never what is foreign, and not too much away at once."""

from federation.dns.ownership import EPOCH_SIZE, Owner, next_generation, owner_name, read_owner
from federation.dns.plan import Desired, Observed, plan_changes
from federation.dns.recordsets import Group, RecordSet, Target


def group(*addresses: str, ttl: int = 10) -> Group:
    return {"A": RecordSet("n", "A", ttl, tuple(map(Target, addresses)))}


def ours(*addresses: str, obj: str = "shop/web") -> Observed:
    return Observed(group(*addresses), Owner("us", 7, obj))


def test_only_what_differs_is_changed() -> None:
    desired = {"a": Desired(group("192.0.2.1"), "shop/web"), "b": Desired(group("192.0.2.2", "192.0.2.3"), "shop/web")}
    observed = {"a": ours("192.0.2.9"), "b": ours("192.0.2.3", "192.0.2.2"), "gone": ours("192.0.2.4")}
    plan = plan_changes(desired, observed, "us", synced=True)
    assert [(change.name, bool(change.after)) for change in plan.changes] == [("gone", False), ("a", True)]
    assert not plan.refused
    assert not plan.held


def test_foreign_names_are_refused_with_their_owner() -> None:
    wanted = Desired(group("192.0.2.1"), "shop/web")
    observed = {
        "hand": Observed(group("192.0.2.9"), None),
        "other": Observed(group("192.0.2.9"), Owner("them", 1, "shop/web")),
        "service": ours("192.0.2.9", obj="shop/db"),
        "theirs": Observed(group("192.0.2.9"), Owner("them", 1, "x/y")),
    }
    plan = plan_changes(dict.fromkeys(("hand", "other", "service"), wanted), observed, "us", synced=True)
    assert [change.name for change in plan.changes] == []
    assert set(plan.refused) == {"hand", "other", "service"}
    assert "federation them" in plan.refused["other"]
    assert "shop/db" in plan.refused["service"]


def test_nothing_goes_away_while_the_source_is_not_complete() -> None:
    plan = plan_changes({"new": Desired(group("192.0.2.1"), "a/b")}, {"old": ours("192.0.2.2")}, "us", synced=False)
    assert [change.name for change in plan.changes] == ["new"]
    assert plan.held == ("old",)


def test_a_plan_that_takes_most_of_the_zone_away_waits_to_be_confirmed() -> None:
    observed = {f"n{index}": ours("192.0.2.1") for index in range(100)}
    kept = {f"n{index}": Desired(group("192.0.2.1"), "shop/web") for index in range(49)}
    assert len(plan_changes(kept, observed, "us", synced=True).held) == 51
    assert "51 of 100" in plan_changes(kept, observed, "us", synced=True).why_held
    assert len(plan_changes(kept, observed, "us", synced=True, confirmed=True).changes) == 51
    few = {f"n{index}": ours("192.0.2.1") for index in range(3)}
    assert len(plan_changes({}, few, "us", synced=True).changes) == 3


def test_an_owner_record_reads_back_and_others_texts_do_not() -> None:
    owner = Owner("uid-1", 42, "shop/web")
    assert read_owner(owner.text()) == owner
    for text in ("v=spf1 -all", "heritage=external-dns,owner=x,gen=1", "heritage=hanse,owner=x,gen=-1", ""):
        assert read_owner(text) is None
    assert owner_name("a.b") == "_fedowner.a.b"


def test_a_generation_grows_and_fences_whoever_led_before() -> None:
    first = next_generation(3, None)
    assert first == 3 * EPOCH_SIZE
    assert next_generation(3, first) == first + 1
    assert next_generation(4, first) == 4 * EPOCH_SIZE
    assert next_generation(2, first) is None
