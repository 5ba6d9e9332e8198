"""`provision diagnose`."""

from pathlib import Path

import click

from provisioner.command_line import ASK_BECOME_PASS, JSON, HowToReach, working_on


@click.command()
@click.argument("name", default="dev")
@click.option("--output", type=click.Path(path_type=Path), help="Where to (default: NAME-diagnosis.tar.gz here).")
@JSON
@ASK_BECOME_PASS
def diagnose(name: str, output: Path | None, as_json: bool, ask_become_pass: bool) -> None:
    """Collect logs, states and objects into one file, without secrets. Reads only; what does not answer is named."""
    from provisioner.actions.diagnose import diagnose as collect

    with working_on(name, as_json, HowToReach.asking(ask_become_pass), changes=False) as work:
        target = output or Path(f"{name}-diagnosis.tar.gz")
        run = work.run()
        missing = work.finish(run, collect(run, target))
        work.progress.end()
        for one in () if as_json else missing:
            click.echo(f"Not collected: {one}", err=True)
        work.say(f"Diagnosis of {name}: {target}", cluster=name, file=str(target), missing=missing)
