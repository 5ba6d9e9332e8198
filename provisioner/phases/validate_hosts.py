"""
Are the hosts fit, as far as their facts tell? Everything that is wrong with any of them, said at once, before the
first change. Pure.

What needs more than facts is asked by `provisioner.preflight.run`.
"""

from collections.abc import Collection, Mapping

from inventory.model import ClusterSpec
from provisioner.errors import ProvisionError
from provisioner.facts.host_facts import HostFacts
from provisioner.phase_runner import raise_together
from provisioner.preflight import checks
from provisioner.preflight.model import Fleet, Subject
from provisioner.preflight.results import errors_of


def validate_hosts(spec: ClusterSpec, facts: Mapping[str, HostFacts], skipped: Collection[str] = ()) -> None:
    """Hosts without facts are not made yet. Raises HostUnfitError, or SeveralHostsError of them."""
    if failures := unfit_hosts(spec, facts, skipped):
        raise_together(failures, len(spec.hosts))


def unfit_hosts(
    spec: ClusterSpec, facts: Mapping[str, HostFacts], skipped: Collection[str] = ()
) -> list[ProvisionError]:
    """An error for each unfit host of those whose facts are known, and one for what is wrong between them."""
    subjects = tuple(Subject(spec, host, facts[host.name]) for host in spec.hosts if host.name in facts)
    return errors_of(checks.judge(Fleet(spec, subjects), skipped, by_facts_alone=True))
