"""The part of `federate` that is about what the federation holds: the board, and objects across clusters."""

import asyncio

import click

from federation.cli import JSON, federate, print_json, reported
from federation.host import home as homes


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
