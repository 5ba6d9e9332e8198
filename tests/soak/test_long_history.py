"""A long history under kills and pauses, and proof that the checkers would have found what they look for."""

import os

import pytest

from tests.histories.planted import BUGS
from tests.histories.run import Settings, run

OPERATIONS = int(os.environ.get("HANSE_HISTORY_OPERATIONS", "200000"))
TRIES = 3


@pytest.mark.timeout(5400)
async def test_a_long_history_holds_no_violation() -> None:
    history, findings = await run(Settings(operations=OPERATIONS))
    assert not findings
    assert len(history.operations) >= OPERATIONS - 16


@pytest.mark.timeout(300)
@pytest.mark.parametrize("bug", BUGS)
async def test_a_planted_fault_is_found(bug: str) -> None:
    for seed in range(TRIES):
        settings = Settings(operations=1500, apiservers=2, seed=seed, trouble=False, bug=bug)
        if (await run(settings))[1]:
            return
    pytest.fail(f"{TRIES} histories with {bug} planted were taken to be right")
