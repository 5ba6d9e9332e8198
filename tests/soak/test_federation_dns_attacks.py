"""Ten thousand attacks on the federation's own name server: nobody without the key gets anything."""

import pytest

from tests.integration.dns_attackers import attack


@pytest.mark.timeout(600)
async def test_ten_thousand_forged_replayed_and_bent_messages_get_nothing() -> None:
    tried, succeeded = await attack(10_000, seed=43)
    assert not succeeded, succeeded[:3]
    assert tried.total() == 10_000
