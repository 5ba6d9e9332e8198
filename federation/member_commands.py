"""The part of `federate` that is about clusters: they come, are spared, and leave."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from federation.cli import FEDERATION, JSON, federate, print_json, reported
from federation.host import home as homes

if TYPE_CHECKING:
    from federation.host.members import Invited


@federate.command()
@click.argument("cluster")
@click.option(
    "--kubeconfig",
    "config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    help="A login at the cluster that may make ServiceAccounts and ClusterRoles.",
)
@click.option("--context", default=None, help="Context of that kubeconfig (default its current one).")
@click.option("--pull", is_flag=True, help="The federation does not reach the cluster: an agent in it connects to us.")
@click.option("--configure-dns", is_flag=True, help="Let the cluster's DNS resolve names of the federation.")
@click.option(
    "--dns-server",
    "dns_servers",
    multiple=True,
    metavar="ADDRESS[:PORT]",
    help="With --configure-dns: a name server of the zone that the cluster reaches; may be repeated.",
)
@click.option(
    "--image",
    default=None,
    help="With --pull: image of the agent (default that of this version, which clusters of ours have); "
    "--image= leaves the Deployment out, and the agent runs elsewhere.",
)
@FEDERATION
@JSON
def join(
    cluster: str,
    config: Path | None,
    context: str | None,
    pull: bool,
    configure_dns: bool,
    dns_servers: tuple[str, ...],
    image: str | None,
    federation: str | None,
    as_json: bool,
) -> None:
    """Make a cluster a member. Safe to repeat, which also renews its login or its agent's invitation."""
    from federation.errors import WrongInputError
    from federation.host import members
    from federation.membership.agent_manifest import own_image
    from federation.membership.member_dns import advice

    with reported(as_json):
        if pull:
            chosen = own_image() if image is None else image
            invited = asyncio.run(members.invite(homes.chosen(federation), cluster, config, context, chosen))
            _tell_invited(invited, chosen, as_json)
            return
        if config is None:
            raise WrongInputError(
                f"cluster {cluster} cannot join", why="there is no --kubeconfig",
                next_step="Give one, or --pull when the cluster can reach the federation and not the other way.",
            )  # fmt: skip
        home = homes.chosen(federation)
        names = members.names_of(home, dns_servers)
        if configure_dns and names is None:
            raise WrongInputError(
                "which servers answer for the zone is not known here", why="the federation has hosts of its own, "
                "or listens on any address", next_step="Give --dns-server=ADDRESS[:PORT] for each.",
            )  # fmt: skip
        joined = asyncio.run(members.join(home, cluster, config, context))
        server = joined["spec"]["serverAddressByClientCIDRs"][0]["serverAddress"]
        where = asyncio.run(members.configure_dns(cluster, config, context, names)) if configure_dns and names else ""
        if as_json:
            found = {"cluster": cluster, "server": server, "uid": joined["spec"]["uid"]}
            print_json({**found, "dnsConfigured": where} if where else found)
            return
        click.echo(f"Cluster {cluster} at {server} is a member.")
        if where:
            click.echo(f"Its DNS resolves names of the federation: see the ConfigMap {where}.")
            if names and all(address.startswith("127.") for address, _ in names.servers):
                click.echo("The zone's name server listens on loopback, where no other host reaches it (--dns-server).")
        for line in advice(names) if names and not where else ():
            click.echo(line)


def _tell_invited(invited: "Invited", image: str, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "cluster": invited.cluster,
                "manifest": str(invited.manifest),
                "tokenFile": str(invited.token),
                "arguments": invited.arguments,
                "applied": invited.applied,
                "image": image,
            }
        )
        return
    click.echo(f"Cluster {invited.cluster} is invited; for a day its agent can get its certificate.")
    if not invited.applied:
        click.echo(f"  kubectl --context CLUSTER apply -f {invited.manifest}")
    if image:
        click.echo(f"The agent's image is {image}. Nodes of clusters that Hanse provisioned have it; for others, put")
        click.echo("/opt/hanse/current/images/federation-agent.tar of such a node into a registry (--image=).")
    if image and invited.on_loopback:
        click.echo("The federation listens on loopback, where no Pod reaches it: init --bind-address.", err=True)
    if not image:
        click.echo("The manifest has no Deployment (--image). On a host that reaches both, with the token file there:")
        click.echo(f"  python -m federation.agent --kubeconfig=FILE {' '.join(invited.arguments)}")


@federate.command()
@click.argument("cluster")
@FEDERATION
@JSON
def cordon(cluster: str, federation: str | None, as_json: bool) -> None:
    """Place nothing new on a cluster. What it has stays, and is kept up to date."""
    _cordon(cluster, federation, as_json, wanted=True)


@federate.command()
@click.argument("cluster")
@FEDERATION
@JSON
def uncordon(cluster: str, federation: str | None, as_json: bool) -> None:
    """Let a cluster be chosen again."""
    _cordon(cluster, federation, as_json, wanted=False)


def _cordon(cluster: str, federation: str | None, as_json: bool, *, wanted: bool) -> None:
    from federation.host.sparing import cordon as run

    with reported(as_json):
        new = asyncio.run(run(homes.chosen(federation), cluster, wanted=wanted))
        if as_json:
            print_json({"cluster": cluster, "cordoned": wanted, "changed": new})
            return
        click.echo(
            f"Cluster {cluster} is {'' if wanted else 'not '}cordoned{'' if new else ' already' if wanted else ''}."
        )


@federate.command()
@click.argument("cluster")
@click.argument("taints", nargs=-1, required=True, metavar="KEY[=VALUE]:EFFECT|KEY[:EFFECT]-...")
@FEDERATION
@JSON
def taint(cluster: str, taints: tuple[str, ...], federation: str | None, as_json: bool) -> None:
    """
    Put taints on a cluster, or take them away with a dash behind them.

    NoSchedule lets nothing new come that does not tolerate it; NoExecute takes away what is there, too, each replica
    once another cluster runs it.
    """
    from federation.host.sparing import read_changes, taint as run

    with reported(as_json):
        changes = read_changes(taints)
        found = asyncio.run(run(homes.chosen(federation), cluster, changes))
        if as_json:
            print_json({"cluster": cluster, "taints": found})
            return
        click.echo(
            f"Cluster {cluster} has the taints {', '.join(found)}." if found else f"Cluster {cluster} has no taints."
        )


@federate.command()
@click.argument("cluster")
@click.option("--force", is_flag=True, help="Forget a cluster that does not answer.")
@FEDERATION
@JSON
def leave(cluster: str, force: bool, federation: str | None, as_json: bool) -> None:
    """Let a cluster go. It keeps its workloads; the federation's login in it is removed."""
    from federation.host import members

    with reported(as_json):
        left = asyncio.run(members.leave(homes.chosen(federation), cluster, force=force))
        if as_json:
            print_json({"cluster": cluster, "left": True, "remains": left})
            return
        click.echo(f"Cluster {cluster} has left.")
        for line in left:
            click.echo(f"  {line}")
