"""Two hundred rounds of chaos: nothing lost, nothing resurrected, nothing twice, nothing of others touched."""

import os

import pytest

from tests.federations.chaos.run import run

ROUNDS = int(os.environ.get("HANSE_CHAOS_ROUNDS", "200"))
ROUNDS_EACH = 25
"""In one federation, before a new one with another seed."""


@pytest.mark.timeout(7200)
async def test_two_hundred_rounds_of_chaos_end_well() -> None:
    for seed in range(-(-ROUNDS // ROUNDS_EACH)):
        report = await run(seed, min(ROUNDS_EACH, ROUNDS - seed * ROUNDS_EACH))
        print(f"seed {seed}", *report.lines(), sep="\n  ")
        assert not report.findings, "\n".join([*report.lines(), report.logs])
