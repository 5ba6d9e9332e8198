"""`provision runbook list|show|run`."""

import click

from provisioner.command_line import JSON, print_json, reported, run_to_end
from provisioner.errors import InventoryError


@click.group()
def runbook() -> None:
    """What to do when something is broken: pages that can be read, and carried out."""


@runbook.command("list")
@JSON
def list_runbooks(as_json: bool) -> None:
    """Name and title of every runbook."""
    from provisioner.runbooks import library

    for name in library.runbook_names():
        page = library.runbook(name)
        if as_json:
            print_json({"name": name, "title": page.title, "needs": page.needs})
        else:
            click.echo(f"{name:<28}{page.title}")


@runbook.command()
@click.argument("name")
def show(name: str) -> None:
    """Print a runbook's page."""
    from provisioner.runbooks import library

    with reported(False):
        click.echo(library.runbook(name).text, nl=False)


@runbook.command()
@click.argument("name")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="What the runbook needs, e.g. CLUSTER=dev."
)
@JSON
def run(name: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Carry a runbook's mitigation out: probes, commands, gates, and what it rolls back when they fail."""
    from provisioner.runbooks import library
    from provisioner.runbooks.carry_out import carry_out

    with reported(as_json) as progress:
        page = library.runbook(name)
        variables = dict(_variable(setting) for setting in settings)
        run_to_end(carry_out(page, variables, progress))
        progress.end()
        if as_json:
            print_json({"event": "done", "runbook": name})
        else:
            click.echo(f"Runbook {name} is carried out.")


def _variable(setting: str) -> tuple[str, str]:
    name, equals, value = setting.partition("=")
    if not equals or not name:
        raise InventoryError(
            f"--set {setting} sets nothing", why="it is no NAME=VALUE", next_step="Write it as in --set HOST=dev-3."
        )
    return name, value
