"""A plan is told name by name, with what there was, what there will be, and why."""

from federation.dns.explain import explain, lines
from federation.dns.ownership import Owner
from federation.dns.plan import Desired, Observed, plan_changes
from federation.dns.recordsets import Group, RecordSet, Target


def group(*values: str, ttl: int = 5) -> Group:
    return {"A": RecordSet("n", "A", ttl, tuple(map(Target, values)))}


def test_each_step_says_what_and_why() -> None:
    desired = {
        "changes": Desired(group("192.0.2.1", "192.0.2.2", ttl=7), "shop/web"),
        "is-new": Desired(group("192.0.2.1"), "shop/web"),
        "is-taken": Desired(group("192.0.2.1"), "shop/web"),
        "stays": Desired(group("192.0.2.1"), "shop/web"),
    }
    ours = Owner("us", 1, "shop/web")
    observed = {
        "changes": Observed(group("192.0.2.2", "192.0.2.3"), ours),
        "goes": Observed(group("192.0.2.1"), ours),
        "is-taken": Observed(group("192.0.2.9"), None),
        "stays": Observed(group("192.0.2.1"), ours),
    }
    steps = {step.name: step for step in explain(plan_changes(desired, observed, "us", synced=True), {})}
    assert {name: step.action for name, step in steps.items()} == {
        "changes": "change", "goes": "remove", "is-new": "create", "is-taken": "refused",
    }  # fmt: skip
    assert steps["changes"].why == "A +192.0.2.1, -192.0.2.3, TTL 5 to 7"
    assert steps["changes"].before == ("A 5 192.0.2.2", "A 5 192.0.2.3")
    assert steps["goes"].after == ()
    assert "no owner record" in steps["is-taken"].why


def test_what_is_held_is_told() -> None:
    plan = plan_changes({}, {"n": Observed(group("192.0.2.1"), Owner("us", 1, "a/b"))}, "us", synced=False)
    [step] = explain(plan, {"n": "a/b"})
    assert (step.action, step.of) == ("held", "a/b")


def test_routing_is_part_of_a_value() -> None:
    targets = (Target("192.0.2.1", "a", 3), Target("192.0.2.2", "b", 1))
    weighted = {"A": RecordSet("n", "A", 5, targets)}
    assert lines(weighted) == ("A 5 192.0.2.1 (a) weight 3", "A 5 192.0.2.2 (b) weight 1")
