"""`provision os-update`: newer packages of the hosts' operating system."""

from typing import TYPE_CHECKING

import click

from provisioner.cli_plans import DRY_RUN_PLAN, plan_is_wanted
from provisioner.command_line import ASK_BECOME_PASS, JSON, HowToReach, working_on

if TYPE_CHECKING:
    from provisioner.execution.actions import ActionPlan
    from provisioner.phases.run import Run


@click.command("os-update")
@click.argument("name", default="dev")
@click.option("--reboot/--no-reboot", default=True, help="Empty hosts that need it, and boot them anew (the default).")
@click.option(
    "--batch", type=click.IntRange(1, 100), default=20, show_default=True, help="Workers away at once, in percent."
)
@click.option(
    "--drain-timeout", type=click.FloatRange(1), default=300.0, show_default=True, help="Seconds for Pods to leave."
)
@DRY_RUN_PLAN
@JSON
@ASK_BECOME_PASS
def os_update(
    name: str,
    reboot: bool,
    batch: int,
    drain_timeout: float,
    dry_run: bool,
    digest: str,
    as_json: bool,
    ask_become_pass: bool,
) -> None:
    """Bring newer packages to every host, one master at a time, then workers in batches."""
    with working_on(name, as_json, HowToReach.asking(ask_become_pass)) as work:
        run = work.run()
        done = work.finish(run, _update(run, reboot, batch, drain_timeout, digest, dry_run=dry_run, as_json=as_json))
        if done is None:
            return
        changed = sorted({action.host for action in done if action.host})
        text = f"Cluster {name}: the packages of {', '.join(changed)} are up to date."
        work.say(
            text if changed else "Nothing to do: every host has the newest packages.", cluster=name, changed=changed
        )


async def _update(
    run: "Run", reboot: bool, batch: int, drain_timeout: float, digest: str, *, dry_run: bool, as_json: bool
) -> "ActionPlan | None":
    from provisioner.actions.plan_os_update import plan_os_update
    from provisioner.actions.update_os import find_lacking, update_os

    with run.progress.phase("Look at what is there"):
        found = await find_lacking(run)
    plan = plan_os_update(run.spec, found, reboot=reboot, batch_percent=batch)
    if not plan_is_wanted(plan, digest, dry_run=dry_run, as_json=as_json):
        return None
    return await update_os(run, found, boot=reboot, batch_percent=batch, drain_timeout=drain_timeout)
