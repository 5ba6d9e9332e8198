"""Two hundred ends of runs that nobody planned: each verb converges, and nothing is left half done."""

import os
import pathlib

import pytest

from tests.kill_points.rounds import play

SEED = int(os.environ.get("HANSE_KILL_SEED", "1"))
HOME = pathlib.Path(os.environ.get("HANSE_KILL_HOME", "/var/tmp/hanse-kill-points"))
LIVES = {1: 16, 3: 4}
"""Masters -> lives of such a cluster, of some 12 points each."""


@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("masters", LIVES)
def test_verbs_that_are_ended_anywhere_converge(masters: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("machines need root: run as root")

    report = play(HOME, SEED, LIVES[masters], masters=masters)

    print(f"seed {SEED}", *report.lines(), sep="\n  ")
    assert report.findings == [], "\n".join(report.findings)
