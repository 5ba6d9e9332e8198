"""
Carry a plan out: each action as soon as what it needs is done, nothing that is done already, nothing that is not in
the plan.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from provisioner.errors import ProvisionError
from provisioner.execution.actions import Action, ActionPlan
from provisioner.execution.failpoints import reach
from provisioner.execution.ledger import Entry, Ledger
from provisioner.phase_runner import HOSTS_AT_ONCE, raise_together


@dataclass(frozen=True, slots=True)
class Step:
    """How an action is done, and how to see that it is."""

    do: Callable[[], Awaitable[None]]
    """Raises ProvisionError. May be cut off anywhere, and is then called again by another run."""
    done: Callable[[], Awaitable[bool]]
    """Asks the world, not a record. Raises ProvisionError when it cannot tell."""


Told = Callable[[Entry], Awaitable[None]]
"""Who hears of the run while it goes on."""


async def nobody(_: Entry) -> None:
    """The ledger alone is enough."""


class _NotReachedError(Exception):
    """Something that an action needs failed."""


async def carry_out(
    plan: ActionPlan, steps: Mapping[str, Step], ledger: Ledger, *, tell: Told = nobody, at_once: int = HOSTS_AT_ONCE
) -> tuple[Action, ...]:
    """
    Returns the actions that were done, without those whose postcondition held already.

    Args:
        plan: what to do.
        steps: action id -> how; every action of the plan has one.
        ledger: is told before and after each action.
        tell: hears each entry too, e.g. to write it on the host.
        at_once: actions that run side by side at most.

    Raises:
        ProvisionError: the only failure, or SeveralHostsError with all of them; what runs then has come to its end.
    """
    if missing := [action.id for action in plan if action.id not in steps]:
        raise KeyError(f"no step for {', '.join(missing)}")
    slots = asyncio.Semaphore(at_once)
    ends: dict[str, asyncio.Future[bool]] = {a.id: asyncio.get_running_loop().create_future() for a in plan}

    async def one(action: Action) -> bool:
        end = ends[action.id]
        try:
            if not all([await ends[need] for need in action.after]):
                raise _NotReachedError
            async with slots:
                changed = await _perform(action, steps[action.id], ledger, tell)
        except BaseException:
            end.set_result(False)
            raise
        end.set_result(True)
        return changed

    results = await asyncio.gather(*(one(action) for action in plan), return_exceptions=True)
    failures: list[ProvisionError] = []
    for action, result in zip(plan, results, strict=True):
        if isinstance(result, ProvisionError):
            result.host = result.host or action.host
            failures.append(result)
        elif isinstance(result, BaseException) and not isinstance(result, _NotReachedError):
            raise result
    if failures:
        raise_together(failures, len(plan))
    return tuple(action for action, result in zip(plan, results, strict=True) if result is True)


async def _perform(action: Action, step: Step, ledger: Ledger, tell: Told) -> bool:
    """Whether anything had to be done."""
    reach(f"before {action.id}")
    if await step.done():
        await tell(ledger.write("held-already", action=action.id, host=action.host, what=action.what))
        return False
    await tell(ledger.write("begun", action=action.id, host=action.host, what=action.what))
    reach(f"begun {action.id}")
    try:
        await step.do()
        reach(f"did {action.id}")
        if not await step.done():
            raise ProvisionError(
                f"{action.what}: it did not hold",
                why="everything was done without an error, and what should follow from it is not there",
                next_step="Run the same command again; `provision diagnose` collects what is known.",
                host=action.host,
            )
    except ProvisionError as error:
        await tell(ledger.write("failed", action=action.id, host=action.host, what=action.what, why=str(error)))
        raise
    await tell(ledger.write("done", action=action.id, host=action.host, what=action.what))
    reach(f"after {action.id}")
    return True
