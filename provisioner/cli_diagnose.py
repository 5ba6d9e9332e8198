"""`provision diagnose`."""

from pathlib import Path

import click

from provisioner.command_line import (
    ASK_BECOME_PASS,
    JSON,
    connected,
    home_of,
    known_run,
    print_json,
    reported,
    require_record,
    run_to_end,
    sudo_password,
)


@click.command()
@click.argument("name", default="dev")
@click.option("--output", type=click.Path(path_type=Path), help="Where to (default: NAME-diagnosis.tar.gz here).")
@JSON
@ASK_BECOME_PASS
def diagnose(name: str, output: Path | None, as_json: bool, ask_become_pass: bool) -> None:
    """Collect logs, states and objects into one file, without secrets. Reads only; what does not answer is named."""
    from provisioner.actions.diagnose import diagnose as collect

    password = sudo_password(ask_become_pass)
    with reported(as_json) as progress:
        home = home_of(name)
        require_record(home)
        target = output or Path(f"{name}-diagnosis.tar.gz")
        run = known_run(home, progress, password)
        missing = run_to_end(connected(run, collect(run, target)))
        progress.end()
        if as_json:
            print_json({"event": "done", "cluster": name, "file": str(target), "missing": missing})
            return
        for one in missing:
            click.echo(f"Not collected: {one}", err=True)
        click.echo(f"Diagnosis of {name}: {target}")
