"""
The federation, row by row of what it promises: real apiserver and controller manager, members that are fakes.

Members run in the measuring process, so that their share of the two cores is in every figure. Short by default;
`--full` takes the numbers of objects and the lengths of time of the promises.
"""

from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from tests.bench import federation_health, federation_views
from tests.bench.figures import Figures
from tests.bench.placement import plans_by_capacity
from tests.unit.federation.placement_cases import case, faults

Row = Callable[[Figures], Coroutine[Any, Any, None]]

ROWS: dict[str, Row] = {
    "8": federation_health.detection,
    "10": federation_health.isolation,
    "23": federation_views.merged_lists,
    "25": federation_health.joining,
}


def measure(figures: Figures) -> None:
    planning(figures)
    for name, row in ROWS.items():
        try:
            uvloop.run(row(figures))
        except TimeoutError:
            figures.add(f"federation {name}: not done in time", 1, "")


def planning(figures: Figures) -> None:
    """Rows 21 and 22."""
    figures.add("federation 21: plans by capacity, 10 clusters", plans_by_capacity(10), "1/s")
    cases = 100_000 if figures.full else 5_000
    figures.add(f"federation 22: wrong of {cases} random plans", sum(1 for at in range(cases) if faults(case(at))), "")
