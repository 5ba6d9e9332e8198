"""The part of `federate` that is about the federation's names."""

import asyncio
import dataclasses

import click

from federation.cli import FEDERATION, JSON, federate, print_json, reported
from federation.host import home as homes


@federate.group()
def dns() -> None:
    """What the federation's names answer."""


@dns.command("plan")
@FEDERATION
@JSON
def dns_plan(federation: str | None, as_json: bool) -> None:
    """What would be changed in the zone, from what to what, and why. Reads only."""
    from federation.host.dns_plan import dns_plan as planned

    with reported(as_json):
        steps = asyncio.run(planned(homes.chosen(federation)))
        if as_json:
            print_json({"steps": [dataclasses.asdict(step) for step in steps]})
            return
        for step in steps:
            click.echo(f"{step.action:<8} {step.name}  {step.why}")
            for sign, lines in (("-", step.before), ("+", step.after)):
                for line in lines:
                    click.echo(f"         {sign} {line}")
        if not steps:
            click.echo("Nothing: the zone answers what it shall.")


@dns.command("status")
@FEDERATION
@JSON
def dns_status(federation: str | None, as_json: bool) -> None:
    """Every name, its targets, and what is wrong with it. Reads only."""
    from federation.host import control_plane

    with reported(as_json):
        records = asyncio.run(control_plane.dns_records(homes.chosen(federation)))
        if as_json:
            print_json({"records": records})
            return
        for one in records:
            targets = ", ".join(
                f"{t['value']} ({t['cluster']})" if "cluster" in t else t["value"] for t in one["targets"]
            )
            state = "; ".join([*(["serves its last answer"] if one["stale"] else []), *one["faults"]])
            click.echo(f"{one['name']} {one['ttl']} {one['type']} {targets}{f'  [{state}]' if state else ''}")
        if not records:
            click.echo("No names: no Service is served by a member yet.")
