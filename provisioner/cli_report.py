"""`provision report`."""

from pathlib import Path

import click

from provisioner.command_line import JSON, HowToReach, working_on
from provisioner.errors import ProvisionError


@click.command()
@click.argument("name", default="dev")
@click.option("--output", type=click.Path(path_type=Path), help="Where to (default: NAME-report.html here).")
@click.option("--runs", "count", type=click.IntRange(1), default=20, show_default=True, help="How many, the newest.")
@JSON
def report(name: str, output: Path | None, count: int, as_json: bool) -> None:
    """What runs did, when and how long, host by host: one HTML file, without secrets. Asks no host."""
    from provisioner.execution.ledger import read_entries
    from provisioner.report.page import render
    from provisioner.report.runs import runs_in
    from provisioner.state import write_atomically

    with working_on(name, as_json, HowToReach(), changes=False) as work:
        target = output or Path(f"{name}-report.html")
        runs = runs_in(read_entries(work.home.ledger))[-count:]
        try:
            write_atomically(target, render(name, runs).encode(), mode=0o644)
        except OSError as error:
            raise ProvisionError(
                f"cannot write {target}", why=str(error), next_step="Give another place with --output."
            ) from error
        work.say(f"{len(runs)} runs of {name}: {target}", cluster=name, file=str(target), runs=len(runs))
