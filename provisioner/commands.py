"""
What clusters and federations' hosts have in common on the command line: plan, apply, show, destroy, kill, start.

Each is called inside `command_line.reported` and given the home of what is meant.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from provisioner.command_line import HowToReach, connected, known_run, new_run, print_json, require_record, run_to_end

if TYPE_CHECKING:
    from inventory.model import ClusterSpec
    from provisioner.actions.describe import Wish
    from provisioner.plan import Change
    from provisioner.progress import Progress
    from provisioner.state import ClusterHome


def show_plan(home: "ClusterHome", wish: "Wish", progress: "Progress", how: HowToReach, *, as_json: bool) -> None:
    from provisioner.actions.apply import plan_cluster
    from provisioner.actions.describe import describe_wish

    spec, record = describe_wish(home, wish)
    run = new_run(home, spec, record, progress, how)
    changes = run_to_end(connected(run, plan_cluster(run)))
    progress.end()
    if as_json:
        print_json({"event": "plan", "changes": [{"phase": c.phase, "host": c.host, "what": c.what} for c in changes]})
        return
    phase = ""
    for change in changes:
        if change.phase != phase:
            phase = change.phase
            click.echo(phase)
        click.echo(f"  {change}")
    click.echo(f"{len(changes)} changes" if changes else f"Nothing to do: {home.kind} {home.name} is as described.")


def carry_out(
    home: "ClusterHome", wish: "Wish", progress: "Progress", how: HowToReach, *, merge: bool = False
) -> "tuple[ClusterSpec, Sequence[Change]]":
    """Do what differs. With `merge` the user's kubeconfig learns of it. Returns what was wished and what was done."""
    from provisioner import kubeconfig
    from provisioner.actions.apply import apply_cluster
    from provisioner.actions.describe import describe_wish
    from provisioner.actions.joining import end_joining

    existed = home.path.exists()
    spec, record = describe_wish(home, wish)
    with home.lock():
        run = new_run(home, spec, record, progress, how)
        try:
            changes = run_to_end(connected(run, apply_cluster(run, record)))
            end_joining(home)
        except BaseException:
            if not existed and home.read_record() is None:
                home.remove()  # nothing was made, so nothing is remembered
            raise
        if merge:
            kubeconfig.merge_into_file(kubeconfig.user_file(), kubeconfig.read(home.kubeconfig))
    progress.end()
    return spec, changes


def show_status(home: "ClusterHome", progress: "Progress", *, as_json: bool) -> None:
    from provisioner.actions.show_status import read_status
    from provisioner.actions.status_text import status_lines

    found = run_to_end(read_status(known_run(home, progress)))
    if as_json:
        print_json(found.to_json())
    else:
        for line in status_lines(found):
            click.echo(line)
    if not found.healthy:
        raise click.exceptions.Exit(1)


def take_away(
    home: "ClusterHome", progress: "Progress", *, as_json: bool, password: str, forget_unreachable: bool
) -> None:
    from provisioner.actions.reset import destroy_cluster

    require_record(home)
    with home.lock():
        run = known_run(home, progress, password)
        run_to_end(connected(run, destroy_cluster(run, forget_unreachable=forget_unreachable)))
    progress.end()
    if as_json:
        print_json({"event": "destroyed", home.kind: home.name})
    else:
        click.echo(f"{home.kind.capitalize()} {home.name} is gone.")


def kill(home: "ClusterHome", machine: str) -> None:
    from provisioner.actions.describe import describe_record
    from provisioner.actions.machines import kill_machine

    record = require_record(home)
    ran = kill_machine(home, record, describe_record(home, record), machine)
    click.echo(f"{machine} is dead." if ran else f"{machine} was not running.")


def start(home: "ClusterHome", machine: str) -> None:
    from provisioner.actions.describe import describe_record
    from provisioner.actions.machines import start_machine

    record = require_record(home)
    with home.lock():
        started = start_machine(home, record, describe_record(home, record), machine)
    click.echo(f"{machine} boots." if started else f"{machine} runs already.")
