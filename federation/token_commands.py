"""`federate token`: the bootstrap tokens by which agents of pull-mode members come in."""

import asyncio
import dataclasses
import datetime as dt

import click

from federation.cli import FEDERATION, JSON, federate, print_json, reported
from federation.host import home as homes
from federation.object_commands import aligned


@federate.group()
def token() -> None:
    """Tokens by which agents come in: each is good for one cluster. What is in them is never shown."""


@token.command("list")
@FEDERATION
@JSON
def list_tokens(federation: str | None, as_json: bool) -> None:
    """Which there are, for whom, until when, and whether an agent has come by them."""
    from federation.host.tokens import tokens

    with reported(as_json):
        found = asyncio.run(tokens(homes.chosen(federation)))
        if as_json:
            print_json({"tokens": [dataclasses.asdict(one) for one in found]})
            return
        rows = [(one.id, one.cluster, one.state, one.expires, one.used or "never") for one in found]
        for line in aligned([("ID", "CLUSTER", "STATE", "EXPIRES", "USED"), *rows]) if rows else ("No tokens.",):
            click.echo(line)


@token.command()
@click.argument("cluster")
@click.option("--hours", type=click.IntRange(1, 720), default=24, show_default=True, help="How long it is good.")
@FEDERATION
@JSON
def create(cluster: str, hours: int, federation: str | None, as_json: bool) -> None:
    """A new token for a member in pull mode, into a private file."""
    from federation.host import members, tokens

    async def make() -> members.Invited:
        home = homes.chosen(federation)
        await tokens.require_pull(home, cluster)
        return await members.invite(home, cluster, None, None, "", lifetime=dt.timedelta(hours=hours))

    with reported(as_json):
        made = asyncio.run(make())
        if as_json:
            print_json({"cluster": cluster, "tokenFile": str(made.token), "arguments": made.arguments})
            return
        click.echo(f"A token for the agent of cluster {cluster}, good for {hours} h, is in {made.token}")


@token.command()
@click.argument("which", metavar="ID|CLUSTER")
@FEDERATION
@JSON
def revoke(which: str, federation: str | None, as_json: bool) -> None:
    """End a token, or all of a cluster. An agent that has its certificate stays; `federate leave` ends that."""
    from federation.host.tokens import revoke as end

    with reported(as_json):
        ended = asyncio.run(end(homes.chosen(federation), which))
        if as_json:
            print_json({"revoked": ended})
            return
        for one in ended:
            click.echo(f"Token {one} lets nobody in any more.")
