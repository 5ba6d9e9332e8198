"""`provision upgrade`, and `provision bundle …` for hosts that reach no registry."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from provisioner.cli_plans import DRY_RUN_PLAN, plan_is_wanted
from provisioner.command_line import (
    ASK_BECOME_PASS,
    JSON,
    HowToReach,
    home_of,
    print_json,
    reported,
    run_to_end,
    working_on,
)

if TYPE_CHECKING:
    from provisioner.bundle.build import Bundle
    from provisioner.execution.actions import ActionPlan
    from provisioner.phases.run import Run


@click.command()
@click.argument("name", default="dev")
@click.option("--to", "release", default="", metavar="RELEASE", help="A release that was imported; default: ours.")
@click.option("--from", "file", type=click.Path(path_type=Path), help="The release in this file; imports it first.")
@click.option("--back", is_flag=True, help="To the release before the last upgrade.")
@click.option(
    "--batch", type=click.IntRange(1, 100), default=20, show_default=True, help="Workers at once, in percent."
)
@DRY_RUN_PLAN
@JSON
@ASK_BECOME_PASS
def upgrade(
    name: str,
    release: str,
    file: Path | None,
    back: bool,
    batch: int,
    dry_run: bool,
    digest: str,
    as_json: bool,
    ask_become_pass: bool,
) -> None:
    """Bring a cluster to another release, host by host; back by itself when one does not serve."""
    from provisioner.bundle.files import import_bundle
    from provisioner.releases import earlier_release

    if sum(map(bool, (release, file, back))) > 1:
        raise click.UsageError("--to, --from and --back each name a release; give one of them")
    with working_on(name, as_json, HowToReach.asking(ask_become_pass)) as work:
        run = work.run()
        if back:
            release = earlier_release(work.home)
        elif file is not None:
            release = import_bundle(file, work.home.cache).digest
        bundle, plan = work.finish(run, _upgrade(run, release, batch, digest, dry_run=dry_run, as_json=as_json))
        if plan is not None:
            said = f"Cluster {name} runs release {bundle.digest}."
            work.say(said if len(plan) else f"Nothing to do: {said}", cluster=name, release=bundle.digest)


async def _upgrade(
    run: "Run", release: str, batch: int, digest: str, *, dry_run: bool, as_json: bool
) -> "tuple[Bundle, ActionPlan | None]":
    """The release that is meant, and what was done: no plan when none was wanted, an empty one when all runs it."""
    from provisioner.actions.plan_upgrade import plan_upgrade
    from provisioner.actions.upgrade import (
        check_versions,
        find_releases,
        needs_upgrade,
        releases_everywhere,
        upgrade,
    )
    from provisioner.bundle.build import ensure_bundle
    from provisioner.execution.actions import ActionPlan
    from provisioner.releases import find_bundle

    with run.progress.phase("Look at what is there"):
        current = await find_releases(run)
        if release:
            bundle = find_bundle(run.home, release, releases_everywhere(run))
        else:
            bundle = await asyncio.to_thread(ensure_bundle, run.home.cache, run.progress.line)
    check_versions(run, bundle)
    if not needs_upgrade(run, bundle):
        plan = ActionPlan("upgrade", run.spec.name)
    else:
        plan = plan_upgrade(run.spec, current, bundle.digest, batch_percent=batch)
    if not plan_is_wanted(plan, digest, dry_run=dry_run, as_json=as_json):
        return bundle, None
    return bundle, await upgrade(run, bundle, batch_percent=batch) if len(plan) else plan


@click.group()
def bundle() -> None:
    """Carry a release to where no registry is."""


@bundle.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@JSON
def export(file: Path, as_json: bool) -> None:
    """Write the release that is installed here, with all that hosts need, into one file."""
    from provisioner.bundle.build import ensure_bundle
    from provisioner.bundle.files import export_bundle

    with reported(as_json) as progress:
        found = run_to_end(asyncio.to_thread(ensure_bundle, home_of("none").cache, progress.line))
        export_bundle(found, file)
        progress.end()
        if as_json:
            print_json({"event": "done", "release": found.digest, "file": str(file)})
        else:
            click.echo(f"Release {found.digest} is in {file}.")


@bundle.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@JSON
def import_(file: Path, as_json: bool) -> None:
    """Check such a file and keep its release, for `upgrade --to`."""
    from provisioner.bundle.files import import_bundle

    with reported(as_json) as progress:
        found = import_bundle(file, home_of("none").cache)
        progress.end()
        if as_json:
            print_json({"event": "done", "release": found.digest})
        else:
            click.echo(f"Release {found.digest} is here.")
