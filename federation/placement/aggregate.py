"""Members' statuses into the one that the template shows. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from cluster.machinery.objects import Object


@dataclass(frozen=True, slots=True)
class Reported:
    """One member's copy, as last seen."""

    cluster: str
    status: Object | None
    """None: not there yet, or its status is not known."""
    generation: int = 0
    """metadata.generation of the copy in the member."""
    current: bool = True
    """The copy was written from the template's present generation."""


def aggregate(template: Object, reports: Iterable[Reported]) -> Object | None:
    """
    The template's status, in the words of its kind; None where the kind has none.

    `reports` holds every cluster of the plan, also those that have nothing yet.
    """
    return next((report.status for report in reports if report.status), None)
