"""Plans on the command line: printed by a dry run, and carried out exactly as printed or not at all."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from provisioner.command_line import DRY_RUN, print_json
from provisioner.errors import InventoryError

if TYPE_CHECKING:
    from provisioner.execution.actions import ActionPlan

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def DRY_RUN_PLAN(command: CommandT) -> CommandT:  # noqa: N802 - it is used as the options beside it are
    """--dry-run and --plan."""
    given = click.option(
        "--plan", "digest", default="", metavar="DIGEST", help="Do what a dry run printed, or nothing."
    )
    return DRY_RUN(given(command))


def plan_is_wanted(plan: "ActionPlan", digest: str, *, dry_run: bool, as_json: bool) -> bool:
    """Whether to go on: a dry run prints the plan and ends, a digest has to be this plan's. Raises InventoryError."""
    if digest and digest != plan.digest:
        raise InventoryError(
            f"plan {digest} is not what would be done now", why=f"what was found makes plan {plan.digest}",
            next_step="Look at it with --dry-run, and give its digest.",
        )  # fmt: skip
    if not dry_run:
        return True
    if as_json:
        actions = [dataclasses.asdict(action) for action in plan]
        print_json({"event": "plan", "digest": plan.digest, "actions": actions})
    else:
        for line in plan.lines():
            click.echo(line)
        click.echo(f"{len(plan)} actions, plan {plan.digest}")
    return False
