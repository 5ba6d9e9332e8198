"""What becomes of the replicas that an autoscaler has set, once it is gone."""

from dataclasses import replace
from typing import Any

import pytest

from federation.controllers.placing.reports import Report
from federation.controllers.placing.scale import as_they_run, replicas_to_keep
from federation.placement.plans import Assignment
from federation.placement.policies import DEFAULT_POLICY, DUPLICATED, Division
from federation.placement.record import Record

BEFORE = Record("apps/v1", "u1", 3, clusters=(Assignment("east"), Assignment("west")))
TOLD = {"east": Report("Applied", status={"replicas": 15}), "west": Report("Applied", status={"replicas": 5})}
EVERYWHERE = replace(DEFAULT_POLICY, division=Division(DUPLICATED))


def template(replicas: int = 3, generation: int = 3) -> dict[str, Any]:
    metadata = {"name": "web", "namespace": "shop", "uid": "u1", "generation": generation}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": replicas}}


def test_it_is_what_runs_together_or_of_copies_the_most() -> None:
    assert replicas_to_keep(template(), BEFORE, TOLD, DEFAULT_POLICY) == 20
    assert replicas_to_keep(template(), BEFORE, TOLD, EVERYWHERE) == 15
    assert [one.replicas for one in as_they_run(BEFORE.clusters, TOLD)] == [15, 5]


@pytest.mark.parametrize(
    ("obj", "before", "reports"),
    [
        (template(20), BEFORE, TOLD),
        (template(generation=4), BEFORE, TOLD),
        (template(), None, TOLD),
        (template(), replace(BEFORE, clusters=(Assignment("east", 2), Assignment("west", 1))), TOLD),
        (template(), BEFORE, {"east": TOLD["east"]}),
        (template(), BEFORE, {**TOLD, "west": Report("Failed")}),
        (template(), BEFORE, dict.fromkeys(TOLD, Report("Applied", status={}))),
    ],
    ids=["it has that", "its user spoke", "new", "not autoscaled", "one is silent", "one failed", "nothing runs"],
)
def test_nothing_is_written_where(obj: dict[str, Any], before: Record | None, reports: dict[str, Report]) -> None:
    assert replicas_to_keep(obj, before, reports, DEFAULT_POLICY) is None
