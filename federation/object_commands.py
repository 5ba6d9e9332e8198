"""The part of `federate` that is about what the federation holds: the board, and objects across clusters."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import click

from federation.cli import FEDERATION, JSON, federate, print_json, reported
from federation.host import home as homes

F = TypeVar("F", bound=Callable[..., Any])


@federate.command()
@click.argument("name", required=False)
@click.option("--hours", type=click.IntRange(1, 24), default=8, show_default=True, help="How long the token is good.")
@JSON
def board(name: str | None, hours: int, as_json: bool) -> None:
    """Where the federation's web page is, and a token for it that may only read."""
    from federation.host.board import login

    with reported(as_json):
        given = asyncio.run(login(homes.chosen(name), hours))
        if as_json:
            print_json({"url": given.url, "token": given.token, "expires": given.expires})
            return
        click.echo(f"{given.url}\n\nToken, good until {given.expires}:\n{given.token}")
        click.echo("The page's certificate is signed by the federation's own CA, which a browser asks about.", err=True)


@federate.command()
@click.argument("kind")
@click.argument("name", default="")
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of the objects.")
@click.option("-A", "--all-namespaces", is_flag=True, help="Of all namespaces.")
@click.option("-l", "--selector", default="", help="Label selector.")
@click.option("--cluster", "clusters", multiple=True, help="Only this cluster; can be given several times.")
@FEDERATION
@JSON
def get(kind: str, name: str, clusters: tuple[str, ...], federation: str | None, as_json: bool, **given: Any) -> None:
    """What the members have: objects of a KIND across clusters. A member that does not answer is a warning."""
    from federation.host.fleet import fleet
    from federation.host.objects import Asked, Found, get as across

    async def ask() -> Found:
        async with fleet(homes.chosen(federation), clusters) as members:
            return await across(members, Asked(kind, name, **given), as_table=not as_json)

    with reported(as_json):
        found = asyncio.run(ask())
        if as_json:
            print_json({"items": found.items, "warnings": found.warnings})
            return
        for warning in found.warnings:
            click.echo(f"Warning: {warning}", err=True)
        for line in aligned([found.columns, *found.rows]) if found.rows else ("No resources found.",):
            click.echo(line)


@federate.group()
def migrate() -> None:
    """Bring what runs in a cluster into the federation, and move it to another cluster."""


OBJECTS = click.argument("objects", nargs=-1, required=True, metavar="KIND/NAME...")
NAMESPACE = click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of the objects.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")


def _timeout(default: int, words: str) -> Callable[[F], F]:
    return click.option(
        "--timeout", "seconds", type=click.IntRange(1, 3600), default=default, show_default=True, help=words
    )


@migrate.command()
@OBJECTS
@click.option("--cluster", required=True, help="The member in which they run.")
@NAMESPACE
@DRY_RUN
@click.option(
    "--timeout", "seconds", type=click.IntRange(1, 3600), default=60, show_default=True, help="Seconds to wait."
)
@FEDERATION
@JSON
def promote(objects: tuple[str, ...], cluster: str, federation: str | None, as_json: bool, **given: Any) -> None:
    """
    Make objects of a member the federation's. Their Pods go on running.

    What they need comes along: the namespace, ConfigMaps, Secrets, ServiceAccounts, claims, and Services of their Pods.
    """
    from federation.host.migrations import promote as run

    with reported(as_json):
        done = asyncio.run(run(homes.chosen(federation), objects, cluster, say=_say(as_json), **given))
        if as_json:
            print_json(done)


@migrate.command()
@OBJECTS
@click.option("--from", "source", required=True, help="The cluster that they leave.")
@click.option("--to", "target", required=True, help="The cluster that gets them.")
@click.option("--leave-data", is_flag=True, help="Move although PersistentVolumeClaims keep their data where they are.")
@NAMESPACE
@DRY_RUN
@click.option(
    "--timeout", "seconds", type=click.IntRange(1, 3600), default=300, show_default=True, help="Seconds for each step."
)
@FEDERATION
@JSON
def move(objects: tuple[str, ...], federation: str | None, as_json: bool, **given: Any) -> None:
    """
    Move objects of the federation to another cluster. The new copy is ready before the old one goes.

    What was promoted together moves together. When the new cluster is not ready in time, all is put back.
    """
    from federation.host.migrations import move as run

    with reported(as_json):
        done = asyncio.run(run(homes.chosen(federation), objects, say=_say(as_json), **given))
        if as_json:
            print_json(done)


@federate.command()
@OBJECTS
@NAMESPACE
@_timeout(60, "Seconds until all are decided.")
@FEDERATION
@JSON
def rebalance(objects: tuple[str, ...], federation: str | None, as_json: bool, **given: Any) -> None:
    """
    Place objects once as if they were new: by their policies, and the room that clusters have now.

    What runs may be moved by that; new copies are ready before old ones go.
    """
    from federation.host.migrations import rebalance as run

    with reported(as_json):
        done = asyncio.run(run(homes.chosen(federation), objects, say=_say(as_json), **given))
        if as_json:
            print_json(done)


def _say(as_json: bool) -> Callable[[str], None]:
    return lambda line: click.echo(line, err=as_json)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows as lines whose columns stand below each other; what would move the cursor is shown as its code."""
    shown = [["".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in shown) for at in range(len(shown[0]))]
    for row in shown:
        yield "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
