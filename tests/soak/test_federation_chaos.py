"""Two hundred rounds of chaos in one federation: nothing lost, resurrected or twice, nothing of others touched."""

import os

import pytest

from tests.federations.chaos.run import run

ROUNDS = int(os.environ.get("HANSE_CHAOS_ROUNDS", "200"))
SEED = int(os.environ.get("HANSE_CHAOS_SEED", "1"))


@pytest.mark.timeout(7200)
async def test_two_hundred_rounds_of_chaos_end_well() -> None:
    report = await run(SEED, ROUNDS)
    print(f"seed {SEED}", *report.lines(), sep="\n  ")
    assert not report.findings, "\n".join([*report.lines(), report.logs])
