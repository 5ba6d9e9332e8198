"""Lay files down on hosts with the release that each runs: no upgrade comes along with another change."""

import dataclasses
from collections.abc import Sequence
from itertools import groupby

from inventory.model import HostSpec
from provisioner.bundle.build import Bundle
from provisioner.phases.lay_down import lay_down, read_recorded, wanted_inputs
from provisioner.phases.run import Run


async def lay_as_they_run(run: Run, hosts: Sequence[HostSpec]) -> None:
    """Facts of the hosts are known. Raises ProvisionError."""
    for release, some in _by_release(run, hosts):
        await lay_down(dataclasses.replace(run, bundle=Bundle(release, run.home.path, 0, "")), some)


def are_laid_down(run: Run, hosts: Sequence[HostSpec]) -> bool:
    """Whether, by their facts, all hosts have what is wished now."""
    recorded = read_recorded(run.home)
    for release, some in _by_release(run, hosts):
        inputs = wanted_inputs(run, release)
        if any(recorded.get(host.name) != (inputs[host.name], run.facts_of(host).laid_down) for host in some):
            return False
    return True


def _by_release(run: Run, hosts: Sequence[HostSpec]) -> list[tuple[str, list[HostSpec]]]:
    def release(host: HostSpec) -> str:
        return run.facts_of(host).release

    return [(one, list(some)) for one, some in groupby(sorted(hosts, key=release), key=release)]
