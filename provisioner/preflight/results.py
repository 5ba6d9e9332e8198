"""What comes of results: errors that stop a run, and lines for people. Pure."""

from collections.abc import Iterable

from provisioner.errors import HostUnfitError, ProvisionError
from provisioner.preflight.model import Result, Severity


def errors_of(results: Iterable[Result]) -> list[ProvisionError]:
    """One for each host with an error, and one for what is wrong between hosts."""
    by_host: dict[str, list[Result]] = {}
    for result in results:
        if result.severity is Severity.ERROR:
            by_host.setdefault(result.host, []).append(result)
    return [
        HostUnfitError(
            "the host is unfit" if host else "the hosts do not fit together",
            why="; ".join(one.why for one in found),
            next_step=" ".join(dict.fromkeys(one.cure for one in found)),
            host=host,
        )
        for host, found in by_host.items()
    ]


def warnings_of(results: Iterable[Result]) -> list[Result]:
    return [result for result in results if result.severity is Severity.WARNING]
