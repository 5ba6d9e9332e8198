"""What a Cluster's status says, and when it is not written again."""

from federation.membership.health import Health, after_answer, after_miss
from federation.membership.standing import status_of

FACTS = {"kubernetesVersion": "v1.36.2", "nodes": {"total": 2, "ready": 2}}


def conditions(status: dict[str, object]) -> dict[str, tuple[str, str]]:
    listed = status["conditions"]
    assert isinstance(listed, list)
    return {one["type"]: (one["status"], one["reason"]) for one in listed}


def test_a_member_that_answers_is_ready_and_keeps_what_is_known_of_it() -> None:
    status = status_of({}, after_answer(Health(), 1.0), FACTS, "t1", isolated=False)
    assert status["phase"] == "Ready"
    assert conditions(status) == {"Ready": ("True", "ClusterReady"), "Offline": ("False", "ClusterReady")}
    again = status_of(status, after_answer(Health(), 3.0), None, "t2", isolated=False)
    assert again == status


def test_what_others_say_of_a_member_stays_as_they_say_it() -> None:
    theirs = {"type": "NamesResolve", "status": "False", "reason": "Timeout", "lastTransitionTime": "t0"}
    old_ones = [theirs, {"type": "Isolated", "status": "True"}, {"type": "DeletionsWait", "status": "True"}]
    before = {"conditions": old_ones, "remedies": [{"name": "names", "since": "t0"}]}
    status = status_of(before, after_answer(Health(), 1.0), None, "t1", isolated=False)
    assert [one["type"] for one in status["conditions"]] == ["Ready", "Offline", "NamesResolve"]
    assert theirs in status["conditions"]
    assert status["remedies"] == before["remedies"]


def test_a_lost_member_is_offline_from_the_moment_it_was_given_up() -> None:
    health = after_answer(Health(), 0.0)
    status = status_of({}, health, FACTS, "t0", isolated=False)
    for now in (2.0, 4.0):
        health = after_miss(health, now, f"no answer at {now}")
    status = status_of(status, health, None, "t4", isolated=False)
    assert conditions(status)["Ready"] == ("Unknown", "ProbesMissed")
    for now in (6.0, 8.0, 10.0):
        health = after_miss(health, now, f"no answer at {now}")
    status = status_of(status, health, None, "t10", isolated=False)
    assert (status["phase"], status["kubernetesVersion"]) == ("Unreachable", "v1.36.2")
    assert conditions(status) == {
        "Ready": ("False", "ClusterNotReachable"),
        "Offline": ("True", "ClusterNotReachable"),
    }
    assert {one["lastTransitionTime"] for one in status["conditions"]} == {"t10"}
    later = after_miss(health, 12.0, "another text of the same")
    assert status_of(status, later, None, "t12", isolated=False) == status


def test_isolation_is_said_while_it_lasts() -> None:
    health = after_answer(Health(), 0.0)
    status = status_of({}, health, None, "t0", isolated=True)
    assert conditions(status)["Isolated"] == ("True", "MembersLostAtOnce")
    assert "Isolated" not in conditions(status_of(status, health, None, "t1", isolated=False))
