"""
The federation, row by row of what it promises: real apiserver and controller manager, members that are fakes.

Members run in the measuring process, so that their share of the two cores is in every figure. Short by default;
`--full` takes the numbers of objects and the lengths of time of the promises.
"""

from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from tests.bench import (
    federation_health,
    federation_names,
    federation_propagation,
    federation_repair,
    federation_steady,
    federation_views,
)
from tests.bench.figures import Figures
from tests.bench.placement import plans_by_capacity
from tests.unit.federation.placement_cases import case, faults

Row = Callable[[Figures], Coroutine[Any, Any, None]]

ROWS: dict[str, Row] = {
    "1": federation_propagation.idle,
    "2": federation_propagation.burst,
    "3, 7, 24": federation_steady.rest_and_restart,
    "4": federation_propagation.backlog,
    "5": federation_propagation.slow_member,
    "6": federation_propagation.store_writes,
    "8": federation_health.detection,
    "9": federation_repair.failover,
    "10": federation_health.isolation,
    "15": federation_repair.drift,
    "16": federation_repair.statuses,
    "17": federation_names.endpoints,
    "18": federation_names.clients,
    "19": federation_names.zone,
    "23": federation_views.merged_lists,
    "25": federation_health.joining,
    "hollow": federation_steady.hollow,
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
