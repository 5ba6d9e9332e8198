"""What apt would bring, which hosts it takes in which order, and what a run that was cut off leaves to do."""

import asyncio
from collections.abc import Iterator

import pytest

from inventory.sources.nspawn import local_cluster
from provisioner.actions.plan_os_update import OsState, plan_os_update
from provisioner.errors import HostUnreachableError, ProvisionError
from provisioner.operations import reboot
from provisioner.operations.packages import Package, upgradable

SIMULATED = """\
Reading package lists...
The following NEW packages will be installed:
  linux-image-6.1.0-32-amd64
Inst base-files [12.4+deb12u9] (12.4+deb12u10 Debian:12.10/stable [amd64])
Conf base-files (12.4+deb12u10 Debian:12.10/stable [amd64])
Inst libc6:i386 [2.36-9+deb12u9] (2.36-9+deb12u10 Debian:12.10/stable [i386]) []
Inst linux-image-6.1.0-32-amd64 (6.1.129-1 Debian:12.10/stable, Debian-Security:12/stable-security [amd64])
Inst  broken line
Remv old-thing [1.0]
"""
NEWER = OsState((Package("libc6", "1", "2"),))


def test_a_simulation_is_read() -> None:
    assert upgradable(SIMULATED) == (
        Package("base-files", "12.4+deb12u9", "12.4+deb12u10"),
        Package("libc6:i386", "2.36-9+deb12u9", "2.36-9+deb12u10"),
        Package("linux-image-6.1.0-32-amd64", "", "6.1.129-1"),
    )


def test_where_nothing_is_lacking_nothing_is_done() -> None:
    spec = local_cluster("dev", 3, "10.89.0.0/24", "/key")
    assert len(plan_os_update(spec, {host.name: OsState() for host in spec.hosts}, reboot=True)) == 0


def test_hosts_that_have_everything_are_left_alone_and_nobody_waits_for_them() -> None:
    spec = local_cluster("dev", 5, "10.89.0.0/24", "/key")
    plan = plan_os_update(spec, {"dev-1": NEWER, "dev-5": NEWER}, reboot=True)
    by_id = {action.id: action for action in plan}
    assert {action.host for action in plan} == {"", "dev-1", "dev-5"}
    assert by_id["dev-1/packages"].after == ("snapshot",)
    assert by_id["dev-5/packages"].after == ("dev-1/uncordon",)
    assert str(by_id["dev-1/packages"].changes[0]) == "libc6: 1 -> 2"


def test_a_host_is_emptied_before_it_boots_and_opened_after_it_serves() -> None:
    spec = local_cluster("dev", 1, "10.89.0.0/24", "/key")
    plan = plan_os_update(spec, {"dev-1": NEWER}, reboot=True)
    order = ["snapshot", *(f"dev-1/{step}" for step in ("packages", "cordon", "drain", "reboot", "gate", "uncordon"))]
    assert [action.id for action in plan] == order
    assert all(later.after == (earlier,) for earlier, later in zip(order, list(plan)[1:], strict=False))


@pytest.mark.parametrize(
    ("state", "boots", "steps"),
    [
        (NEWER, False, ["packages", "gate"]),
        (OsState(reboot_due="libc6"), True, ["cordon", "drain", "reboot", "gate", "uncordon"]),
        (OsState(reboot_due="libc6"), False, []),
        (OsState(held=True), True, ["gate", "uncordon"]),
        (OsState(held=True), False, ["gate", "uncordon"]),
    ],
)
def test_what_a_run_that_was_cut_off_left_is_done(state: OsState, boots: bool, steps: list[str]) -> None:
    spec = local_cluster("dev", 1, "10.89.0.0/24", "/key")
    plan = plan_os_update(spec, {"dev-1": state}, reboot=boots)
    assert [action.id.removeprefix("dev-1/") for action in plan if action.host] == steps


async def test_a_host_is_back_when_another_boot_answers() -> None:
    gone = HostUnreachableError("gone", why="it boots", next_step="wait")
    answers: Iterator[str | HostUnreachableError] = iter(["first", gone, "second"])

    async def look() -> str:
        answer = next(answers)
        if isinstance(answer, HostUnreachableError):
            raise answer
        return answer

    await reboot.wait("dev-1", "first", look)
    assert list(answers) == []


async def test_a_host_that_does_not_come_back_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reboot, "PATIENCE", 0.01)

    async def look() -> str:
        await asyncio.sleep(0)
        return "first"

    with pytest.raises(ProvisionError, match="not back") as caught:
        await reboot.wait("dev-1", "first", look)
    assert caught.value.host == "dev-1"
    assert caught.value.why == "it still runs as before"
