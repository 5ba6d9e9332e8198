"""Plans of actions, carrying them out, and what is written down meanwhile."""

import asyncio
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from provisioner.errors import ProvisionError
from provisioner.execution.actions import Action, ActionPlan, Difference, PlanFault, chain
from provisioner.execution.carry_out import Step, carry_out
from provisioner.execution.failpoints import VARIABLE
from provisioner.execution.ledger import Ledger, read_entries
from provisioner.phase_runner import SeveralHostsError


class World:
    """Things that are so or not; actions make them so."""

    def __init__(self, *holds: str) -> None:
        self.holds = set(holds)
        self.order: list[str] = []
        self.broken: set[str] = set()
        self.idle: set[str] = set()

    def step(self, thing: str) -> Step:
        async def do() -> None:
            self.order.append(thing)
            await asyncio.sleep(0)
            if thing in self.broken:
                raise ProvisionError("broken", why="it was told to", next_step="Mend it.")
            if thing not in self.idle:
                self.holds.add(thing)

        async def done() -> bool:
            return thing in self.holds

        return Step(do, done)

    def steps(self, plan: ActionPlan) -> dict[str, Step]:
        return {action.id: self.step(action.id) for action in plan}


def a_plan() -> ActionPlan:
    """a and b; c after both; d after c; e alone."""
    return ActionPlan(
        "grow",
        "dev",
        (
            Action("a", "make a", "one"),
            Action("b", "make b", "two"),
            Action("c", "make c", after=("a", "b")),
            Action("d", "make d", "one", after=("c",)),
            Action("e", "make e"),
        ),
    )


def test_a_plan_says_what_changes_and_has_a_digest_of_its_own() -> None:
    plan = ActionPlan("grow", "dev", (Action("a", "give it a role", "one", changes=(Difference("role", "", "node"),)),))
    assert plan.lines() == ["one: give it a role", "  role: (none) -> node"]
    other = ActionPlan(
        "grow", "dev", (Action("a", "give it a role", "one", changes=(Difference("role", "", "etcd"),)),)
    )
    assert plan.digest != other.digest
    assert plan.digest == ActionPlan("grow", "dev", plan.actions).digest


@pytest.mark.parametrize(
    "actions",
    [
        (Action("a", "x"), Action("a", "y")),
        (Action("a", "x", after=("b",)), Action("b", "y")),
        (Action("a", "x", after=("a",)),),
    ],
)
def test_plans_that_cannot_be_carried_out_are_refused(actions: tuple[Action, ...]) -> None:
    with pytest.raises(PlanFault):
        ActionPlan("grow", "dev", actions)


def test_a_chain_is_one_after_the_other() -> None:
    assert [action.after for action in chain([Action("a", "x"), Action("b", "y", after=("z",))])] == [(), ("z", "a")]


async def test_actions_come_after_what_they_need(tmp_path: pathlib.Path) -> None:
    world, plan = World(), a_plan()
    done = await carry_out(plan, world.steps(plan), Ledger(tmp_path / "ledger", "grow"))
    assert [action.id for action in done] == ["a", "b", "c", "d", "e"]
    assert world.order.index("c") > max(world.order.index("a"), world.order.index("b"))
    assert world.order.index("d") > world.order.index("c")


async def test_what_holds_already_is_not_done(tmp_path: pathlib.Path) -> None:
    world, plan = World("a", "c"), a_plan()
    done = await carry_out(plan, world.steps(plan), Ledger(tmp_path / "ledger", "grow"))
    assert [action.id for action in done] == ["b", "d", "e"]
    events = {(entry.action, entry.event) for entry in read_entries(tmp_path / "ledger")}
    assert ("a", "held-already") in events
    assert {("b", "begun"), ("b", "done")} <= events


async def test_a_failure_keeps_back_what_needs_it_and_nothing_else(tmp_path: pathlib.Path) -> None:
    world, plan = World(), a_plan()
    world.broken = {"b"}
    with pytest.raises(ProvisionError, match="two: broken"):
        await carry_out(plan, world.steps(plan), Ledger(tmp_path / "ledger", "grow"))
    assert sorted(world.order) == ["a", "b", "e"]
    world.broken.clear()
    done = await carry_out(plan, world.steps(plan), Ledger(tmp_path / "ledger", "grow"))
    assert [action.id for action in done] == ["b", "c", "d"]


async def test_all_failures_go_up_together(tmp_path: pathlib.Path) -> None:
    world, plan = World(), a_plan()
    world.broken = {"a", "b"}
    with pytest.raises(SeveralHostsError, match="2 of 5"):
        await carry_out(plan, world.steps(plan), Ledger(tmp_path / "ledger", "grow"))


async def test_an_action_without_effect_has_failed(tmp_path: pathlib.Path) -> None:
    world, plan = World(), a_plan()
    world.idle = {"e"}
    with pytest.raises(ProvisionError, match="did not hold"):
        await carry_out(plan, world.steps(plan), Ledger(tmp_path / "ledger", "grow"))
    failed = [entry.why for entry in read_entries(tmp_path / "ledger") if entry.event == "failed"]
    assert failed[0].startswith("make e: it did not hold")


def test_a_run_is_written_down_with_who_and_how_it_ended(tmp_path: pathlib.Path) -> None:
    ledger = Ledger(tmp_path / "ledger", "grow", operator="ann@desk")
    with ledger.running("grow dev by one"):
        pass
    with pytest.raises(ProvisionError), ledger.running("grow dev by two"):
        raise ProvisionError("no", why="reasons", next_step="Try.")

    found = [(entry.event, entry.what, entry.why) for entry in read_entries(tmp_path / "ledger")]
    assert found == [
        ("run-begun", "grow dev by one", "ann@desk"),
        ("run-ended", "grow dev by one", ""),
        ("run-begun", "grow dev by two", "ann@desk"),
        ("run-failed", "grow dev by two", "no: reasons. Try."),
    ]


def test_lines_cut_short_are_left_out(tmp_path: pathlib.Path) -> None:
    Ledger(tmp_path / "ledger", "grow").write("begun", action="a")
    with (tmp_path / "ledger").open("a") as file:
        file.write('{"at": "2026')
    assert [entry.action for entry in read_entries(tmp_path / "ledger")] == ["a"]


@pytest.mark.parametrize("place", ["before x", "#1"])
def test_a_failpoint_ends_the_process(place: str) -> None:
    code = "from provisioner.execution.failpoints import reach; reach('before x'); print('alive')"
    ended = subprocess.run([sys.executable, "-c", code], env={**os.environ, VARIABLE: f"{place}=kill"}, check=False)
    assert ended.returncode == -signal.SIGKILL


def test_a_trace_names_every_place(tmp_path: pathlib.Path) -> None:
    code = "from provisioner.execution.failpoints import reach; reach('one'); reach('two')"
    trace = tmp_path / "trace"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, VARIABLE: f"trace={trace}"}, check=True)
    assert trace.read_text().split() == ["one", "two"]
