"""What gives etcd room again, and when that is no cure."""

import dataclasses
from collections.abc import Mapping

import pytest

from inventory.sources.nspawn import local_cluster
from provisioner.actions.etcd_status import MemberStatus, as_json, lines
from provisioner.actions.plan_etcd_repair import MemberRoom, check_room, plan_repair
from provisioner.actions.replace_member import plan_replacement
from provisioner.errors import ProvisionError
from provisioner.operations import etcd
from provisioner.operations.membership import Member
from provisioner.transports.base import CommandResult
from tests.fakes.fake_transport import FakeTransport

MB = 1 << 20
WELL = tuple(
    MemberRoom(f"h{n}", answers=True, leads=n == 1, db_bytes=15 * MB, db_in_use=MB, disk_free=900 * MB, quota=100 * MB)
    for n in (1, 2, 3)
)


def changed(**of: Mapping[str, object]) -> list[MemberRoom]:
    return [dataclasses.replace(one, **of.get(one.host, {})) for one in WELL]  # type: ignore[arg-type]


def ids(*rooms: MemberRoom) -> list[str]:
    return [action.id for action in plan_repair("dev", rooms)]


def test_nothing_is_done_where_there_is_room() -> None:
    assert ids(*WELL) == []


def test_an_alarm_is_taken_back_after_all_have_room_and_the_leader_goes_last() -> None:
    found = plan_repair("dev", changed(h2={"alarms": ("NOSPACE",)}))
    assert [one.id for one in found] == [
        "etcd/compact", "h2/defragment", "h3/defragment", "h1/defragment", "etcd/disarm",
    ]  # fmt: skip
    assert all(earlier.id in later.after for earlier, later in zip(found, list(found)[1:], strict=False))


def test_a_database_near_its_quota_is_made_smaller_before_the_alarm() -> None:
    full = dataclasses.replace(WELL[0], db_bytes=95 * MB)
    assert ids(full) == ["etcd/compact", "h1/defragment"]


def test_what_an_earlier_restore_left_goes_first_where_the_disk_is_short() -> None:
    found = ids(*changed(h3={"disk_free": 5 * MB, "left_over": 40 * MB, "alarms": ("NOSPACE",)}, h2={"left_over": 9}))
    assert found[:2] == ["h3/clear", "etcd/compact"]
    assert "h2/clear" not in found


def test_a_member_that_is_away_is_left_alone() -> None:
    found = ids(*changed(h1={"answers": False}, h2={"alarms": ("NOSPACE",)}))
    assert found == ["etcd/compact", "h2/defragment", "h3/defragment", "etcd/disarm"]


def test_without_a_quorum_it_says_whose_disk_is_full_and_what_else_there_is() -> None:
    away = {"answers": False}
    with pytest.raises(ProvisionError, match=r"h1, h2 does not answer; h2 has 0 MB of disk.*--from-data-dir HOST"):
        plan_repair("dev", changed(h1=away, h2={**away, "disk_free": 0}))


def test_data_that_differs_is_no_question_of_space() -> None:
    with pytest.raises(ProvisionError, match=r"h3 has other data.*provision etcd replace dev h3"):
        plan_repair("dev", changed(h3={"alarms": ("CORRUPT",)}))


def test_the_alarm_stays_where_what_is_in_use_fills_the_quota() -> None:
    check_room("dev", WELL)
    with pytest.raises(ProvisionError, match=r"h2 99\.6 of 104\.9 MB.*quota_bytes"):
        check_room("dev", changed(h2={"db_bytes": 95 * MB}))


async def test_an_alarm_is_its_own_members() -> None:
    transport = FakeTransport()
    told = "memberID:13803658152347727308 alarm:NOSPACE \nmemberID:17 alarm:CORRUPT \n"
    transport.answers["/opt/hanse/current/bin/etcdctl"] = lambda argv, given: CommandResult(0, told, "")
    assert await etcd.alarms(transport) == ("CORRUPT", "NOSPACE")
    assert await etcd.alarms(transport, 17) == ("CORRUPT",)
    assert await etcd.alarms(transport, 18) == ()


def test_status_says_who_leads_and_how_far_each_is_behind() -> None:
    def state(applied: int, *, leads: bool) -> etcd.EtcdState:
        return etcd.EtcdState("3.5.16", 20 * MB, 10 * MB, leads, 3, applied, 900, ("NOSPACE",))

    found = [
        MemberStatus("h1", state(1000, leads=True), True),
        MemberStatus("h2", state(990, leads=False), False),
        MemberStatus("h3", None, False, "its member does not answer"),
    ]
    assert [(one["leader"], one["behind"], one["quota_bytes"]) for one in as_json(found, 7)] == [
        (True, 0, 7), (False, 10, 7), (False, None, 7),
    ]  # fmt: skip
    said = lines(found, 100 * MB)
    assert "leader, healthy" in said[0]
    assert "10 behind, alarm NOSPACE" in said[1]
    assert said[2].endswith("does not answer")


SPEC = local_cluster("dev", 5, "10.89.0.0/24", "/key")


def members(*, healthy: str = "123", voters: str = "123", there: str = "123") -> tuple[Member, ...]:
    return tuple(Member(f"dev-{n}", healthy=n in healthy, voter=n in voters) for n in there)


def replacement(found: tuple[Member, ...]) -> list[str]:
    return [action.id for action in plan_replacement(SPEC, found, "dev-3")]


def test_a_damaged_member_leaves_before_it_learns_anew() -> None:
    assert replacement(members(healthy="12")) == [
        "snapshot", "dev-3/stop", "etcd/remove dev-3", "dev-3/wipe", "etcd/add dev-3",
        "dev-3/files", "dev-3/etcd", "etcd/promote dev-3",
    ]  # fmt: skip


def test_what_an_earlier_run_has_done_is_not_done_again() -> None:
    left, learning = replacement(members(there="12")), replacement(members(voters="12"))
    assert left == ["snapshot", "dev-3/wipe", "etcd/add dev-3", "dev-3/files", "dev-3/etcd", "etcd/promote dev-3"]
    assert learning == ["snapshot", "dev-3/files", "dev-3/etcd", "etcd/promote dev-3"]


def test_nobody_is_replaced_who_is_needed() -> None:
    with pytest.raises(ProvisionError, match=r"cannot remove etcd member dev-3: 1 of 2 members"):
        replacement(members(healthy="13"))
    with pytest.raises(ProvisionError, match=r"only member"):
        replacement(members(there="3"))
